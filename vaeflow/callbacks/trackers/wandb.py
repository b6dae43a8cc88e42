"""Tells Weights & Biases about a run."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow import registry, validation
from vaeflow.callbacks.trackers import tracked_run
from vaeflow.callbacks.trackers.tracked_run import Line, Picture, TrackedRun
from vaeflow.callbacks.trackers.tracking import Tracking
from vaeflow.errors import ConfigurationError
from vaeflow.runs.workdir import WorkDir

_ONLINE, _OFFLINE = "online", "offline"
# Unless the user has set it: the library would report its own errors to its makers.
_ENVIRONMENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
_SETTINGS = {
    "silent": True,
    "console": "off",  # What the run prints stays here.
    "disable_git": True,  # A remote's URL may hold a password, and so may the command line.
    "x_disable_meta": True,
    "save_code": False,
    "init_timeout": 30.0,
    "finish_timeout": 60.0,
    "x_transaction_log_flush_interval": 0.1,  # Seconds; a kill loses what came since the last.
}


@registry.callback
class WandB(Tracking):
    """Tells Weights & Biases about a run: configuration, metrics, pictures, digest of the weights, its end.

    Needs `pip install 'vaeflow[wandb]'`. A job is one run there, on any number of workers and over all its
    starts; its id is in `wandb.json`. List it last. The configuration is that of `operative_config.gin`.
    Metrics have the names of `metrics.jsonl`. `weights_sha256` in the run's summary is the digest of the
    weights in the newest checkpoint, and at the end that of `result.json`. A run that is stopped is shown as
    preempted until it goes on.

    A thread tells it while the training goes on. What fails is tried again half a minute later, with one
    warning in all, and a last one says what is missing at the end. A first start that cannot reach the server
    ends with code 4; one that knows no API key with code 2.

    Args:
      project: of the run.
      entity: the user or team that the project belongs to; None for the default of the account.
      mode: `"online"`, or `"offline"` to write to `wandb/` in the work folder, from where `wandb sync`
        uploads it; None for what `WANDB_MODE` says, else online.
      log_checkpoints: whether the newest checkpoint is uploaded as an artifact whenever one is finished.

    Raises:
      ConfigurationError: the library is missing.
    """

    package, extra = "wandb", "wandb"
    only_reports = True

    def __init__(
        self,
        project: str = "vaeflow",
        entity: str | None = None,
        mode: str | None = None,
        log_checkpoints: bool = False,
    ) -> None:
        super().__init__(log_checkpoints)
        self.project = validation.text("WandB.project", project)
        self.entity = entity if entity is None else validation.text("WandB.entity", entity)
        self.mode = mode if mode is None else validation.one_of("WandB.mode", mode, (_ONLINE, _OFFLINE))

    def connect(self, name: str, record: Mapping[str, Any], workdir: WorkDir) -> TrackedRun:
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        import wandb

        workdir.place("wandb")  # Where the library writes.
        mode: Any = self.mode or os.environ.get("WANDB_MODE", _ONLINE)
        if mode == _ONLINE and not wandb.login(prompt=False, verify=False):  # pyright: ignore[reportAttributeAccessIssue]
            raise ConfigurationError(
                "`WandB` finds no API key; run `wandb login`, set WANDB_API_KEY, or set `WandB.mode` to "
                "'offline'"
            )
        run = wandb.init(  # pyright: ignore[reportAttributeAccessIssue]
            project=self.project,
            entity=self.entity,
            id=record["run"],
            name=name,
            resume="allow",
            mode=mode,
            dir=str(workdir.path),
            reinit="create_new",
            allow_val_change=True,
            settings=wandb.Settings(**_SETTINGS),  # pyright: ignore[reportAttributeAccessIssue]
        )
        return _Run(run, record["step"], is_online=mode == _ONLINE)


class _Run(TrackedRun):
    """A run of Weights & Biases.

    Args:
      run: a `wandb.Run`.
      last_step: the last step that it was told, which only a server knows better.
      is_online: whether there is one.
    """

    def __init__(self, run: Any, last_step: int, is_online: bool) -> None:
        self._run = run
        self.last_step = run.starting_step - 1 if is_online else last_step
        self.place = run.url if is_online else str(pathlib.Path(run.dir).parent)

    def describe(self, parameters: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self._run.config.update({**parameters, "vaeflow": dict(tags)}, allow_val_change=True)

    def log(self, lines: Sequence[Line]) -> None:
        for line in lines:
            # Without `commit` the row would wait in memory for the next.
            self._run.log(dict(line.metrics), step=line.step, commit=True)

    def log_picture(self, picture: Picture) -> None:
        import wandb

        image = wandb.Image(str(picture.path), caption=f"step {picture.step}")  # pyright: ignore[reportAttributeAccessIssue]
        # It joins the row of its step, which comes next; steps cannot go back.
        self._run.log({f"images/{picture.name}": image}, step=max(picture.step, self.last_step + 1))

    def log_text(self, name: str, text: str) -> None:
        folder = pathlib.Path(self._run.dir)
        (folder / name).write_text(text, encoding="utf-8")
        self._run.save(str(folder / name), base_path=str(folder), policy="now", glob=False)

    def log_checkpoint(self, path: pathlib.Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"checkpoint-{self._run.id}", type="model")  # pyright: ignore[reportAttributeAccessIssue]
        artifact.add_dir(str(path))
        self._run.log_artifact(artifact, aliases=[path.name])

    def set_facts(self, facts: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(facts))

    def end(self, state: str, code: int) -> None:
        self.set_facts({"state": state})
        if state == tracked_run.PREEMPTED:
            self._run.mark_preempting()
        self._run.finish(exit_code=code)
