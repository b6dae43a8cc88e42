"""What earlier commands have left of the runs of a study: work folders and records."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from vaeflow.commands.studies.configurations import Configured, trained_text
from vaeflow.commands.studies.folder import StudyFolder
from vaeflow.errors import ConfigurationError
from vaeflow.runs import files, json_files, reading, record

_RECORD = {"configuration": json_files.TEXTS, "metrics": json_files.OBJECT, "seconds": json_files.NUMBER}
_OPTIONAL = {
    "after": json_files.OBJECT,
    "compared": json_files.OBJECT,
    "evaluation": json_files.OBJECT_OR_NULL,
    "machine": json_files.OBJECT_OR_NULL,
    "versions": json_files.OBJECT,
}
# Inside these.
_OF_EVALUATION = {"metrics": json_files.OBJECT}
_OF_MACHINE = {"gpus": json_files.Kind("a list", lambda value: isinstance(value, list))}
_DIGITS = 8


@dataclasses.dataclass
class Found:
    """What there is of one run.

    Attributes:
      folder: its work folder, whatever its name; None if there is none.
      as_planned: whether that folder's `config.gin` is that of the plan, settings of other commands than
        `train` included.
      record: its record; None if there is none.
    """

    folder: pathlib.Path | None = None
    as_planned: bool = False
    record: dict[str, Any] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the training in the work folder is finished."""
        if self.folder is None:
            return False
        try:
            record.make(str(self.folder))
        except ConfigurationError:
            return False
        return True


class Earlier:
    """Finds what there is of each run of a plan, by its configuration and not by its name.

    Args:
      folder: of the study.
      planned: the runs.
      plugins: modules that the configurations may name.

    Attributes:
      runs: the runs, in the same order. Where a work folder or record of another run has the name of one,
        that one gets another name.
      others: the names of the work folders and records that are of none of them.
    """

    def __init__(self, folder: StudyFolder, planned: Sequence[Configured], plugins: Sequence[str]) -> None:
        self._folder = folder
        self._plugins = plugins
        self._found: dict[str, Found] = {}
        taken = self._look(planned)
        self.runs = [_with_free_name(run, taken.get(run.name, set())) for run in planned]
        self.others = sorted(name for name, keys in taken.items() if keys == {None})

    def add(self, run: Configured) -> Configured:
        """Looks for what there is of a further run, or what there is by now, under its own name only.

        Returns:
          The run, under another name if that of it is taken.
        """
        taken = self._look([run], {run.name})
        return _with_free_name(run, taken.get(run.name, set()))

    def _look(
        self, planned: Sequence[Configured], names: Collection[str] | None = None
    ) -> dict[str, set[str | None]]:
        """Finds what there is of some runs.

        Args:
          planned: the runs.
          names: of the work folders and records that are looked at; None for all.

        Returns:
          Name -> the runs whose work folder or record it is; None for one that is of none of these.
        """
        self._found |= {run.trained: Found() for run in planned}
        texts = {run.text: run for run in planned}
        recorded = {record.without_paths(run.text): run.shown for run in planned}
        shown: dict[str, list[Configured]] = {}
        for run in planned:
            shown.setdefault(run.shown, []).append(run)
        taken: dict[str, set[str | None]] = {}
        preferred = {run.name for run in planned}
        for path, text in sorted(
            _configurations(self._folder.runs, names), key=lambda each: each[0].name not in preferred
        ):
            known = texts[text].trained if text in texts else self._trained([str(path / "config.gin")], [])
            key = known if known in self._found else _key(shown, known, path.name)
            taken.setdefault(path.name, set()).add(key)
            if key is not None and self._found[key].folder is None:
                self._found[key].folder, self._found[key].as_planned = path, text in texts
        for path, content in _records(self._folder.results, names):
            text = "\n".join(content["configuration"])
            key = _key(shown, recorded.get(f"{text}\n") or self._trained([], [text]), path.stem)
            taken.setdefault(path.stem, set()).add(key)
            if key is not None and self._found[key].record is None:
                self._found[key].record = content
        return taken

    def of(self, run: Configured) -> Found:
        """Returns what there is of a run."""
        return self._found[run.trained]

    def _trained(self, names: Sequence[str], texts: Sequence[str]) -> str:
        """Returns what a training reads of a configuration that is none of the plan, word for word."""
        try:
            return trained_text(names, texts, self._plugins)
        except ConfigurationError:
            return ""  # Of another version, or of a plug-in that is not loaded.


def _key(shown: Mapping[str, Sequence[Configured]], trained: str, name: str) -> str | None:
    """Returns which run a configuration is of, but for its paths; if several differ in them, by its name."""
    same = shown.get(record.without_paths(trained), ())
    chosen = same if len(same) == 1 else [run for run in same if run.name == name]
    return chosen[0].trained if chosen else None


def _with_free_name(run: Configured, taken_by: set[str | None]) -> Configured:
    if taken_by <= {run.trained}:
        return run
    digest = hashlib.sha256(run.trained.encode()).hexdigest()[:_DIGITS]
    return dataclasses.replace(run, run=dataclasses.replace(run.run, name=f"{run.name}_{digest}"))


def _configurations(
    folder: pathlib.Path, names: Collection[str] | None
) -> Iterator[tuple[pathlib.Path, str]]:
    """Yields the work folders of some names, or all in a folder, with the texts of their configurations."""
    for path in _entries(folder):
        if names is not None and path.name not in names:
            continue
        try:
            yield path, reading.read_text(path / "config.gin")
        except (OSError, ValueError):
            # It failed before it began, or is something else: a run may use it if it is empty.
            continue


def _records(
    folder: pathlib.Path, names: Collection[str] | None
) -> Iterator[tuple[pathlib.Path, dict[str, Any]]]:
    """Yields the records of some names, or all in a folder, with their content."""
    for path in _entries(folder):
        if path.suffix == ".json" and (names is None or path.stem in names):
            try:
                content = json_files.read(path, _RECORD, _OPTIONAL)
                for name, kinds in (("evaluation", _OF_EVALUATION), ("machine", _OF_MACHINE)):
                    json_files.check(content.get(name) or {}, {}, kinds, inside=f"{name}/")
            except (OSError, ValueError):
                continue
            yield path, content


def _entries(folder: pathlib.Path) -> list[pathlib.Path]:
    if not folder.is_dir():
        return []
    with files.reported(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
