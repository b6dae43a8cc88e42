"""The boundary to the user's own code: what it raises becomes one message that shows where.

    with user_code.running(model, "build"):
        model.build(shape)

Blocks, models, datasets, callbacks, schedules, metrics and samplers are called inside such a
`with` block, and plug-ins are imported in one.
"""

import contextlib
import errno
import re
import traceback
from collections.abc import Iterator
from typing import Any

from vaeflow.errors import ConfigurationError, DataError, EnvironmentFailure, RunError
from vaeflow.errors.frames import IN_MESSAGE, definition, is_own, note_package, own_frames, shown

__all__ = [
    "described",
    "explain",
    "is_users",
    "marked",
    "name_of",
    "note_package",
    "own_frames",
    "reason",
    "running",
    "shown",
    "wrong",
]

_LIBRARIES = frozenset({"vaeflow", "keras", "tensorflow", "numpy", "gin", "builtins", "functools"})

_NO_REASON = re.compile(
    r"Graph execution error:|Detected at node |Traceback \(most|\[\[\{\{node|in user code:|\W*$|"
    r"\d+ successful operations|\d+ derived errors"
)
_PREFIX = re.compile(
    r"^(?:\{\{\w+ \S+\}\} )*(?:Error in user-defined function passed to .* Iterator::\S+: )?"
)
_SUFFIX = re.compile(r"\s*\[Op:\w+\](?: name:\s*\S*)?$")
_NAMED = re.compile(r"[A-Za-z_.]*(?:Error|Exception): ")

# Libraries raise these anew with a longer message; the exception itself is the `__context__`.
_WRAPPED = (
    "Exception encountered when calling ",
    "Could not automatically infer the output shape ",
    "in user code:\n",
    "\n  In call to configurable ",
)

# TensorFlow's errors that the machine, another worker or an input pipeline causes.
_OF_ENVIRONMENT = frozenset(
    {
        "AbortedError",
        "CancelledError",
        "DataLossError",
        "DeadlineExceededError",
        "InternalError",
        "OutOfRangeError",
        "PermissionDeniedError",
        "ResourceExhaustedError",
        "UnauthenticatedError",
        "UnavailableError",
    }
)
_OF_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ESTALE})

_LONGEST_REASON = 600


@contextlib.contextmanager
def running(owner: Any, doing: str = "", failure: type[RunError] = ConfigurationError) -> Iterator[None]:
    """Turns what the user's code inside raises into one message with the lines that were running.

    Errors of vaeflow's own code, of the disk, the memory and other workers pass. Where vaeflow
    refuses what the user's code does, the lines are added to the message.

    Args:
      owner: the object, class or function whose code runs; None if it may be anybody's.
      doing: the method that is called.
      failure: the class of the error; where the disk failed, it is an `EnvironmentFailure`.

    Raises:
      RunError: the user's code failed. The exception is its `__cause__`.
    """
    try:
        yield
    except Exception as error:
        explained = explain(error, owner, doing, failure)
        if explained is None:
            raise
        raise explained from error


def explain(
    error: Exception, owner: Any = None, doing: str = "", failure: type[RunError] = ConfigurationError
) -> RunError | None:
    """Returns the error that `running` raises for an exception, or None where it passes."""
    if isinstance(error, MemoryError) or _is_of_environment(error, failure):
        return None
    frames = own_frames(error)
    original = _unwrapped(error)
    if isinstance(original, RunError):
        if not (frames and is_users(owner) and _is_refusal(original)):
            return None
        failure = type(original)
    elif not frames and not is_users(owner):
        return None
    elif isinstance(error, OSError) and error.errno in _OF_DISK:
        failure = EnvironmentFailure
    label = name_of(owner, doing) if is_users(owner) else frames[0].name
    why = str(original) if isinstance(original, RunError) else reason(error)
    return marked(failure(f"`{label}` fails: {why}{shown(frames)}"))


def wrong(owner: Any, doing: str, problem: str, failure: type[RunError] = ConfigurationError) -> RunError:
    """Returns the error for something that the user's code returned.

    Args:
      owner: the object, class or function that returned it.
      doing: the method, or an empty string.
      problem: what it returned and what was expected, after the name of the method.
      failure: the class of the error.
    """
    return marked(failure(f"`{name_of(owner, doing)}` {problem}{shown(definition(owner, doing))}"))


def name_of(owner: Any, doing: str = "") -> str:
    """Names a class, the class of an object, or a function, with one of its methods: `Boom.call`."""
    named = owner if hasattr(owner, "__qualname__") else type(owner)
    return f"{named.__qualname__}.{doing}" if doing else named.__qualname__


def described(value: Any) -> str:
    """Describes what the user's code gave: the shape and dtype of an array, the text of anything else."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return f"{value!r:.200}, of the class {type(value).__name__}"
    kind = "a tensor" if type(value).__name__.endswith("Tensor") else f"{type(value).__name__}"
    return f"{kind} of the shape {tuple(shape)} and {getattr(dtype, 'name', dtype)}"


def is_users(owner: Any) -> bool:
    """Whether an object, its class, or a function is defined outside vaeflow and its libraries."""
    if owner is None:
        return False
    named = owner if hasattr(owner, "__qualname__") else type(owner)
    return (getattr(named, "__module__", None) or "builtins").partition(".")[0] not in _LIBRARIES


def reason(error: BaseException) -> str:
    """Returns the class and message of an exception without what libraries add to it."""
    error = _unwrapped(error)
    text = str(error)
    if isinstance(error, SyntaxError):
        text = error.msg
    lines = [line.strip() for line in IN_MESSAGE.sub("", text).splitlines()]
    kept = [_SUFFIX.sub("", _PREFIX.sub("", line)) for line in lines if not _NO_REASON.match(line)]
    text = " ".join(dict.fromkeys(filter(None, kept)))
    if len(text) > _LONGEST_REASON:
        text = f"{text[:_LONGEST_REASON]} …"
    if not text or not (_is_tensorflows(error) and _NAMED.match(text)):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text


def marked(error: RunError) -> RunError:
    """Notes that the message of an error shows the user's lines, and returns the error."""
    error.shows_code = True
    return error


def _unwrapped(error: BaseException) -> BaseException:
    """Returns the exception that a library raised anew with a longer message, or `error` itself."""
    text, context = str(error), error.__context__
    is_wrapped = any(words in text or repr(words)[1:-1] in text for words in _WRAPPED)
    return _unwrapped(context) if is_wrapped and isinstance(context, Exception) else error


def _is_refusal(error: RunError) -> bool:
    """Whether vaeflow raised it about what the user's code asked for, and it does not show this code yet."""
    if error.shows_code or not isinstance(error, (ConfigurationError, DataError)):
        return False
    innermost = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1]
    return is_own(innermost.f_code.co_filename)


def _is_of_environment(error: Exception, failure: type[RunError]) -> bool:
    """Whether it is an error of TensorFlow that the code that runs does not cause."""
    if not _is_tensorflows(error):
        return False
    if issubclass(failure, DataError):
        return type(error).__name__ == "ResourceExhaustedError"
    return type(error).__name__ in _OF_ENVIRONMENT or "Iterator::" in str(error)


def _is_tensorflows(error: BaseException) -> bool:
    return type(error).__module__.startswith("tensorflow.")
