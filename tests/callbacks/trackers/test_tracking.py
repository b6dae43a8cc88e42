"""What all callbacks of trackers share: one run for a job, every step once, and never in the way."""

import json
import threading
import types

import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Checkpoints, MLflow, WandB
from vaeflow.callbacks.trackers import Tracking, tracking
from vaeflow.callbacks.trackers.tracked_run import TrackedRun
from vaeflow.errors import ConfigurationError, EnvironmentFailure, Preempted, TrainingDiverged
from vaeflow.runs import fetched_run
from vaeflow.runs.workdir import WorkDir

REASON = "ConnectionError: the network is down"
ADVICE = "run the same command again to send it"


class Server:
    """A tracker in memory: the id of a run -> what it was told."""

    def __init__(self):
        self.runs = {}
        self.is_down = False
        self.refuses_pictures = False

    def check(self):
        if self.is_down:
            raise ConnectionError("the network is down")


class Told(TrackedRun):
    """A run of the tracker in memory."""

    def __init__(self, server, run):
        self.server = server
        new = {
            "steps": [],
            "pictures": [],
            "parameters": {},
            "tags": {},
            "texts": {},
            "facts": {},
            "ends": [],
        }
        self.told = server.runs.setdefault(run, {**new, "order": [], "checkpoints": []})
        self.place = f"memory://{run}"
        self.last_step = self.told["steps"][-1] if self.told["steps"] else -1

    def describe(self, parameters, tags):
        self.server.check()
        self.told["parameters"] |= parameters
        self.told["tags"] |= tags

    def log(self, lines):
        self.server.check()
        self.told["steps"] += [line.step for line in lines]
        self.told["order"] += [line.step for line in lines]
        self.told.setdefault("lines", []).extend(dict(line.metrics) for line in lines)

    def log_picture(self, picture):
        self.server.check()
        if self.server.refuses_pictures:
            raise PermissionError("no room for pictures")
        self.told["order"].append(picture.name)

    def log_text(self, name, text):
        self.server.check()
        self.told["texts"][name] = text

    def log_checkpoint(self, path):
        self.told["checkpoints"].append(path.name)

    def set_facts(self, facts):
        self.server.check()
        self.told["facts"] |= facts

    def end(self, state, code):
        self.server.check()
        self.told["ends"].append((state, code))


class Recorder(Tracking):
    """Tells the tracker in memory."""

    package, extra = "json", "recorder"

    def __init__(self, server, **settings):
        super().__init__(**settings)
        self.server = server

    def connect(self, name, record, workdir):
        self.server.check()
        return Told(self.server, record["run"])


class Machine:
    """A work folder whose run is trained by hand, with its callback."""

    def __init__(self, path, server, step=0, configuration="# nothing\n"):
        path.mkdir(parents=True, exist_ok=True)
        self.workdir, self.callback = WorkDir(path), Recorder(server)
        (path / "config.gin").write_text(configuration)
        self.parameters = {"VAE.num_latents": 2}
        self.configuration, self.step, self.num_steps, self.is_finished = configuration, step, 100, False
        self.trainer = types.SimpleNamespace(
            model=tiny_runs.model(),
            settings=types.SimpleNamespace(seed=7),
            strategy=types.SimpleNamespace(num_replicas_in_sync=2),
        )
        self.workdir.start_metrics(step)
        self.metrics = {}

    def start(self):
        self.callback.on_train_begin(self)
        return self

    def train(self, step):
        self.step = step
        line = {"step": step, "examples_seen": step * 8, "wall_seconds": 0.1, "train/loss": 1.0 / step}
        self.metrics |= line
        self.workdir.append_metrics(line)
        self.callback.on_log(self, {"train/loss": 1.0 / step})
        self.callback._telling.wait()

    def draw(self, name):
        self.workdir.images.mkdir(exist_ok=True)
        (self.workdir.images / f"{name}.png").write_bytes(b"")

    def finish(self):
        self.is_finished = True
        self.callback.on_train_end(self)
        self.workdir.write_json("result.json", {"step": self.step, "weights_sha256": "f" * 64})
        self.callback.on_run_end(self)


@pytest.fixture
def server():
    return Server()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(tracking, "_PAUSE_SECONDS", 0.0)


def the_run(server):
    """What the only run was told."""
    (told,) = server.runs.values()
    return told


