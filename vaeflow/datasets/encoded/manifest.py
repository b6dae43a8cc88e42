"""What `vaeflow encode` wrote into a folder: read, with a check of everything, from `manifest.json`.

A manifest may come from anybody. The names of the shards follow from the split, their number and the
format, so no path in it is ever opened.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow.datasets import labels
from vaeflow.datasets.base import ALL_SPLITS
from vaeflow.datasets.encoded.formats import FORMATS, Spec
from vaeflow.errors import DataError
from vaeflow.runs import json_files, paths
from vaeflow.runs.json_files import MalformedError

NAME = "manifest.json"
VERSION = 1
CONTENTS = ("codes", "latents")

_TOP = {
    "version": json_files.WHOLE,
    "file_format": json_files.TEXT,
    "tokenizer": json_files.OBJECT,
    "data": json_files.OBJECT,
    "labels": json_files.OBJECT,
    "groups": json_files.OBJECT_BY_NAME,
    "splits": json_files.OBJECT_BY_NAME,
}
_TOKENIZER = {
    **dict.fromkeys(("model", "workdir", "checkpoint", "weights_sha256"), json_files.TEXT),
    "step": json_files.WHOLE,
    "image_shape": json_files.SIZES,
}
_LABELS = {"names": json_files.TEXTS_OR_NONE, "sizes": json_files.SIZES}
_GROUP = {
    "content": json_files.TEXT,
    "arrays": json_files.SIZES_BY_NAME,
    "code_sizes": json_files.SIZES,
}
_SPLIT = {"num_examples": json_files.WHOLE, "shards": json_files.OBJECTS}
_SHARD = {"num_examples": json_files.WHOLE, "num_bytes": json_files.WHOLE, "sha256": json_files.TEXT}
_STATISTICS = {"channels": json_files.OBJECT, "all": json_files.OBJECT}


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of latents, as it is stored.

    Attributes:
      content: `"codes"` or `"latents"`.
      arrays: role -> the shape of one example: of codes `codes`, `[…, G]`; of latents `latents`,
        or `mean` and `log_variance`, `[…, D]`.
      code_sizes: how many values each of the G codes of a place has; of latents `()`.
    """

    content: str
    arrays: dict[str, tuple[int, ...]]
    code_sizes: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file with some consecutive examples of a split."""

    num_examples: int
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is in a folder.

    Attributes:
      folder: the folder.
      file_format: a key of `FORMATS`.
      tokenizer: what made it: `model` (its class), `workdir`, `checkpoint`, `step`,
        `weights_sha256`, `image_shape`.
      label_names: the names of the F labels of an example.
      label_sizes: how many values each of them has.
      groups: name -> `Group`, in the order of the model.
      shards: split -> its `Shard`s.
      statistics: split -> group of latents -> `channels`, `all` -> what `Moments.statistics`
        gives of each channel, and of all as one.
    """

    folder: pathlib.Path
    file_format: str
    tokenizer: dict[str, Any]
    label_names: tuple[str, ...]
    label_sizes: tuple[int, ...]
    groups: dict[str, Group]
    shards: dict[str, list[Shard]]
    statistics: dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]

    def shard_path(self, split: str, number: int) -> pathlib.Path:
        """Returns the path of a shard.

        Raises:
          EnvironmentFailure: it is a link that leads out of the folder.
        """
        return paths.inside(self.folder, split, shard_name(number, len(self.shards[split]), self.file_format))

    def array_name(self, group: str, role: str) -> str:
        """Returns the name of an array of a group in the shards."""
        return array_name(group, role, self.groups)

    @functools.cached_property
    def specs(self) -> dict[str, Spec]:
        """What the shards hold of each example: the name of an array -> its `Spec`."""
        return specs_of(self.groups, len(self.label_names))


def shard_name(number: int, total: int, file_format: str) -> str:
    """Returns the name of a shard's file, e.g. `00003-of-00012.npz`."""
    return f"{number:05d}-of-{total:05d}.{FORMATS[file_format].suffix}"


def array_name(group: str, role: str, groups: Mapping[str, Group]) -> str:
    """Returns the name of an array in the shards: its role, after the group's name if there are several."""
    return role if len(groups) == 1 else f"{group}_{role}"


def specs_of(groups: Mapping[str, Group], num_labels: int) -> dict[str, Spec]:
    """Returns what shards hold of each example: the name of an array -> its `Spec`."""
    specs = {"index": Spec((), "int64")}
    if num_labels:
        specs["labels"] = Spec((num_labels,), "int64")
    for name, group in groups.items():
        dtype = "int32" if group.content == "codes" else "float32"
        specs |= {array_name(name, role, groups): Spec(shape, dtype) for role, shape in group.arrays.items()}
    return specs


def read(folder: pathlib.Path) -> Manifest:
    """Reads the manifest of a folder.

    Raises:
      DataError: there is none, or it holds something else.
    """
    path = folder / NAME
    try:
        return _parsed(folder, json_files.read(path, _TOP))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no {NAME}, so nothing was encoded there, or not all; run `vaeflow encode`, "
            "and again if it was stopped"
        ) from error
    except (OSError, MalformedError) as error:
        raise DataError(f"{path} cannot be read: {error}; put it back, or encode the data again") from error


