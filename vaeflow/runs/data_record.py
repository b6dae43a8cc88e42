"""What data a run was trained on, so that a resumed run notices when it has changed."""

import pathlib
from collections.abc import Mapping

from absl import logging

from vaeflow.errors import ConfigurationError
from vaeflow.runs import json_files

NAME = "data.json"
PARTS = {"splits": json_files.TEXT_BY_NAME}


def check(folder: pathlib.Path, found: Mapping[str, str], allow_change: bool) -> None:
    """Refuses to go on with other data than that of the record in a work folder.

    Args:
      folder: the work folder. One without a record, of an older version, says nothing.
      found: the data as it is now: split -> `Split.fingerprint()`.
      allow_change: whether to go on all the same, with a warning.

    Raises:
      ConfigurationError: it has changed; the message shows both.
    """
    try:
        known = json_files.read(folder / NAME, PARTS)["splits"]
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        logging.warning("whether the data has changed is unknown: %s (%s)", folder / NAME, error)
        return
    changes = [
        f"{split}: {known.get(split, 'none')} became {found.get(split, 'none')}"
        for split in sorted(known.keys() | found.keys())
        if known.get(split) != found.get(split)
    ]
    if not changes:
        return
    described = f"the data of the run in {folder} has changed since it was trained ({'; '.join(changes)})"
    if not allow_change:
        raise ConfigurationError(
            f"{described}; put the old data back, choose another folder with `--workdir`, or resume with "
            "`--allow_config_change`"
        )
    logging.warning("%s", described)


def write(folder: pathlib.Path, found: Mapping[str, str]) -> None:
    """Writes the record; see `check`."""
    json_files.write(folder / NAME, {"splits": dict(found)})