def test_a_job_is_one_run_and_each_step_is_told_once_over_all_its_starts(tmp_path, server):
    first = Machine(tmp_path / "run", server).start()
    first.train(1)
    first.train(2)
    first.train(3)
    # Killed; its newest checkpoint is that of step 1.
    second = Machine(tmp_path / "run", server, step=1).start()
    for step in (2, 3, 4):
        second.train(step)
    second.finish()
    assert the_run(server)["steps"] == [1, 2, 3, 4]
    assert the_run(server)["ends"] == [("finished", 0)]


def test_a_run_killed_before_its_first_checkpoint_goes_on_as_the_same_run(tmp_path, server):
    Machine(tmp_path / "run", server).start().train(1)
    Machine(tmp_path / "run", server).start().train(1)
    assert the_run(server)["steps"] == [1]


def test_with_another_configuration_a_run_without_a_checkpoint_is_another(tmp_path, server):
    Machine(tmp_path / "run", server).start().train(1)
    Machine(tmp_path / "run", server, configuration="# other\n").start().train(1)
    assert [told["steps"] for told in server.runs.values()] == [[1], [1]]


def test_a_resumed_run_stays_the_same_with_another_configuration(tmp_path, server):
    Machine(tmp_path / "run", server).start().train(1)
    Machine(tmp_path / "run", server, step=1, configuration="# other\n").start().train(2)
    assert the_run(server)["steps"] == [1, 2]
    assert the_run(server)["texts"]["config.gin"] == "# other\n"


def test_a_run_is_described(tmp_path, server):
    Machine(tmp_path / "run", server).start()
    assert the_run(server)["parameters"] == {"VAE.num_latents": 2}
    tags = the_run(server)["tags"]
    assert tags["workdir"] == str(tmp_path / "run")
    assert tags["seed"] == "7"
    assert tags["replicas"] == "2"


def test_lines_from_before_the_callback_was_added_are_told_too(tmp_path, server):
    machine = Machine(tmp_path / "run", server)
    machine.workdir.append_metrics({"step": 1, "train/loss": 1.0, "train/kl": float("nan")})
    machine.start().train(2)
    assert the_run(server)["steps"] == [1, 2]
    assert the_run(server)["lines"][0] == {"step": 1, "train/loss": 1.0}


def test_only_a_first_start_ends_if_the_tracker_cannot_be_reached(tmp_path, server, caplog):
    server.is_down = True
    with pytest.raises(EnvironmentFailure, match=r"`Recorder` cannot reach its tracker .*network is down"):
        Machine(tmp_path / "run", server).start()
    server.is_down = False
    Machine(tmp_path / "run", server).start().train(1)
    server.is_down = True
    resumed = Machine(tmp_path / "run", server, step=1).start()
    resumed.train(2)
    assert len(caplog.records) == 1
    server.is_down = False
    resumed.train(3)
    assert the_run(server)["steps"] == [1, 2, 3]


def test_a_tracker_that_is_gone_is_warned_of_once_and_then_at_the_end(tmp_path, server, caplog):
    machine = Machine(tmp_path / "run", server).start()
    machine.train(1)
    server.is_down = True
    for step in (2, 3):
        machine.train(step)
    machine.finish()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"Recorder could not be told all ({REASON}); the run goes on, and tries again",
        f"Recorder lacks the last 2 lines of metrics and how the run ended; {ADVICE}",
    ]
    server.is_down = False
    again = Machine(tmp_path / "run", server, step=3)
    again.callback.before_resume(again.workdir, again.configuration, False)
    assert the_run(server)["steps"] == [1, 2, 3]
    assert the_run(server)["ends"] == [("finished", 0)]
    assert the_run(server)["facts"]["weights_sha256"] == "f" * 64


def test_a_run_that_is_told_whole_is_not_opened_again(tmp_path, server):
    machine = Machine(tmp_path / "run", server).start()
    machine.train(1)
    machine.finish()
    again = Machine(tmp_path / "run", server, step=1)
    again.callback.before_resume(again.workdir, again.configuration, False)
    assert the_run(server)["ends"] == [("finished", 0)]


def test_a_picture_is_told_once_and_before_the_line_of_its_step(tmp_path, server):
    machine = Machine(tmp_path / "run", server).start()
    machine.train(1)
    machine.draw("samples-00000002")
    machine.draw("mine")  # Of no step.
    machine.train(2)
    machine.train(3)
    Machine(tmp_path / "run", server, step=1).start().train(4)
    assert the_run(server)["order"] == [1, "samples", 2, 3, 4]


def test_a_store_that_refuses_pictures_keeps_no_metrics_back(tmp_path, server, caplog):
    machine = Machine(tmp_path / "run", server).start()
    server.refuses_pictures = True
    machine.draw("samples-00000001")
    machine.train(1)
    machine.finish()
    assert the_run(server)["steps"] == [1]
    assert the_run(server)["ends"] == [("finished", 0)]
    assert len(caplog.records) == 1


