"""A repository of the hub: its address, the files fetched from it, and the one commit of a push."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import vaeflow
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import json_files, watchdog
from vaeflow.runs.hub import library, manifest
from vaeflow.runs.hub.manifest import FileDigest, Manifest

_SCHEME = "hf://"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_LONGEST_NAME = 96
# What git allows in the name of a branch or tag, without the characters that mean something in an address.
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./+-]*[A-Za-z0-9_+-])?")


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository, or one revision of it.

    Attributes:
      name: `owner/name`.
      revision: a branch, a tag or a commit; None for the branch `main`.
    """

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{_SCHEME}{self.name}" + (f"@{self.revision}" if self.revision else "")


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One commit of a repository in the cache of this machine.

    Attributes:
      repository: as it was asked for.
      commit: its hash.
      folder: holds what was fetched; the files are links into the cache.
      manifest: what the commit holds.
    """

    repository: Repository
    commit: str
    folder: Path
    manifest: Manifest

    def fetch(self, names: Iterable[str]) -> list[Path]:
        """Fetches files that are not in the cache yet; returns the paths of all, which are not verified.

        Raises:
          ConfigurationError: the hub does not let this user read them.
          EnvironmentFailure: one is missing, or the hub cannot be reached.
        """
        return [_fetched(Repository(self.repository.name, self.commit), name) for name in names]

    def refuse(self, name: str, found: FileDigest) -> None:
        """Refuses a file whose content is not what the manifest says.

        Raises:
          EnvironmentFailure: it is not.
        """
        expected = self.manifest.files[name]
        if found != expected:
            raise EnvironmentFailure(
                f"{name} of {self.repository} is not what `vaeflow push` wrote: it has {found.size:,} bytes "
                f"and the SHA-256 {found.sha256}, and {manifest.NAME} names {expected.size:,} bytes and "
                f"{expected.sha256}; nothing of it was used. If the cache is damaged, remove "
                f"{self.folder.parent.parent} and try again"
            )


def is_address(path: object) -> bool:
    """Whether a path is the address of a repository, `hf://owner/name`."""
    return isinstance(path, str) and path.startswith(_SCHEME)


def at(address: str) -> Repository:
    """Returns the repository of an address, `hf://owner/name` or `hf://owner/name@revision`.

    Raises:
      ConfigurationError: it is malformed.
    """
    name, separator, revision = address.removeprefix(_SCHEME).partition("@")
    return named(name, revision if separator else None, address)


def named(name: str, revision: str | None = None, given: str | None = None) -> Repository:
    """Returns a repository of a checked name.

    Args:
      name: `owner/name`.
      revision: a branch, a tag or a commit; None for the branch `main`.
      given: what the user gave, for the message; None for `--repo` and `--revision`.

    Raises:
      ConfigurationError: the hub has no repositories or revisions of such a name.
    """
    good = (
        _REPOSITORY.fullmatch(name) and len(name) <= _LONGEST_NAME and not re.search(r"--|\.\.|\.git$", name)
    )
    if not good:
        raise ConfigurationError(
            f"{given or f'--repo={name}'}: {name!r} is no repository of models; write owner and name, "
            "e.g. somebody/vae-mnist, in letters, digits and single -_."
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision):
        raise ConfigurationError(
            f"{given or f'--revision={revision}'}: {revision!r} is no revision; give a branch, a tag or a "
            "commit"
        )
    return Repository(name, revision)


def find(repository: Repository) -> Snapshot:
    """Fetches the manifest of a repository, or finds it in the cache where the hub cannot be reached.

    Raises:
      ConfigurationError: there is no such repository or revision, it was not made by `vaeflow push`, or this
        user may not read it.
      EnvironmentFailure: the manifest is malformed, or the hub cannot be reached.
    """
    path = _fetched(repository, manifest.NAME)
    try:
        found = manifest.read(path)
    except (OSError, json_files.MalformedError) as error:
        raise EnvironmentFailure(
            f"{manifest.NAME} of {repository} is not what `vaeflow push` writes: {error}; nothing of the "
            "repository was used"
        ) from error
    return Snapshot(repository, path.parent.name, path.parent, found)


def fetch_model(address: str) -> Snapshot:
    """Fetches and verifies the files of a repository that `vaeflow.load` reads.

    Args:
      address: `hf://owner/name` or `hf://owner/name@revision`.

    Raises:
      ConfigurationError: as for `find`.
      EnvironmentFailure: as for `find`, or a file is missing or another than the manifest says.
    """
    snapshot = find(at(address))
    names = snapshot.manifest.of_the_model
    for name, path in zip(names, snapshot.fetch(names), strict=True):
        snapshot.refuse(name, manifest.digest(path))
    return snapshot


def commit(
    repository: Repository, files: Mapping[str, Path | bytes], message: str, create: bool, private: bool
) -> Any:
    """Makes one commit, which replaces all that an earlier push has put there.

    Args:
      repository: where to.
      files: name in the repository -> the file, or its content.
      message: the first line of the commit.
      create: whether to make the repository, and the branch, if they do not exist.
      private: whether only its owner may see it.

    Returns:
      The library's `CommitInfo`.

    Raises:
      ConfigurationError: there is no such repository, this user may not write to it, it is public although
        `private` was asked for, or its `.gitignore` may leave files out.
      EnvironmentFailure: the hub cannot be reached; the repository is as it was.
    """
    hub = library.load()
    watchdog.progress(f"the push to {repository}", math.inf)  # The library ends a transfer that stalls.
    with library.explained(repository, writing=True):
        api = hub.HfApi(library_name="vaeflow", library_version=vaeflow.__version__)
        if create:
            _create(api, repository, private)
        present = api.list_repo_files(repository.name, revision=repository.revision)
        if ".gitignore" in present:
            raise ConfigurationError(
                f"{repository} has a .gitignore, and the hub leaves out what it names; remove it there first"
            )
        left = [name for name in present if manifest.is_name(name) and name not in files]
        return api.create_commit(
            repository.name,
            [
                *(hub.CommitOperationAdd(name, content) for name, content in files.items()),
                *(hub.CommitOperationDelete(name, is_folder=False) for name in left),
            ],
            commit_message=message,
            revision=repository.revision,
        )


def _create(api: Any, repository: Repository, private: bool) -> None:
    api.create_repo(repository.name, private=private or None, exist_ok=True)
    if private and not api.repo_info(repository.name).private:
        raise ConfigurationError(
            f"{repository} exists already, and is public; nothing was pushed. Make it private on its page, "
            "or leave out --private"
        )
    if repository.revision is not None:
        api.create_branch(repository.name, branch=repository.revision, exist_ok=True)


def _fetched(repository: Repository, name: str) -> Path:
    """Returns the path of a file in the cache, which is fetched first if it is not there."""
    hub = library.load()
    from huggingface_hub import errors

    watchdog.progress(f"the fetching of {name} of {repository}", math.inf)
    with library.explained(repository):
        try:
            path = hub.hf_hub_download(
                repository.name,
                name,
                revision=repository.revision,
                library_name="vaeflow",
                library_version=vaeflow.__version__,
            )
        except errors.RemoteEntryNotFoundError as error:
            if name == manifest.NAME:
                raise ConfigurationError(
                    f"{repository} holds no {name}: `vaeflow push` did not make it, and no other is read"
                ) from error
            raise EnvironmentFailure(
                f"{repository} lacks {name}, which its {manifest.NAME} names; nothing of it was used"
            ) from error
    return Path(path)
