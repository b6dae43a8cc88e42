"""The commands as a shell knows them: flags, help, and the call of the function that does the work."""

# In the order of `vaeflow --help`.
NAMES = (
    "train",
    "evaluate",
    "sample",
    "embed",
    "encode",
    "export",
    "study",
    "benchmark",
    "verify",
    "record",
    "push",
    "pull",
    "list",
    "local-cluster",
    "ray-train",
)


def load(name: str):
    """Returns the `command_line.Command` of a name."""
    import importlib  # After the import path is mended: `commands.entry` needs the names before.

    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").COMMAND
