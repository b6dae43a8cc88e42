"""The library of the hub: imported when it is needed, with its errors turned into one line each."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.errors import ConfigurationError, EnvironmentFailure, RunError
from vaeflow.runs import files

if TYPE_CHECKING:
    from vaeflow.runs.hub.repository import Repository

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def load() -> Any:
    """Imports `huggingface_hub`, without what it would tell the hub of this process.

    Raises:
      ConfigurationError: it is not installed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ConfigurationError("the hub needs huggingface_hub; run pip install 'vaeflow[hub]'")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # The library reads it when it is imported.
    import huggingface_hub

    return huggingface_hub


def show_progress_on_terminals_only() -> None:
    """Leaves out the library's progress bars where nobody would see them move."""
    load()
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()


@contextlib.contextmanager
def explained(repository: Repository, writing: bool = False) -> Generator[None]:
    """Turns what the library raises into an error of one line.

    Args:
      repository: which is read or written.
      writing: whether it is written.
    """
    load()
    try:
        yield
    except RunError:
        raise
    # The library raises its own, those of its HTTP client and of its uploader, and Python's.
    except Exception as error:
        raise _explained(error, repository, writing) from error


def _explained(error: BaseException, repository: Repository, writing: bool) -> RunError:
    from huggingface_hub import errors

    # Their causes are what happened: the first says that the cache does not help, the second names a file.
    if isinstance(error, (errors.LocalEntryNotFoundError, RuntimeError)) and error.__cause__ is not None:
        return _explained(error.__cause__, repository, writing)
    if isinstance(error, errors.GatedRepoError):
        return ConfigurationError(
            f"{repository} asks its users to accept conditions; accept them on its page, and {_LOG_IN}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        create = "add --create to make it; " if writing else ""
        return ConfigurationError(
            f"the hub shows no repository {repository.name}; check the name; {create}if it is private, "
            + _LOG_IN
        )
    if isinstance(error, errors.RevisionNotFoundError):
        create = ", or add --create to make a branch of this name" if writing else ""
        return ConfigurationError(
            f"the repository {repository.name} has no revision {repository.revision!r}; give a branch, a tag "
            f"or a commit of it{create}"
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        missing = "" if writing else f", and {repository} is not whole in the cache of this machine"
        return EnvironmentFailure(
            f"HF_HUB_OFFLINE forbids to reach the hub{missing}; do the same without that variable"
        )
    if isinstance(error.__cause__, errors.BadRequestError):
        return ConfigurationError(
            f"the hub refuses the model card: {_one_line(str(error))}; mend export/README.md, or give "
            "another --license"
        )
    if isinstance(error, errors.HfHubHTTPError):
        return _of_status(error, repository, writing)
    if isinstance(error, OSError) and error.errno and error.filename:  # Of the cache, not of the network.
        return files.failure(Path(error.filename), error)
    what = "written" if writing else "read"
    return EnvironmentFailure(
        f"{repository} could not be {what} ({_one_line(str(error)) or type(error).__name__}); check the "
        "network and HF_ENDPOINT, then try again"
    )


def _of_status(error: Any, repository: Repository, writing: bool) -> RunError:
    status = error.response.status_code
    said = f": {_one_line(error.server_message)}" if error.server_message else ""
    if status in (401, 403):
        right = "write to" if writing else "read"
        return ConfigurationError(
            f"the hub refuses access to {repository} (HTTP {status}{said}); {_LOG_IN}, with a token that "
            f"may {right} it"
        )
    if status == 400:
        return ConfigurationError(f"the hub refuses what it was sent for {repository} (HTTP 400{said})")
    return EnvironmentFailure(f"the hub answered HTTP {status} for {repository}{said}; try again later")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
