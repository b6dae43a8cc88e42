"""Which bindings a command reads."""

import inspect
from typing import Any

from vaeflow import registry
from vaeflow.config import limits
from vaeflow.config.syntax import Binding, Macro, leaves, size

# The command that plans runs: what it reads may be the setting of one of its runs only, and its plan names
# classes whose settings each run gives.
STUDY = "study"
_PLANS = (((), STUDY, "grid"), ((), STUDY, "space"))

_Scope = tuple[str, ...]
Key = tuple[_Scope, str, str]


def _macro_key(name: str) -> Key:
    *scope, last = name.split("/")
    return tuple(scope), "", last


class Reach:
    """Finds the bindings a command reads, by walking from its parameters as gin would call them.

    Each call and each macro is walked once in each scope.

    Scopes follow gin: a scoped reference replaces the current scope, any other keeps it.
    In a scope `a/b`, the bindings without scope, of `a` and of `a/b` apply, and the deepest
    wins. A macro's value is evaluated in a scope named after the macro.

    Attributes:
      used: keys of the bindings that are read.
      visited: name -> the set of scopes it is called in.
      problems: missing values, and references that form a circle.
    """

    def __init__(self, root: str, final: dict[Key, Binding]) -> None:
        self._final = final
        self._of: dict[str, list[Binding]] = {}
        for binding in final.values():
            self._of.setdefault(binding.name, []).append(binding)
        self._extents: dict[tuple[str, _Scope, Any], limits.Extent] = {}
        self._depth = 0
        self._in_plan = False
        self.used: set[Key] = set()
        self.visited: dict[str, set[_Scope]] = {}
        self.problems: list[str] = []
        self._visit(root, (), None, True, ())

    def holds_somewhere(self, binding: Binding) -> bool:
        """Returns whether any call is in the binding's scope (a deeper one may win there)."""
        depth = len(binding.scope)
        return any(scope[:depth] == binding.scope for scope in self.visited.get(binding.name, ()))

    def _visit(
        self,
        name: str,
        scope: _Scope,
        source: Binding | None,
        evaluate: bool,
        path: tuple[tuple[str, _Scope], ...],
    ) -> limits.Extent:
        """Walks the bindings of a call; returns what gin would make for it."""
        if (name, scope) in path:
            place = f"{source.location}: " if source else ""
            self.problems.append(f"{place}@{name}() refers to itself")
            return limits.Extent(1)
        key = name, scope, evaluate
        if key not in self._extents:
            extent = self._extents[key] = limits.Extent(1)  # Of a call within itself that gin makes later.
            self.visited.setdefault(name, set()).add(scope)
            bound = self._bindings_in_force(name, scope)
            self._require_parameters(name, source, evaluate, bound)
            for binding in bound.values():
                self.used.add(binding.key)
                self._in_plan = self._in_plan or binding.key in _PLANS
                extent = extent.holding(self._walk(binding, (scope, scope), (*path, (name, scope)), ()))
                self._in_plan = self._in_plan and binding.key not in _PLANS
            self._extents[key] = extent
        return self._extents[key]

    def _bindings_in_force(self, name: str, scope: _Scope) -> dict[str, Binding]:
        bound: dict[str, Binding] = {}
        for depth in range(len(scope) + 1):
            for binding in self._of.get(name, ()):
                if binding.scope == scope[:depth]:
                    bound[binding.parameter] = binding
        return bound

    def _require_parameters(self, name, source, evaluate, bound):
        entry = registry.get(name)
        # A function passed without a call gets its arguments from its caller.
        if self._in_plan or not (evaluate or inspect.isclass(entry.target)):
            return
        for parameter in entry.parameters.values():
            if parameter.default is parameter.empty and parameter.name not in bound:
                label = f"{name}.{parameter.name}"
                needed = f"{source.location}: " if source else ""
                self.problems.append(f"{needed}`{label}` must be given: add --gin_param='{label} = …'")

    def _walk(self, binding, scopes, path, macros):
        """Follows a value; `scopes` are the scopes of calls made now and of calls made later."""
        now, later = scopes
        extent = limits.Extent(size(binding.value))
        limits.refuse(limits.Extent(height=self._depth), binding)
        self._depth += 1
        for leaf in leaves(binding.value):
            if isinstance(leaf, Macro):
                part = self._expand(leaf, binding, later, path, macros)
            elif leaf.evaluate:
                part = self._visit(leaf.name, leaf.scopes or now, binding, True, path)
            else:
                part = self._visit(leaf.name, leaf.scopes or later, binding, False, ())
            extent = extent.holding(part)
            limits.refuse(extent, binding)
        self._depth -= 1
        return extent

    def _expand(self, macro, binding, later, path, macros):
        key = macro.name, later, "macro"
        if macro.is_required and self._in_plan:
            return limits.Extent(1)
        if macro.is_required:
            self.problems.append(
                f"{binding.location}: `{binding.label}` must be given: add --gin_param='{binding.label} = …'"
            )
        elif macro.name in macros:
            self.problems.append(f"{binding.location}: %{macro.name} is defined by itself")
        elif _macro_key(macro.name) in self._final and key not in self._extents:
            definition = self._final[_macro_key(macro.name)]
            self.used.add(definition.key)
            scopes = (tuple(macro.name.split("/")), later)
            self._extents[key] = self._walk(definition, scopes, path, (*macros, macro.name))
        return self._extents.get(key, limits.Extent(1))
