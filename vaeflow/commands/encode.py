"""Encodes whole splits with a trained model, to train other models on; read `encode` top to bottom."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Sequence
from typing import Any

from vaeflow import config, registry, trained, validation
from vaeflow.analysis import encoding
from vaeflow.analysis.examples import Examples
from vaeflow.commands import encode_plan
from vaeflow.datasets.base import ALL_SPLITS
from vaeflow.datasets.encoded import manifest
from vaeflow.datasets.encoded.folder import EncodedFolder
from vaeflow.datasets.encoded.formats import FORMATS
from vaeflow.devices import strategies
from vaeflow.devices.workers import Workers, find_workers
from vaeflow.runs import files, lock, paths, watchdog
from vaeflow.runs.escaping import printable
from vaeflow.runs.progress_line import ProgressLine
from vaeflow.training.settings import RunSettings, taken_from

_ADVICE = trained.FLAG_ADVICE | {"encoded": "use the flag --encoded instead"}
_POLL_SECONDS = 0.5


@functools.partial(registry.command, refused=_ADVICE)
def encode(
    workdir: str,
    checkpoint: str = "best",
    encoded: str | None = None,
    splits: Sequence[str] | None = None,
    latents: str | None = None,
    file_format: str = "npz",
    examples_per_shard: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Encodes whole splits to codes or latents, for models that are trained on these.

    `<encoded>/<split>/` gets the shards, files with consecutive examples: their number
    in the split `index` `[n]`, `labels` int64 `[n, F]` if there are any, and of codes `codes` int32
    `[n, h, w, G]`, of latents float32 `mean` and `log_variance`, or `latents`, `[n, h, w, D]`. With
    several groups of latents these names begin with that of the group, as in `top_mean`.
    `manifest.json` names the model, its checkpoint and the digest of its weights, the data, and of each
    shard the number of examples and the digest, and has the mean and the standard deviation
    of the latents of each split, of each channel and of all, in float64. `@Codes()` and
    `@Latents()` read the folder.

    A command that was stopped goes on with the missing shards when it is repeated; a damaged
    shard is written again. Several workers share the shards out, each on its own devices.

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      encoded: the folder; None for `<workdir>/encoded`.
      splits: a list of `"train"`, `"evaluation"` and `"validation"`; None for all that there are.
      latents: what to store of latents that are no codes: `"distribution"`, mean and logarithm
        of the variance of each Gaussian q(z|x); `"center"` of q, such as its mean; or `"sample"`,
        one draw for each example. None for the distribution of Gaussians, and the center of others.
      file_format: `"npz"`, `"tfrecord"` or `"array_record"`.
      examples_per_shard: None for the largest power of two with which a shard has at most 64 MiB
        and 65,536 examples.
      batch_size: the global batch size of this worker; None for the run's.
      seed: keys the samples by split position, and dynamic binarization.

    Returns:
      The content of `manifest.json`; of a worker that ends before the others `{}`.

    Raises:
      ConfigurationError: a setting is wrong, or the folder holds another encoding.
      EnvironmentFailure: the disk, the data or another worker failed.
      TrainingDiverged: latents are not finite.
    """
    with config.values_checked():
        _check_settings(splits, latents, file_format, examples_per_shard, batch_size, seed)
        given = config.values_of("train")
        waits = taken_from(RunSettings, given)
    workers = find_workers() if strategies.spans_workers(given["strategy"]) else None
    path = paths.inside(workdir, "encoded") if encoded is None else pathlib.Path(encoded)
    with contextlib.ExitStack() as stack:
        _join(stack, path, workers, waits)
        trained.share_cores(batch_size)
        run = trained.restore(workdir, checkpoint)
        encode_plan.check_model(run.model)
        size = run.checked_batch_size("encode.batch_size", batch_size)
        examples = {
            name: Examples(run.model, run.split(name), run.strategy, size, seed)
            for name in encode_plan.splits_of(run.dataset, splits)
        }
        folder = EncodedFolder(
            path, encode_plan.make(run, examples, latents, file_format, examples_per_shard)
        )
        _agree_on_plan(folder, workers)
        _write_shards(folder, examples, latents, workers)
        if workers is not None and not workers.is_chief:
            return {}
        _wait_for_others(folder)
        content = folder.finish(str(run.workdir.path.resolve()))
    _report(run, content, path)
    return content


