"""What a tracker is told of a run besides its metrics: parameters, tags, pictures, the digest of weights."""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow.callbacks.trackers.tracked_run import Picture
from vaeflow.models import frozen_blocks
from vaeflow.models.base import Model
from vaeflow.runs import checkpoint_files, json_files, reading
from vaeflow.runs.digest import arrays_sha256
from vaeflow.runs.escaping import without_passwords
from vaeflow.runs.workdir import WorkDir

CONFIGURATION = "config.gin"
_ENVIRONMENT = {"git_revision": json_files.TEXT_OR_NULL}
_PICTURE = re.compile(r"(.+)-([0-9]{8,18})\.png")


def parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings in force of a run, see `RunContext.parameters`, without passwords of URLs."""
    return {name: _without_passwords(value) for name, value in settings.items()}


def tags(workdir: WorkDir) -> dict[str, str]:
    """Returns what the work folder says of a run beforehand: where it is, and the revision of the code."""
    found = {"workdir": str(workdir.path.resolve())}
    try:
        environment = json_files.read(workdir.path / "environment.json", _ENVIRONMENT)
    except (OSError, ValueError):
        return found
    revision = environment["git_revision"]
    return found if revision is None else found | {"revision": revision}


def text(workdir: WorkDir, name: str) -> str:
    """Returns the text of a file of the work folder, without passwords of URLs."""
    return without_passwords(reading.read_text(workdir.path / name))


def pictures(folder: pathlib.Path) -> list[Picture]:
    """Lists the pictures of a run, in the order of their steps.

    A link is none of them, as it could publish any file; a pipe would not end.
    """
    found = [(path, _PICTURE.fullmatch(path.name)) for path in folder.glob("*.png")]
    return sorted(
        Picture(int(match[2]), match[1], path)
        for path, match in found
        if match is not None and not path.name.startswith(".") and not path.is_symlink() and path.is_file()
    )


def positions_of_weights(model: Model) -> list[int]:
    """Returns which of the variables in a checkpoint the digest of a model's weights covers, in its order."""
    places = {id(variable): place for place, variable in enumerate(_own(model, model.variables))}
    return [places[id(weight)] for weight in _own(model, model.weights)]


def weights_digest(checkpoint: pathlib.Path, positions: Sequence[int]) -> str:
    """Returns what `result.json` would have as `weights_sha256` for the weights in a checkpoint.

    Args:
      checkpoint: its folder.
      positions: see `positions_of_weights`.
    """
    with checkpoint_files.reader(checkpoint) as reader:
        keys = (checkpoint_files.key(f"model/{position}") for position in positions)
        return arrays_sha256(reader.get_tensor(key) for key in keys)


def _own(model: Model, variables: Sequence[Any]) -> list[Any]:
    return frozen_blocks.without(model, variables)


def _without_passwords(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_passwords(item) for item in value]
    return without_passwords(value) if isinstance(value, str) else value
