"""Imports TensorFlow without its start-up lines."""

import sys

# `import vaeflow` imports this module, in a command before the import path is mended; so what a
# file of the current folder could hide is imported when TensorFlow is.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def quiet_tensorflow() -> None:
    """Holds back what TensorFlow's libraries write to stderr when it is imported, whoever imports it.

    It is shown only if the import fails. They log half a dozen lines before they read the log
    level, past Python's own stream.
    """
    if "tensorflow" not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds TensorFlow where the others find it, once, and makes its import quiet."""

    def find_spec(
        self,
        fullname: str,
        path: object = None,  # noqa: ARG002 -- the protocol's.
        target: object = None,  # noqa: ARG002
    ) -> "ModuleSpec | None":
        if fullname != "tensorflow":
            return None
        import importlib.util
        import os

        from vaeflow.runs import streams

        sys.meta_path.remove(self)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # For what they log at the first computation.
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module: "ModuleType") -> None:
                with streams.errors_held_back():
                    execute(module)

            spec.loader.exec_module = execute_quietly
        return spec
