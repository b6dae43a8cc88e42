"""Lists what a gin file can name: models, layers, datasets and the rest, with their parameters.

    python -m launch.list
    python -m launch.list model
    python -m launch.list layer --plugin=my_package.blocks
"""

import inspect
import itertools
import sys
import textwrap

from vaeflow import command_line, registry

_WIDTH = 100
# Keeps a parameter and its default on one line.
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


def run(flags, kind=None):
    """Prints the registered names of one kind, or of all."""
    if kind is not None:
        registry.entries(kind)  # A misspelt kind is told at once, not after TensorFlow's import.
    registry.load_builtins()
    for module in [*flags.plugin, *registry.announced_plugins()]:
        registry.load_plugin(module)
    print("\n".join(_lines(registry.entries(kind))).strip("\n"))


def _lines(entries):
    column = max((len(entry.name) for entry in entries), default=0) + 4
    for kind, members in itertools.groupby(entries, key=lambda entry: entry.kind):
        yield f"\n{kind}\n"
        for entry in members:
            parameters = ", ".join(map(_signature, _own_parameters(entry)))
            details = [entry.summary, f"from {entry.target.__module__}", parameters]
            text = "\n".join(_wrapped(detail, column) for detail in details if detail)
            yield f"  {entry.name}".ljust(column) + text[column:]


def _own_parameters(entry):
    """The parameters but those that every Keras layer has, such as `name` and `dtype`."""
    import keras

    is_layer = inspect.isclass(entry.target) and issubclass(entry.target, keras.layers.Layer)
    common = registry.constructor_parameters(keras.layers.Layer) if is_layer else {}
    return [parameter for name, parameter in entry.parameters.items() if name not in common]


def _signature(parameter):
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={parameter.default!r}".replace(" ", _NO_BREAK_SPACE)


def _wrapped(text, indent):
    margin = " " * indent
    lines = textwrap.fill(
        text,
        _WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace(_NO_BREAK_SPACE, " ")


if __name__ == "__main__":
    sys.exit(command_line.main(run, __doc__, command_line.define_flags("plugin"), arguments=("kind",)))
