"""One registered class or function, and the parameters that gin may set."""

import dataclasses
import functools
import inspect
from typing import Any


@dataclasses.dataclass(frozen=True)
class Entry:
    """One registered class or function.

    Attributes:
      kind: a key of `KINDS`.
      name: its Python name, which is also its name in gin.
      target: the class or function itself.
      package: its top-level package, e.g. `vaeflow`.
      location: `file:line` of its definition.
      refused: parameters that gin must not set -> what to do instead.
    """

    kind: str
    name: str
    target: Any
    package: str
    location: str
    refused: dict[str, str]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        documentation = inspect.getdoc(self.target) or ""
        return documentation.split("\n")[0]

    @functools.cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that gin may set: name -> `inspect.Parameter`."""
        return {
            name: parameter
            for name, parameter in constructor_parameters(self.target).items()
            if name not in self.refused
        }


def constructor_parameters(target: Any) -> dict[str, inspect.Parameter]:
    """Collects the parameters of a function, or of a class along its bases.

    A constructor that ends in `**kwargs` passes the rest to the next base, so the bases'
    parameters count too, up to the first base without `**kwargs`.

    Args:
      target: a function or class.

    Returns:
      A dict, name -> `inspect.Parameter`, in the order of the signatures.
    """
    if not inspect.isclass(target):
        constructors = [(None, target)]
    else:
        constructors = [
            (base, base.__dict__["__init__"])
            for base in target.__mro__
            if "__init__" in base.__dict__ and base is not object
        ]
    found: dict[str, inspect.Parameter] = {}
    for base, constructor in constructors:
        parameters = list(inspect.signature(constructor).parameters.values())
        if base is not None:
            parameters = parameters[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def location(target: Any) -> str:
    """Returns `file:line` of a definition, or its module if the source is unknown."""
    try:
        number = inspect.getsourcelines(target)[1]
        return f"{inspect.getsourcefile(target)}:{number}"
    except (OSError, TypeError):
        return target.__module__
