"""Publishes a trained model on the hub; read `push` top to bottom."""

from collections.abc import Mapping
from pathlib import Path

from vaeflow.errors import ConfigurationError
from vaeflow.runs import paths
from vaeflow.runs.escaping import printable
from vaeflow.runs.hub import card, library, published, repository


def push(
    workdir: str,
    repo: str,
    revision: str | None = None,
    create: bool = False,
    private: bool = False,
    message: str | None = None,
    licence: str | None = None,
) -> str:
    """Publishes the export of a run with its checkpoint, and what loads and verifies it, in one commit.

    Args:
      workdir: the work folder of a run that `export` has exported.
      repo: `owner/name`.
      revision: a branch; None for `main`.
      create: whether to make the repository, and the branch, if they do not exist.
      private: whether only its owner may see the new repository.
      message: the first line of the commit; None for one that names model and step.
      licence: an identifier of the hub, e.g. `apache-2.0`; None for what the card says.

    Returns:
      The hash of the commit.

    Raises:
      ConfigurationError: there is no export, or the hub refuses the push.
      EnvironmentFailure: the checkpoint is damaged, or the hub cannot be reached; the repository is as
        it was.
    """
    target = repository.named(repo, revision)
    if private and not create:
        raise ConfigurationError("--private is for a new repository; add --create, or set it on its page")
    library.show_progress_on_terminals_only()
    found = published.gather(paths.checked("--workdir", workdir))
    files = found.with_card(card.made(found, target, licence))
    message = message or f"Push {found.model} of step {found.step}"
    done = repository.commit(target, files, message, create, private)
    pinned = repository.Repository(target.name, done.oid)
    print(printable(f"pushed   {len(files)} files, {_size(files)}, to {target}"))
    print(printable(f"page     {done.commit_url}"))
    print(printable(f'load it  vaeflow.load("{pinned}")'))
    return done.oid


def _size(files: Mapping[str, Path | bytes]) -> str:
    sizes = [len(each) if isinstance(each, bytes) else each.stat().st_size for each in files.values()]
    return f"{sum(sizes) / 2**20:.1f} MiB"