def test_training_does_not_wait_for_a_slow_tracker(tmp_path, server, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(Told, "log", lambda self, lines, log=Told.log: released.wait(60) and log(self, lines))
    machine = Machine(tmp_path / "run", server).start()
    monkeypatch.setattr(machine.callback._telling, "wait", lambda: None)
    for step in (1, 2, 3):
        machine.train(step)
    assert the_run(server)["steps"] == []
    released.set()
    monkeypatch.undo()
    machine.finish()
    assert the_run(server)["steps"] == [1, 2, 3]


def test_a_stopped_run_stays_open(tmp_path, server):
    machine = Machine(tmp_path / "run", server).start()
    machine.train(1)
    machine.callback.on_train_end(machine)
    assert the_run(server)["ends"] == [("preempted", 42)]


class Ending(Callback):
    """Raises an error after a step."""

    def __init__(self, step, error):
        super().__init__()
        self.step, self.error = step, error

    def on_log(self, run, metrics):
        if run.step == self.step:
            raise self.error


class Stopping(Callback):
    """Asks the run to stop after a step."""

    def on_log(self, run, metrics):
        if run.step == 2 and "resumed" not in run.facts:
            run.stop("the test")


@pytest.mark.long
def test_a_real_run_tells_each_line_and_the_digest_of_each_checkpoint(tmp_path, server, monkeypatch):
    """The run keeps averages, of which no digest speaks."""
    digests = []
    set_facts = Told.set_facts

    def noted(self, facts):
        set_facts(self, facts)
        digests.append(facts.get("weights_sha256"))

    def train():
        callbacks = [Stopping(), Checkpoints(1), Recorder(server, log_checkpoints=True)]
        settings = {"num_steps": 4, "steps_per_loop": 1, "ema_decay": 0.9}
        return tiny_runs.train(tmp_path / "run", callbacks=callbacks, **settings)

    monkeypatch.setattr(Told, "set_facts", noted)
    with tiny_runs.configuration_of_its_own(), tiny_runs.untraced():
        with pytest.raises(Preempted):
            train()
        result = train()
    told = the_run(server)
    assert told["ends"] == [("preempted", 42), ("finished", 0)]
    assert told["lines"] == tiny_runs.metrics_lines(tmp_path / "run")
    assert told["facts"]["checkpoint"] == 4
    # Of the last checkpoint, and of the result.
    assert digests[-2:] == [result["weights_sha256"]] * 2
    assert digests[0] not in digests[1:]
    assert json.loads(told["texts"]["result.json"]) == json.loads((tmp_path / "run/result.json").read_text())
    assert told["checkpoints"][-1] == "step-00000004"


@pytest.mark.slow
def test_an_error_that_ends_a_run_is_told_with_its_exit_code(tmp_path, server):
    error = TrainingDiverged("training diverged: the loss is NaN")
    callbacks = [Checkpoints(1), Recorder(server), Ending(1, error)]
    with tiny_runs.configuration_of_its_own(), tiny_runs.untraced(), pytest.raises(TrainingDiverged):
        tiny_runs.train(tmp_path / "run", num_steps=2, steps_per_loop=1, callbacks=callbacks)
    assert the_run(server)["ends"] == [("failed", 3)]
    assert the_run(server)["facts"]["failure"] == str(error)
    assert the_run(server)["steps"] == [1]


@pytest.mark.parametrize("tracker", [MLflow, WandB])
def test_a_library_that_is_missing_is_named_with_its_extra(tracker, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError) as raised:
        tracker()
    assert str(raised.value).endswith(f"is not installed; pip install 'vaeflow[{tracker.extra}]'")


@pytest.mark.parametrize("tracker", [MLflow, WandB])
def test_the_copy_of_a_run_stays_the_run_of_its_tracker(tracker):
    """A new machine fetches these files."""
    assert f"{tracker.extra}.json" in fetched_run.FILES


def test_a_damaged_record_leads_to_a_new_run_with_one_line(tmp_path, server, caplog):
    Machine(tmp_path / "run", server).start().train(1)
    (tmp_path / "run/recorder.json").write_text("{")
    Machine(tmp_path / "run", server, step=1).start().train(2)
    assert "recorder.json is left out, so its tracker gets a new run" in caplog.text
    assert [told["steps"] for told in server.runs.values()] == [[1], [1, 2]]