def _parsed(folder: pathlib.Path, found: dict[str, Any]) -> Manifest:
    if found["version"] != VERSION:
        raise MalformedError(f"it has version {found['version']}, and this vaeflow reads {VERSION}")
    _check_one_of("file_format", found["file_format"], tuple(FORMATS))
    json_files.check(found["tokenizer"], _TOKENIZER, inside="tokenizer/")
    json_files.check(found["labels"], _LABELS, inside="labels/")
    names, sizes = tuple(found["labels"]["names"]), tuple(found["labels"]["sizes"])
    if len(names) != len(sizes):
        raise MalformedError(f"it has {len(names)} names of labels and {len(sizes)} sizes")
    if max(sizes, default=0) > labels.MOST_VALUES:
        raise MalformedError(f"it has a label of {max(sizes)} values, more than {labels.MOST_VALUES:,}")
    groups = {name: _group(name, group) for name, group in found["groups"].items()}
    if not groups:
        raise MalformedError("its 'groups' are empty")
    for name in found["splits"]:
        _check_one_of("splits", name, ALL_SPLITS)
    return Manifest(
        folder,
        found["file_format"],
        found["tokenizer"],
        names,
        sizes,
        groups,
        {name: _shards(name, split) for name, split in found["splits"].items()},
        {name: _statistics(name, split, groups) for name, split in found["splits"].items()},
    )


def _group(name: str, found: dict[str, Any]) -> Group:
    place = f"groups/{name}/"
    json_files.check(found, _GROUP, inside=place)
    _check_one_of(f"{place}content", found["content"], CONTENTS)
    arrays = {role: tuple(shape) for role, shape in found["arrays"].items()}
    roles = [{"codes"}] if found["content"] == "codes" else [{"latents"}, {"mean", "log_variance"}]
    if arrays.keys() not in roles or len(set(arrays.values())) > 1 or () in arrays.values():
        raise MalformedError(f"its '{place}arrays' are {arrays}, which no {found['content']} are stored as")
    code_sizes = tuple(found["code_sizes"])
    num_codes = arrays["codes"][-1] if "codes" in arrays else 0
    if len(code_sizes) != num_codes:
        raise MalformedError(
            f"its '{place}code_sizes' are {len(code_sizes)}, and a place has {num_codes} codes"
        )
    return Group(found["content"], arrays, code_sizes)


def _shards(name: str, found: dict[str, Any]) -> list[Shard]:
    json_files.check(found, _SPLIT, inside=f"splits/{name}/")
    shards = []
    for number, shard in enumerate(found["shards"]):
        json_files.check(shard, _SHARD, inside=f"splits/{name}/shards/{number}/")
        shards.append(Shard(*(shard[each] for each in _SHARD)))
    if not shards or any(min(shard.num_examples, shard.num_bytes) < 1 for shard in shards):
        raise MalformedError(f"the split {name!r} has no shards, or an empty one")
    for number, shard in enumerate(shards):
        if shard.num_examples > shard.num_bytes:
            raise MalformedError(
                f"its 'splits/{name}/shards/{number}/' has {shard.num_examples} examples in "
                f"{shard.num_bytes} bytes"
            )
    if sum(shard.num_examples for shard in shards) != found["num_examples"]:
        raise MalformedError(f"the shards of {name!r} do not hold {found['num_examples']} examples together")
    return shards


def _statistics(name: str, found: dict[str, Any], groups: Mapping[str, Group]) -> dict[str, Any]:
    statistics = {}
    for group, of_group in groups.items():
        if of_group.content == "codes":
            continue
        json_files.check(found, {"statistics": json_files.OBJECT_BY_NAME}, inside=f"splits/{name}/")
        place = f"splits/{name}/statistics/"
        json_files.check(found["statistics"], {group: json_files.OBJECT}, inside=place)
        parts = found["statistics"][group]
        json_files.check(parts, _STATISTICS, inside=f"{place}{group}/")
        sizes = {"channels": next(iter(of_group.arrays.values()))[-1], "all": 1}
        statistics[group] = {
            part: _numbers(parts[part], size, of_group, f"{place}{group}/{part}/")
            for part, size in sizes.items()
        }
    return statistics


def _numbers(found: dict[str, Any], size: int, group: Group, place: str) -> dict[str, np.ndarray]:
    names = ("mean", "deviation", *(("sample_deviation",) if "log_variance" in group.arrays else ()))
    json_files.check(found, dict.fromkeys(names, json_files.NUMBERS), inside=place)
    if any(len(found[each]) != size for each in names):
        raise MalformedError(f"its {place!r} must hold lists of {size} numbers")
    return {each: np.array(found[each], np.float64) for each in names}


def _check_one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise MalformedError(f"its {name!r} must be one of {', '.join(choices)}, got {str(value)[:50]!r}")
