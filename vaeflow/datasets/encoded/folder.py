"""A folder that shards are written to, by one process or several, in one go or in many.

    plan.json                     what is encoded, and how: written first
    train/00000-of-00002.npz      a shard, written whole or not at all
    train/00000-of-00002.json     its record: examples, bytes, digest, sums; written after the shard
    manifest.json                 written last, when there is no shard without its record

A shard with a record that fits is never written again. A process that is killed leaves at most a shard
without a record, which the next one replaces.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

import vaeflow
from vaeflow.datasets.encoded import manifest
from vaeflow.datasets.encoded.formats import FORMATS, Arrays
from vaeflow.datasets.encoded.manifest import Group
from vaeflow.datasets.encoded.moments import Moments
from vaeflow.datasets.encoded.shards import file_sha256
from vaeflow.datasets.regular_files import check_regular
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import files, json_files, paths, watchdog
from vaeflow.runs.json_files import MalformedError

PLAN = "plan.json"
_RECORD = {
    "num_examples": json_files.WHOLE,
    "num_bytes": json_files.WHOLE,
    "sha256": json_files.TEXT,
    "moments": json_files.OBJECT_BY_NAME,
}
_MOMENTS = {"count": json_files.WHOLE, **dict.fromkeys(("mean", "squares", "variances"), json_files.NUMBERS)}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a folder is to hold; two commands may fill the same folder only if theirs are equal.

    Attributes:
      file_format: a key of `FORMATS`.
      examples_per_shard: how many consecutive examples a shard holds, but for the last of a split.
      num_examples: split -> the number of its examples.
      groups: name -> `Group`.
      described: what else decides the content: `tokenizer`, `data`, `labels`, `settings`.
    """

    file_format: str
    examples_per_shard: int
    num_examples: dict[str, int]
    groups: dict[str, Group]
    described: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns what `plan.json` holds."""
        groups = {name: dataclasses.asdict(group) for name, group in self.groups.items()}
        return {
            "version": manifest.VERSION,
            "file_format": self.file_format,
            "examples_per_shard": self.examples_per_shard,
            "num_examples": self.num_examples,
            **self.described,
            "groups": groups,
        }

    def shards(self, split: str) -> list[range]:
        """Returns the numbers of the examples in each shard of a split."""
        count, size = self.num_examples[split], self.examples_per_shard
        return [range(first, min(first + size, count)) for first in range(0, count, size)]


class EncodedFolder:
    """A folder with a `Plan`.

    Args:
      path: the folder, which exists.
      plan: its plan.
    """

    def __init__(self, path: pathlib.Path, plan: Plan):
        self.path = path
        self.plan = plan
        self._records: dict[tuple[str, int], dict[str, Any]] = {}

    def begin(self) -> None:
        """Writes the plan, unless the folder has the same already; one process at a time may call it.

        Raises:
          ConfigurationError: the folder has another plan, or holds files of somebody else.
        """
        if self.has_plan():
            return
        names = sorted(path.name for path in self.path.iterdir())
        foreign = [name for name in names if name[0] != "." and name != "workers"]
        if foreign:
            raise ConfigurationError(
                f"the folder {self.path} holds files that are not an encoding's: {', '.join(foreign[:5])}; "
                "choose a new or an empty one with `--encoded`"
            )
        json_files.write(self.path / PLAN, self.plan.to_json())

    def has_plan(self) -> bool:
        """Whether the folder has this plan; False where it has none.

        Raises:
          ConfigurationError: it has another.
        """
        path = self.path / PLAN
        try:
            found = json_files.read(path, {})
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error}; choose another folder with `--encoded`"
            ) from error
        wanted = json_files.parse(json_files.dumps(self.plan.to_json()).encode(), {})
        differences = list(_differences(found, wanted))
        if differences:
            raise ConfigurationError(
                f"the folder {self.path} holds another encoding ({'; '.join(differences[:3])}); choose "
                "another with `--encoded`, or repeat the command that made it"
            )
        return True

    def shards(self) -> list[tuple[str, int]]:
        """Lists all shards, as pairs of split and number."""
        return [(name, number) for name in self.plan.num_examples for number in range(self._total(name))]

    def missing(self) -> list[tuple[str, int]]:
        """Lists the shards without a record; a record that was found is not looked at again."""
        return [shard for shard in self.shards() if not self._has_record(*shard)]

    def is_intact(self, split: str, number: int) -> bool:
        """Whether a shard is there and has the digest of its record; if it has not, a warning says so."""
        if not self._has_record(split, number):
            return False
        path = paths.inside(self.path, split, self._name(split, number))
        watchdog.progress(f"verifying {path}")
        try:
            record = self._records[split, number]
            is_intact = check_regular(path).st_size == record["num_bytes"]
            is_intact = is_intact and file_sha256(path) == record["sha256"]
        except EnvironmentFailure:
            is_intact = False
        if not is_intact:
            logging.warning("%s is written again: it is missing or damaged", path)
        return is_intact

    def write(self, split: str, number: int, arrays: Arrays) -> None:
        """Writes a shard and its record.

        Args:
          split: the split.
          number: of the shard.
          arrays: name -> `[n, …]`, as `manifest.specs_of` names them.

        Raises:
          EnvironmentFailure: the disk failed.
        """
        folder, name = paths.inside(self.path, split), self._name(split, number)
        files.make_folder(folder)
        with files.staging(folder, name) as staging:
            unfinished = staging / name
            try:
                FORMATS[self.plan.file_format].write(unfinished, arrays)
            # Errors of TensorFlow, and those of array_record.
            except (tf.errors.OpError, RuntimeError) as error:
                raise files.failure(folder / name, error) from error
            record = {
                "num_examples": len(next(iter(arrays.values()))),
                "num_bytes": unfinished.stat().st_size,
                "sha256": file_sha256(unfinished),
                "moments": {group: moments.to_json() for group, moments in self._moments(arrays)},
            }
            files.move(unfinished, folder / name)
        json_files.write(self._record_path(split, number), record)
        self._records[split, number] = record

    def finish(self, workdir: str) -> dict[str, Any]:
        """Writes the manifest, when no shard is missing; several processes would write the same.

        Args:
          workdir: the work folder of the model.

        Returns:
          Its content.
        """
        content = self.plan.to_json()
        sizes = content.pop("num_examples")
        content["tokenizer"] = content["tokenizer"] | {"workdir": workdir}
        content["vaeflow"] = vaeflow.__version__
        content["splits"] = {name: self._split(name, size) for name, size in sizes.items()}
        json_files.write(self.path / manifest.NAME, content)
        return content

    def _split(self, name: str, num_examples: int) -> dict[str, Any]:
        """Returns what the manifest holds of a split."""
        records = [self._records[name, number] for number in range(self._total(name))]
        shards = [
            {
                "file": f"{name}/{self._name(name, number)}",
                **{key: record[key] for key in ("num_examples", "num_bytes", "sha256")},
            }
            for number, record in enumerate(records)
        ]
        statistics = {}
        for group in records[0]["moments"]:
            joined, *others = (Moments.from_json(record["moments"][group]) for record in records)
            for other in others:
                joined = joined.joined(other)
            statistics[group] = {"channels": joined.statistics(), "all": joined.of_all.statistics()}
        return {"num_examples": num_examples, "shards": shards, "statistics": statistics}

    def _has_record(self, split: str, number: int) -> bool:
        if (split, number) in self._records:
            return True
        path = self._record_path(split, number)
        try:
            record = json_files.read(path, _RECORD)
            self._check_record(record, len(self.plan.shards(split)[number]))
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            logging.warning("%s is written again: %s", path, error)
            return False
        self._records[split, number] = record
        return True

    def _check_record(self, record: dict[str, Any], num_examples: int) -> None:
        """Raises `MalformedError` unless a record may be that of a shard: the manifest is made of it."""
        if record["num_examples"] != num_examples:
            found = record["num_examples"]
            raise MalformedError(f"it is of {found} examples, and the shard has {num_examples}")
        for name in self._groups_of_latents:
            json_files.check(record["moments"], {name: json_files.OBJECT}, inside="moments/")
            json_files.check(record["moments"][name], _MOMENTS, inside=f"moments/{name}/")
            *places, channels = next(iter(self.plan.groups[name].arrays.values()))
            count = num_examples * math.prod(places)
            if not Moments.from_json(record["moments"][name]).may_be_of(count, channels):
                raise MalformedError(
                    f"its 'moments/{name}' are not those of {channels} channels of {count} numbers"
                )

    @property
    def _groups_of_latents(self) -> list[str]:
        return [name for name, group in self.plan.groups.items() if group.content == "latents"]

    def _moments(self, arrays: Arrays) -> Iterator[tuple[str, Moments]]:
        groups = self.plan.groups
        for name in self._groups_of_latents:
            stored = {role: arrays[manifest.array_name(name, role, groups)] for role in groups[name].arrays}
            values = stored["mean"] if "mean" in stored else stored["latents"]
            yield name, Moments.of(values, stored.get("log_variance"))

    def _name(self, split: str, number: int) -> str:
        return manifest.shard_name(number, self._total(split), self.plan.file_format)

    def _total(self, split: str) -> int:
        return len(self.plan.shards(split))

    def _record_path(self, split: str, number: int) -> pathlib.Path:
        name = pathlib.PurePath(self._name(split, number)).with_suffix(".json").name
        return paths.inside(self.path, split, name)


def _differences(found: Any, wanted: Any, place: str = "") -> Iterator[str]:
    """Says where two nests from JSON differ."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in {**wanted, **found}:
            yield from _differences(found.get(name), wanted.get(name), f"{place}{name} ")
    elif found != wanted:
        yield f"its {place}is {_shown(found)}, that of this command {_shown(wanted)}"


def _shown(value: Any) -> str:
    text = json_files.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