def _check_settings(
    splits: Any, latents: Any, file_format: Any, examples_per_shard: Any, batch_size: Any, seed: Any
) -> None:
    if splits is not None:
        if not isinstance(splits, (list, tuple)) or not splits:
            raise ValueError(
                f"`encode.splits` must be a list such as ('train', 'evaluation'); got {splits!r}"
            )
        for name in splits:
            validation.one_of("encode.splits", name, ALL_SPLITS)
    if latents is not None:
        validation.one_of("encode.latents", latents, encoding.LATENTS)
    FORMATS[validation.one_of("encode.file_format", file_format, tuple(FORMATS))].check_package()
    for name, value in (("examples_per_shard", examples_per_shard), ("batch_size", batch_size)):
        if value is not None:
            validation.positive_integer(f"encode.{name}", value)
    validation.seed("encode.seed", seed)


def _join(
    stack: contextlib.ExitStack, path: pathlib.Path, workers: Workers | None, waits: RunSettings
) -> None:
    """Makes the folder, holds its lock, and waits until all workers have started."""
    if workers is None or workers.is_chief:
        with files.reported(path):
            stack.enter_context(lock.made_and_held(path, "the folder", "--encoded"))
    if workers is not None:
        seconds = waits.longest_stall, waits.start_seconds, waits.peer_seconds
        stack.enter_context(watchdog.Watchdog(path, workers, *seconds, resumes=False)).wait_for_peers()


def _agree_on_plan(folder: EncodedFolder, workers: Workers | None) -> None:
    """Writes the plan, or waits until the chief has; refuses another one."""
    if workers is None or workers.is_chief:
        folder.begin()
        return
    watchdog.progress(f"the wait for {workers.describe(0)} to write the plan")
    while not folder.has_plan():
        time.sleep(_POLL_SECONDS)


def _write_shards(
    folder: EncodedFolder, examples: dict[str, Examples], latents: str | None, workers: Workers | None
) -> None:
    """Encodes this worker's part of the shards, but for those that are there."""
    index, size = (0, 1) if workers is None else (workers.index, workers.size)
    own = [shard for shard in folder.shards()[index::size] if not folder.is_intact(*shard)]
    done = 0
    with ProgressLine(every_seconds=10, stays=False) as line:
        for split, of_split in examples.items():
            numbers = [number for name, number in own if name == split]
            if not numbers:
                continue
            shards = folder.plan.shards(split)
            parts = [shards[number] for number in numbers]
            arrays = encoding.encode_parts(of_split, parts, folder.plan.groups, latents)
            for number, of_shard in zip(numbers, arrays, strict=True):
                folder.write(split, number, of_shard)
                done += 1
                line.update([f"{done:,} of {len(own):,} shards"], done / len(own))


def _wait_for_others(folder: EncodedFolder) -> None:
    """Returns when the other workers have written their shards; the watchdog ends the wait if one is lost."""
    before = None
    while missing := folder.missing():
        if len(missing) != before:  # Who writes nothing for `train.stall_seconds` hangs.
            before = len(missing)
            watchdog.progress(f"the wait for {before} shards of other workers")
        time.sleep(_POLL_SECONDS)


def _report(run: trained.Trained, content: dict[str, Any], path: pathlib.Path) -> None:
    lines = [f"model      step {run.step}, {run.checkpoint}"]
    groups = content["groups"]
    for name, group in groups.items():
        sizes = f", below {' x '.join(map(str, group['code_sizes']))}" if group["code_sizes"] else ""
        for role, shape in group["arrays"].items():
            lines.append(f"{name:9}  {role}, {' x '.join(map(str, shape))}{sizes}")
    for name, split in content["splits"].items():
        lines.append(f"{name:10} {split['num_examples']:,} examples in {len(split['shards']):,} shards")
        lines += [f"{'':10} {group}: {_shown(each['all'])}" for group, each in split["statistics"].items()]
    lines.append(f"manifest   {path / manifest.NAME}")
    for kind in dict.fromkeys(group["content"].capitalize() for group in groups.values()):
        lines.append(f"to use it  train.dataset = @{kind}(), {kind}.folder = {str(path)!r}")
    print(printable("\n".join(lines)))


def _shown(statistics: dict[str, list[float]]) -> str:
    """Describes the mean and the deviation of all latents."""
    text = f"mean {statistics['mean'][0]:.6g}, standard deviation {statistics['deviation'][0]:.6g}"
    of_samples = statistics.get("sample_deviation")
    return text if of_samples is None else f"{text}, of samples {of_samples[0]:.6g}"
