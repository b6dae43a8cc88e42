"""The HPARAMS page of TensorBoard: the settings of each run and what it has measured, in one table.

    tensorboard --logdir WORKDIR/hparams

It is written without TensorFlow, which takes seconds to import, and as a whole or not at all.
"""

# pyright: reportAttributeAccessIssue=false
# The modules of protocol buffers make their classes when they are imported.

import pathlib
import time
from collections.abc import Sequence

from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from tensorboard.plugins.scalar import summary_v2 as scalars
from tensorboard.summary.writer.record_writer import RecordWriter

from vaeflow.commands.studies.report import findings
from vaeflow.commands.studies.report.findings import Finding, Point
from vaeflow.runs import files
from vaeflow.runs.escaping import printable

FOLDER = "hparams"
_FILE = "events.out.tfevents.0.study"
_VERSION = event_pb2.Event(file_version="brain.Event:2")
_SECONDS = "seconds"
_SEED = "seed"
# More numbers than these are a range and no list to choose from.
_MOST_NUMBERS = 12
_STATUS = {
    "done": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "abandoned": api_pb2.STATUS_UNKNOWN,
}

_Value = bool | float | str


def write(folder: pathlib.Path, found: Sequence[Point], columns: Sequence[str]) -> None:
    """Writes a folder for TensorBoard, with a folder for each run that has ended.

    Args:
      folder: the folder of the study, in which `FOLDER` is made.
      found: the points of the study.
      columns: the measures that come first; all others follow.

    Raises:
      EnvironmentFailure: the disk failed.
    """
    values = _values(found)
    others = [name for name in findings.measures(found) if name not in columns]
    ended = [(point, each) for point in found for each in point.findings if each.outcome.state in _STATUS]
    with files.staging(folder, FOLDER) as unfinished:
        _write(unfinished, [_experiment(values, [*columns, _SECONDS, *others])])
        for point, each in ended:
            _write(unfinished / each.name, _session(point, each, values))
        files.move(unfinished, folder / FOLDER)


def _values(found):
    """Reads the values of each setting and of the seed: name -> gin text -> value, all of one type."""
    texts = {name: [point.settings[name] for point in found if name in point.settings]
             for name in findings.settings(found)}  # fmt: skip
    texts[_SEED] = [str(each.seed) for point in found for each in point.findings]
    return {name: dict(zip(each, _of_one_type(each), strict=True)) for name, each in texts.items()}


def _of_one_type(texts):
    """Returns values that TensorBoard knows: all booleans, all numbers, or all texts."""
    values = [findings.value_of(text) for text in texts]
    if all(isinstance(value, bool) for value in values):
        return values
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return [float(value) for value in values]
    return [printable(findings.shown_value(text)) for text in texts]


def _experiment(values, measures):
    """Describes the study: the settings with their domains, and the measures."""
    experiment = api_pb2.Experiment(time_created_secs=time.time())
    for name, each in values.items():
        different = list(dict.fromkeys(each.values()))
        info = experiment.hparam_infos.add(name=name, differs=len(different) > 1)
        _domain(different).update_hparam_info(info)
    experiment.metric_infos.extend(summary_v2.Metric(printable(name)).as_proto() for name in measures)
    content = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    return _plugin_summary(metadata.EXPERIMENT_TAG, content)


def _domain(values):
    if isinstance(values[0], float) and len(values) > _MOST_NUMBERS:
        return summary_v2.RealInterval(min(values), max(values))
    return summary_v2.Discrete(values)


def _session(point: Point, each: Finding, values: dict[str, dict[str, _Value]]):
    """Describes a run: its settings, how it ended, and what it has measured."""
    texts = point.settings | {_SEED: str(each.seed)}
    settings = {name: values[name][text] for name, text in texts.items()}
    end = plugin_data_pb2.SessionEndInfo(status=_STATUS[each.outcome.state], end_time_secs=time.time())
    figures = each.measures | ({} if each.seconds is None else {_SECONDS: each.seconds})
    return [
        summary_v2.hparams_pb(
            settings, trial_id=each.name, start_time_secs=time.time() - (each.seconds or 0.0)
        ),
        _plugin_summary(
            metadata.SESSION_END_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_end_info=end)
        ),
        *(scalars.scalar_pb(printable(name), value) for name, value in figures.items()),
    ]


def _plugin_summary(tag, content):
    summary = event_pb2.Event().summary
    summary.value.add(
        tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR
    )
    return summary


def _write(folder, summaries):
    folder.mkdir(exist_ok=True)
    now = time.time()
    with (folder / _FILE).open("wb") as file:
        writer = RecordWriter(file)
        for event in [_VERSION, *(event_pb2.Event(wall_time=now, summary=each) for each in summaries)]:
            writer.write(event.SerializeToString())
