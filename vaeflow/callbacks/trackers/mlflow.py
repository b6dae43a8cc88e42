"""Tells MLflow about a run."""

from __future__ import annotations

import os
import pathlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from vaeflow import registry, validation
from vaeflow.callbacks.trackers import tracked_run
from vaeflow.callbacks.trackers.tracked_run import Line, Picture, TrackedRun
from vaeflow.callbacks.trackers.tracking import Tracking
from vaeflow.runs.workdir import WorkDir

T = TypeVar("T")

# Unless the user has set them. By default the library tries each request for minutes; here the next log does.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# The limits of MLflow 3, in characters and in entries of one request.
_LONGEST_NAME, _LONGEST_PARAMETER, _LONGEST_TAG = 250, 6000, 8000
_MOST_METRICS, _MOST_PARAMETERS = 1000, 100
_PREFIX = "vaeflow."
_RUN = f"{_PREFIX}run"
_STATES = {tracked_run.FINISHED: "FINISHED", tracked_run.FAILED: "FAILED"}


@registry.callback
class MLflow(Tracking):
    """Tells MLflow about a run: parameters, metrics, pictures, the digest of the weights, how it ended.

    Needs `pip install 'vaeflow[mlflow]'`. A job is one run of MLflow, on any number of workers and over all
    its starts, which the tag `vaeflow.run` names. List it last. Parameters are those of
    `operative_config.gin`; MLflow lets none change, so one that a resumed run has changed is the tag
    `vaeflow.changed.NAME`. Metrics have the names of `metrics.jsonl`. The tag `vaeflow.weights_sha256` is the
    digest of the weights in the newest checkpoint, and at the end that of `result.json`. A run that is
    stopped stays open until it goes on.

    A thread tells it while the training goes on. What fails is tried again half a minute later, with one
    warning in all, and a last one says what is missing at the end. A first start that cannot reach the server
    ends with code 4.

    Args:
      experiment_name: of the experiment, which is made if there is none.
      tracking_uri: of the tracking server, such as `http://127.0.0.1:5000`; None for what
        `MLFLOW_TRACKING_URI` says. Let credentials come from the environment (`MLFLOW_TRACKING_USERNAME`,
        `MLFLOW_TRACKING_PASSWORD`).
      log_checkpoints: whether the newest checkpoint is uploaded whenever one is finished.

    Raises:
      ConfigurationError: the library is missing.
    """

    package, extra = "mlflow", "mlflow"
    only_reports = True

    def __init__(
        self,
        experiment_name: str = "vaeflow",
        tracking_uri: str | None = None,
        log_checkpoints: bool = False,
    ) -> None:
        super().__init__(log_checkpoints)
        self.experiment_name = validation.text("MLflow.experiment_name", experiment_name)
        self.tracking_uri = None
        if tracking_uri is not None:
            self.tracking_uri = validation.text("MLflow.tracking_uri", tracking_uri)

    def connect(self, name: str, record: Mapping[str, Any], workdir: WorkDir) -> TrackedRun:
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        import mlflow

        client = mlflow.MlflowClient(self.tracking_uri)  # pyright: ignore[reportAttributeAccessIssue]
        experiment = _experiment(client, self.experiment_name)
        found = client.search_runs([experiment], f"tags.`{_RUN}` = '{record['run']}'", max_results=1)
        if found:
            run = client.get_run(found[0].info.run_id)
            client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = client.create_run(experiment, tags={_RUN: record["run"]}, run_name=name)
        uri = self.tracking_uri or mlflow.get_tracking_uri()  # pyright: ignore[reportAttributeAccessIssue]
        if uri.startswith("http"):
            uri = f"{uri.rstrip('/')}/#/experiments/{experiment}/runs/{run.info.run_id}"
        return _Run(client, run, uri)


class _Run(TrackedRun):
    """A run of MLflow.

    Args:
      client: an `MlflowClient`.
      run: what it says of the run.
      place: see `TrackedRun`.
    """

    def __init__(self, client: Any, run: Any, place: str) -> None:
        self._client, self._id = client, run.info.run_id
        self._known: dict[str, str] = dict(run.data.params)
        self.place = place
        # The last of a line's metrics: where it is, the line is whole.
        self.last_step = int(run.data.metrics.get("step", -1))

    def describe(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        texts = {_name(name): _parameter(value) for name, value in parameters.items()}
        new = [Param(name, value) for name, value in texts.items() if name not in self._known]
        for some in _batches(new, _MOST_PARAMETERS):
            self._client.log_batch(self._id, params=some)
        changed = {
            f"changed.{name}": value for name, value in texts.items() if self._known.get(name, value) != value
        }
        self.set_facts({"state": tracked_run.RUNNING, **tags, **changed})

    def log(self, lines: Sequence[Line]) -> None:
        batch: list[Any] = []
        for line in lines:
            metrics = list(_metrics(line))
            if len(batch) + len(metrics) > _MOST_METRICS:
                self._log(batch)
                batch = []
            batch += metrics
        self._log(batch)

    def log_picture(self, picture: Picture) -> None:
        import PIL.Image

        with PIL.Image.open(picture.path) as image:
            image.load()
            key, step = _name(picture.name), picture.step
            self._client.log_image(self._id, image, key=key, step=step, synchronous=True)

    def log_text(self, name: str, text: str) -> None:
        self._client.log_text(self._id, text, name)

    def log_checkpoint(self, path: pathlib.Path) -> None:
        self._client.log_artifacts(self._id, str(path), f"checkpoints/{path.name}")

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        from mlflow.entities import RunTag  # pyright: ignore[reportMissingImports]

        tags = [
            RunTag(_name(_PREFIX + name), _shortened(str(value), _LONGEST_TAG))
            for name, value in facts.items()
        ]
        for some in _batches(tags, _MOST_PARAMETERS):
            self._client.log_batch(self._id, tags=some)

    def end(self, state: str, code: int) -> None:
        self.set_facts({"state": state, "exit_code": code})
        if state in _STATES:
            self._client.set_terminated(self._id, _STATES[state])

    def _log(self, metrics: Sequence[Any]) -> None:
        for some in _batches(metrics, _MOST_METRICS):
            self._client.log_batch(self._id, metrics=some)


def _experiment(client: Any, name: str) -> str:
    """Returns the identifier of an experiment, which is made if there is none."""
    from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name)
        except MlflowException:
            found = client.get_experiment_by_name(name)  # Another run may have made it just now.
            if found is None:
                raise
    return found.experiment_id


def _metrics(line: Line) -> Iterator[Any]:
    """Yields what MLflow has as the metrics of a line; the last is its step."""
    from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

    values = {name: value for name, value in line.metrics.items() if name != "step"} | {"step": line.step}
    for name, value in values.items():
        yield Metric(_name(name), float(value), int(line.time * 1000), line.step)


def _batches(items: Sequence[T], most: int) -> Iterable[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))


def _name(name: str) -> str:
    """Returns a name as MLflow takes it, which it almost always is."""
    plain = re.sub(r"[^\w.\- /]", "_", name)
    return posixpath.normpath(plain).lstrip("./")[:_LONGEST_NAME] or "_"


def _parameter(value: Any) -> str:
    return _shortened(str(value), _LONGEST_PARAMETER)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
