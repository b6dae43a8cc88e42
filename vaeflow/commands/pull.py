"""Fetches a published model from the hub; read `pull` top to bottom."""

from pathlib import Path

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import files, paths
from vaeflow.runs.escaping import printable
from vaeflow.runs.hub import library, manifest, repository


def pull(repo: str, to: str, revision: str | None = None) -> Path:
    """Makes a work folder of a repository, whole and verified, or not at all.

    Args:
      repo: `owner/name`.
      to: the folder, which must not exist yet, or be empty.
      revision: a branch, a tag or a commit; None for the branch `main`.

    Returns:
      The folder.

    Raises:
      ConfigurationError: there is no such repository, this user may not read it, or the folder is taken.
      EnvironmentFailure: a file is another than the manifest says, or the hub or the disk failed.
    """
    source, folder = repository.named(repo, revision), paths.checked("--to", to)
    _refuse_taken(folder)
    library.show_progress_on_terminals_only()
    snapshot = repository.find(source)
    names = sorted(snapshot.manifest.files)
    fetched = dict(zip(names, snapshot.fetch(names), strict=True))
    with files.reported(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with files.staging(folder.parent, folder.name) as unfinished:
        for name, path in fetched.items():
            target = unfinished / _place(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            snapshot.refuse(name, manifest.copy(path, target))
        manifest.copy(snapshot.folder / manifest.NAME, unfinished / manifest.NAME)
        files.move(unfinished, folder)
    print(printable(f"pulled   {source}, commit {snapshot.commit}"))
    print(printable(f"written  {len(names)} files to {folder}, each as its SHA-256 in {manifest.NAME} says"))
    return folder


def _place(name: str) -> str:
    """Returns where a file of a repository lies in a work folder."""
    return f"{manifest.EXPORT}/{name}" if name == manifest.CARD else name


def _refuse_taken(folder: Path) -> None:
    try:
        is_taken = folder.is_symlink() or (folder.exists() and any(folder.iterdir()))
    except NotADirectoryError:
        is_taken = True
    except OSError as error:
        raise EnvironmentFailure(f"--to={folder} cannot be read: {error.strerror}") from error
    if is_taken:
        raise ConfigurationError(f"--to={folder} exists already; choose a new folder, or an empty one")
