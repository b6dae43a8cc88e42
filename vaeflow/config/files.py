"""Finds gin files, and keeps `include` inside the folders that a user meant."""

import os
import pathlib

from vaeflow import registry
from vaeflow.errors import ConfigurationError

_CONFIGURATION = "config.gin"
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def configs_folder():
    """Returns the folder of vaeflow's own gin files: in the package, or beside it in a checkout."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def find_given(name):
    """Finds a file named by `--gin_file`: below the current folder, then among vaeflow's own.

    Args:
      name: a path; `configs/vae.gin` and `vae.gin` both name vaeflow's own.

    Returns:
      A `pathlib.Path`.

    Raises:
      ConfigurationError: it is nowhere; lists what was searched and the nearest names.
    """
    return _first_file(f"--gin_file={name}", _candidates(name, [pathlib.Path()]))


def of_workdir(workdir):
    """Finds the configuration that a work folder's run was made with.

    Args:
      workdir: the folder's path.

    Returns:
      The `pathlib.Path` of its `config.gin`.

    Raises:
      ConfigurationError: there is no such folder, or it is not the work folder of a run.
    """
    folder = pathlib.Path(workdir)
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*") if (path / _CONFIGURATION).is_file()]
        near = (
            registry.did_you_mean(folder.name, beside) or f"; {folder.parent} holds {_some(beside, 'runs')}"
        )
        raise ConfigurationError(f"--workdir={workdir}: there is no such folder{near}")
    path = folder / _CONFIGURATION
    if not path.is_file() or "\ntrain.model = " not in "\n" + read(path):
        raise ConfigurationError(
            f"--workdir={workdir} is not the work folder of a run: it holds no {_CONFIGURATION} that binds "
            "`train.model`; give the folder that `vaeflow train` wrote, e.g. --workdir=runs/vae"
        )
    return path


def find_included(name, folder, allowed, place):
    """Finds a file named by an `include`.

    Args:
      name: the path in the `include`.
      folder: the folder of the including file, searched first.
      allowed: further folders that an include may reach.
      place: where the `include` stands, for messages.

    Returns:
      A `pathlib.Path`.

    Raises:
      ConfigurationError: it is nowhere, or, symbolic links and `..` resolved, outside
        the allowed folders, the current one and vaeflow's `configs/`.
    """
    statement = f"{place}: `include {name!r}`"
    path = _first_file(statement, _candidates(name, [folder, pathlib.Path()]))
    allowed = [*allowed, pathlib.Path(), configs_folder()]
    if not any(path.resolve().is_relative_to(root.resolve()) for root in allowed):
        listed = ", ".join(dict.fromkeys(show(root) for root in allowed))
        raise ConfigurationError(
            f"{statement} is refused: it leads to {path.resolve()}, outside the folders that an include may "
            f"reach ({listed}); copy the file there, or give it with --gin_file"
        )
    return path


def read(path):
    """Returns the text of a gin file.

    Raises:
      ConfigurationError: it cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{show(path)} cannot be read as text: {error}") from error


def show(path):
    """Writes a path relative to the current folder where it lies below it."""
    absolute = pathlib.Path(os.path.abspath(path))
    here = pathlib.Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _candidates(name, folders):
    own = configs_folder()
    candidates = [folder / name for folder in [*folders, own]]
    if pathlib.Path(name).parts[:1] == ("configs",):
        candidates.append(own.joinpath(*pathlib.Path(name).parts[1:]))
    return list(dict.fromkeys(candidates))


def _first_file(what, candidates):
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    folders = list(dict.fromkeys(candidate.parent for candidate in candidates))
    present = [path.name for folder in folders if folder.is_dir() for path in folder.glob("*.gin")]
    name = candidates[0].name
    near = registry.did_you_mean(name, present) or f"; those folders hold {_some(present, 'gin files')}"
    searched = ", ".join(dict.fromkeys(show(folder) for folder in folders))
    raise ConfigurationError(f"{what}: there is no such file in {searched}{near}")


def _some(names, what):
    if not names:
        return f"no {what}"
    return ", ".join(sorted(set(names))[:10]) + (", …" if len(set(names)) > 10 else "")
