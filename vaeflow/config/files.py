"""Finds gin files, and confines `include` to the folders that the user meant."""

import os
import pathlib
import stat
from collections.abc import Iterable, Sequence

from vaeflow import registry
from vaeflow.errors import ConfigurationError
from vaeflow.runs import json_files, paths

_CONFIGURATION = "config.gin"
_MOST_BYTES = 1 << 20
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def configs_folder() -> pathlib.Path:
    """Returns the folder of vaeflow's own gin files: in the package, or next to it in a clone."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def find_given(name: str) -> pathlib.Path:
    """Finds a file named by `--gin_file`: from the current folder, then among vaeflow's own.

    Args:
      name: a path; `vae.gin` and `configs/vae.gin` both name vaeflow's own.

    Raises:
      ConfigurationError: there is no such file; lists the searched folders and the nearest
        names.
    """
    paths.checked("--gin_file", name)
    return _first_file(f"--gin_file={name}", _candidates(name, [pathlib.Path()]))


def of_workdir(workdir: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of a work folder's `config.gin`.

    Raises:
      ConfigurationError: there is no such folder, or it is not the work folder of a run.
    """
    folder = paths.checked("--workdir", workdir)
    if not folder.is_dir():
        runs = [path.name for path in folder.parent.glob("*") if (path / _CONFIGURATION).is_file()]
        near = registry.did_you_mean(folder.name, runs) or f"; {folder.parent} holds {_some(runs, 'runs')}"
        raise ConfigurationError(f"--workdir={workdir}: there is no such folder{near}")
    path = folder / _CONFIGURATION
    if not path.is_file() or "\ntrain.model = " not in "\n" + read(path):
        raise ConfigurationError(
            f"--workdir={workdir} is not the work folder of a run: it holds no {_CONFIGURATION} that binds "
            "`train.model`; give the folder that `vaeflow train` wrote, e.g. --workdir=runs/vae"
        )
    return path


def plugins_of_workdir(workdir: str | os.PathLike[str]) -> list[str]:
    """Returns the plug-in modules that a work folder's run was trained with; none where nothing says so.

    The folder may be somebody else's: the names are for a message, and nothing imports them.
    """
    try:
        path = pathlib.Path(workdir) / "environment.json"
        names = json_files.read(path, {"plugins": json_files.TEXTS})["plugins"]
    except (OSError, ValueError):
        return []
    return [name for name in names if all(part.isidentifier() for part in name.split("."))]


def find_included(
    name: str, folder: pathlib.Path, allowed: Sequence[pathlib.Path], place: str
) -> pathlib.Path:
    """Finds a file named by an `include`.

    Args:
      name: the path in the `include`.
      folder: the folder of the including file, searched first.
      allowed: further folders that an include may reach.
      place: the place of the `include`, for messages.

    Raises:
      ConfigurationError: there is no such file; or, after resolving symbolic links and
        `..`, it is outside the allowed folders, the current one and vaeflow's `configs/`.
    """
    statement = f"{place}: `include {paths.shown(name)!r}`"
    try:
        paths.local(name)
    except ValueError as error:
        raise ConfigurationError(f"{statement}: {error}") from error
    path = _first_file(statement, _candidates(name, [folder, pathlib.Path()]))
    allowed = [*allowed, pathlib.Path(), configs_folder()]
    if not any(path.resolve().is_relative_to(root.resolve()) for root in allowed):
        listed = ", ".join(dict.fromkeys(show(root) for root in allowed))
        raise ConfigurationError(
            f"{statement} is refused: it leads to {path.resolve()}, outside the folders that an include may "
            f"reach ({listed}); copy the file there, or give it with --gin_file"
        )
    return path


def read(path: pathlib.Path) -> str:
    """Returns the text of a gin file.

    Raises:
      ConfigurationError: the file cannot be read, is not text, or is larger than any gin file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{show(path)} cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{show(path)}:{line} cannot be read as text: it is not UTF-8 ({error.reason}); save it in UTF-8"
        ) from error
    if len(content) > _MOST_BYTES:
        raise ConfigurationError(
            f"{show(path)} has more than {_MOST_BYTES:,} bytes, which no gin file needs; is it one?"
        )
    # As Python opens text; gin counts lines so.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def show(path: str | os.PathLike[str]) -> str:
    """Returns a path relative to the current folder if it lies below it, else the absolute path."""
    # Without `..`, and without following symbolic links.
    absolute = pathlib.Path(os.path.abspath(path))  # noqa: PTH100 -- `resolve` follows links
    here = pathlib.Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _candidates(name: str, folders: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    own = configs_folder()
    candidates = [folder / name for folder in [*folders, own]]
    if pathlib.Path(name).parts[:1] == ("configs",):
        candidates.append(own.joinpath(*pathlib.Path(name).parts[1:]))
    return list(dict.fromkeys(candidates))


def _first_file(what: str, candidates: Sequence[pathlib.Path]) -> pathlib.Path:
    for candidate in candidates:
        try:
            mode = candidate.stat().st_mode
        except OSError:
            if candidate.is_symlink():
                raise ConfigurationError(f"{what}: the link {show(candidate)} leads to no file") from None
            continue
        if not stat.S_ISREG(mode):  # Reading from a FIFO or a device might never end.
            what_it_is = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise ConfigurationError(f"{what}: {show(candidate)} is {what_it_is}; name a gin file")
        return candidate
    folders = list(dict.fromkeys(candidate.parent for candidate in candidates))
    present = [path.name for folder in [*folders, configs_folder()] for path in folder.glob("*.gin")]
    name = candidates[0].name
    near = registry.did_you_mean(name, present) or f"; those folders hold {_some(present, 'gin files')}"
    searched = ", ".join(dict.fromkeys(show(folder) for folder in folders))
    raise ConfigurationError(f"{what}: there is no such file in {searched}{near}")


def _some(names: Iterable[str], what: str) -> str:
    different = sorted(set(names))
    if not different:
        return f"no {what}"
    return ", ".join(different[:10]) + (", …" if len(different) > 10 else "")
