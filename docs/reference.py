"""The pages of the reference: for each module the directives of mkdocstrings for what it makes public.

The sources are read and not imported.
"""

import ast
import pathlib
from collections.abc import Iterator

import griffe

TITLES = {
    "vaeflow": "In Python",
    "vaeflow.models": "Models",
    "vaeflow.layers": "Blocks",
    "vaeflow.distributions": "Distributions",
    "vaeflow.datasets": "Datasets",
    "vaeflow.datasets.augmentations": "Augmentations",
    "vaeflow.metrics": "Metrics",
    "vaeflow.metrics.disentanglement": "Disentanglement scores",
    "vaeflow.callbacks": "Callbacks",
    "vaeflow.optimizers": "Optimizers",
    "vaeflow.schedules": "Schedules",
    "vaeflow.samplers": "Samplers",
    "vaeflow.random": "Noise",
    "vaeflow.testing": "Checks of a model",
    "vaeflow.errors": "Errors",
}

_HEAD = """\
# Reference

Made from the docstrings; `vaeflow list NAME` shows the same of one class in a terminal.

| | module | |
|---|---|---|
"""


def pages(repository: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yields the name and the text of each page.

    Args:
      repository: the folder with the package.
    """
    package = griffe.load(
        "vaeflow", search_paths=[str(repository)], allow_inspection=False, resolve_aliases=True
    )
    rows = []
    for module, title in TITLES.items():
        page = module.replace(".", "_") + ".md"
        paths = public(package if module == "vaeflow" else package[module.partition(".")[2]])
        names = ", ".join(f"`{path.rpartition('.')[2]}`" for path in paths)
        rows.append(f"| [{title}]({page}) | `{module}` | {names} |\n")
        yield page, "\n\n".join([f"# {title}: `{module}`", *(f"::: {path}" for path in paths)]) + "\n"
    yield "index.md", _HEAD + "".join(rows)


def public(module: griffe.Module) -> list[str]:
    """Returns the full names of a module's public classes and functions, sorted by their own names.

    Args:
      module: one that was loaded with its aliases resolved.
    """
    if "_OBJECTS" in module.members:  # Names that are resolved when they are first used.
        origins = ast.literal_eval(str(module["_OBJECTS"].value))
        return [f"{origin}.{name}" for name, origin in origins.items()]
    exported = module.exports or [
        name for name, member in module.members.items() if not member.is_alias and not name.startswith("_")
    ]
    members = [module.members[str(name)] for name in exported if str(name) in module.members]
    targets = [member.final_target if member.is_alias else member for member in members]
    paths = [target.path for target in targets if target.is_class or target.is_function]
    return sorted(paths, key=lambda path: path.rpartition(".")[2].lower())
