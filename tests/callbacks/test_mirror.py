"""The callback that copies a run to a remote folder: exact on a new machine, and never in the way."""

import json
import shutil
import signal
import threading

import fsspec
import pytest

from tests.fixtures import tiny_runs
from tests.fixtures.commands import Command, Runs, message
from tests.runs.test_checkpoints import box
from vaeflow.callbacks import Callback, Checkpoints, Mirror, mirror
from vaeflow.clusters.local import _free_ports
from vaeflow.devices.workers import Workers, to_tf_config
from vaeflow.errors import ConfigurationError, EnvironmentFailure, Preempted
from vaeflow.runs import remote_folder
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.remote_folder import RemoteFolder
from vaeflow.runs.workdir import WorkDir

GIN = """
train.model = @VAE
train.dataset = @FaultyImages()
train.num_steps = 60
train.batch_size = 12
train.steps_per_loop = 5
train.compile_mode = 'none'
train.ema_decay = 0.99
train.peer_seconds = 4
train.start_seconds = 60
train.callbacks = [@Evaluation(), @Summaries(), @Pause(), @Checkpoints(), @Mirror()]
VAE.num_latents = 2
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
Evaluation.every_steps = 20
Checkpoints.every_steps = 10
Mirror.url = 'file://{folder}/remote'
"""


def unreachable(self, name):
    raise EnvironmentFailure("the network is down")


ADVICE = "run the same command again, or copy the work folder there yourself"


class StoppedOnce(Callback):
    """Asks the run to stop at a step, the first time that it comes there."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_log(self, run, metrics):
        if run.step == self.step and not run.facts.get("resumed"):
            run.stop("the test")


@pytest.fixture(autouse=True)
def no_configuration():
    """Other tests of this process leave theirs."""
    with tiny_runs.configuration_of_its_own():
        yield


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A remote folder in memory, whose pauses between the tries take no time."""
    monkeypatch.setattr(remote_folder, "_PAUSES", (0.0, 0.0))
    yield f"memory://{tmp_path.name}"
    if fsspec.filesystem("memory").exists(tmp_path.name):
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


def train(folder, url, *more):
    with tiny_runs.untraced():
        callbacks = [*more, Checkpoints(2, keep=2), Mirror(url)]
        return tiny_runs.train(folder, num_steps=4, steps_per_loop=1, callbacks=callbacks)


@pytest.mark.long
def test_a_new_machine_goes_on_as_if_nothing_had_happened(tmp_path, url, capsys):
    folder = tmp_path / "runs" / "lr=[0.1]*"
    with tiny_runs.untraced():
        undisturbed = tiny_runs.train(tmp_path / "undisturbed", num_steps=4, steps_per_loop=1)
    with pytest.raises(Preempted):
        train(folder, url, StoppedOnce(3))
    lines = tiny_runs.metrics_lines(folder)
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()

    result = train(folder, url)
    assert capsys.readouterr().out.startswith(f"fetched step 3 of this run from {url}/lr=%5B0.1%5D%2A\n")
    assert result["weights_sha256"] == undisturbed["weights_sha256"]
    assert tiny_runs.metrics_lines(folder)[:3] == lines
    remote = RemoteFolder("Mirror.url", f"{url}/lr=%5B0.1%5D%2A")
    assert json.loads(remote.read("result.json"))["weights_sha256"] == undisturbed["weights_sha256"]
    assert remote.read("metrics.jsonl") == (folder / "metrics.jsonl").read_bytes()


class Machine:
    """A work folder whose run is trained by hand, with its callback."""

    def __init__(self, path, url):
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.gin").write_text("")
        self.workdir, self.mirror = WorkDir(path), Mirror(url)
        self.checkpoints = CheckpointStore(self.workdir.checkpoints, keep=2)
        self.is_finished = False

    def start(self):
        self.mirror.before_resume(self.workdir, "", allow_change=False)

    def train(self, step):
        self.workdir.append_metrics({"step": step})
        self.checkpoints.save(box(step), step)
        self.mirror.on_log(self, {})

    def finish(self):
        self.is_finished = True
        self.mirror.on_train_end(self)
        self.workdir.write_json("result.json", {"step": self.checkpoints.steps()[-1]})
        self.mirror.on_run_end(self)


def test_a_remote_folder_that_fails_stops_nothing_and_the_same_command_tries_again(
    tmp_path, url, monkeypatch, caplog, capsys
):
    write = RemoteFolder.write

    def refuse(self, name, content):
        if name == "metrics.jsonl":
            raise EnvironmentFailure("the network is down")
        write(self, name, content)

    monkeypatch.setattr(RemoteFolder, "write", refuse)
    machine = Machine(tmp_path / "run", url)
    machine.start()
    machine.train(1)
    machine.finish()
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "the copy of the run has failed once so far: the network is down; the run goes on",
        "the copy of the run has failed 2 times so far: the network is down; the run goes on",
        f"the copy in {url}/run lacks metrics.jsonl, result.json, checkpoints/step-00000001; {ADVICE}",
    ]

    monkeypatch.setattr(RemoteFolder, "write", write)
    Machine(tmp_path / "run", url).start()
    copied = RemoteFolder("Mirror.url", f"{url}/run")
    assert json.loads(copied.read("result.json")) == {"step": 1}
    assert "checkpoints/step-00000001/record.json" in copied.files()
    assert "copy  " not in capsys.readouterr().out


def test_training_does_not_wait_for_a_slow_remote_folder(tmp_path, url, monkeypatch):
    released, put = threading.Event(), RemoteFolder.put

    def slow(self, path, name):
        assert released.wait(60)
        put(self, path, name)

    monkeypatch.setattr(RemoteFolder, "put", slow)
    machine = Machine(tmp_path / "run", url)
    machine.start()
    for step in (1, 2, 3):
        machine.train(step)
    assert "step-00000001" not in str(RemoteFolder("Mirror.url", f"{url}/run").files())
    released.set()
    machine.finish()
    copied = {name.split("/")[1] for name in RemoteFolder("Mirror.url", f"{url}/run").files() if "/" in name}
    assert copied == {"step-00000002", "step-00000003"}


def test_a_run_that_is_stopped_copies_its_last_state(tmp_path, url, capsys):
    machine = Machine(tmp_path / "run", url)
    machine.start()
    machine.train(1)
    machine.mirror.on_train_end(machine)
    assert capsys.readouterr().out == f"copy         {url}/run\n"
    assert "checkpoints/step-00000001/record.json" in RemoteFolder("Mirror.url", f"{url}/run").files()


def test_copying_in_the_background_is_no_progress_of_the_training(tmp_path, url, monkeypatch):
    """Else a training that hangs would never be ended, as long as something is copied."""
    reported = []
    monkeypatch.setattr(mirror.watchdog, "progress", reported.append)
    machine = Machine(tmp_path / "run", url)
    machine.start()
    reported.clear()
    machine.train(1)
    machine.mirror._copying.wait()
    assert reported == []
    assert machine.mirror._run.left() == []
    machine.finish()
    assert f"{url}/run/result.json, which is being written" in reported


def test_a_second_machine_ends_the_copying_of_the_first_with_one_line(tmp_path, url, caplog):
    first, second = Machine(tmp_path / "run", url), Machine(tmp_path / "b" / "run", url)
    first.start()
    first.train(1)
    first.mirror._copying.wait()
    second.start()
    for step in (2, 3):
        first.train(step)
        first.mirror._copying.wait()
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"another start of this run writes to {url}/run now; nothing more is copied from here"]
    assert "step-00000002" not in str(RemoteFolder("Mirror.url", f"{url}/run").files())


def test_a_run_goes_on_where_only_its_copy_cannot_be_reached(tmp_path, url, monkeypatch, caplog):
    machine = Machine(tmp_path / "run", url)
    machine.checkpoints.save(box(1), 1)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "read", unreachable)
        machine.start()
    assert "the network is down" in caplog.text
    machine.train(2)
    machine.finish()
    assert machine.mirror._run.left() == []


def test_a_finished_run_is_fetched_before_the_command_looks_at_its_folder(tmp_path, url, capsys):
    machine = Machine(tmp_path / "run", url)
    machine.start()
    machine.train(4)
    machine.finish()
    shutil.rmtree(tmp_path / "run")
    capsys.readouterr()
    assert train(tmp_path / "run", url) == {"step": 4}
    fetched, finished = capsys.readouterr().out.splitlines()
    assert fetched == f"fetched step 4 of this run from {url}/run"
    assert finished == f"this run is finished: {tmp_path}/run/result.json is of step 4"


def test_a_remote_folder_that_cannot_be_read_ends_only_a_run_that_might_be_there(tmp_path, url, monkeypatch):
    monkeypatch.setattr(RemoteFolder, "read", unreachable)
    with pytest.raises(EnvironmentFailure, match="the network is down"):
        train(tmp_path / "run", url)
    assert not (tmp_path / "run").exists()


def test_a_first_start_that_cannot_write_to_the_remote_folder_leaves_nothing_behind(
    tmp_path, url, monkeypatch
):
    def refuse(self, name, content):
        raise EnvironmentFailure("Forbidden")

    monkeypatch.setattr(RemoteFolder, "write", refuse)
    with pytest.raises(EnvironmentFailure, match="Forbidden"):
        train(tmp_path / "run", url)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`Runs` that are copied to `remote`, one of which, `undisturbed`, is done."""
    folder = tmp_path_factory.mktemp("mirror")
    made = Runs(folder, GIN.format(folder=folder), "faults_plugin")
    (folder / "tiny.gin").write_text(GIN.format(folder=folder))
    finished = made.run("undisturbed", "--plugin=pause_plugin")
    assert finished.code == 0, finished
    return made


def copied_step(runs, name):
    """The newest step in the copy whose record is there."""
    records = (runs.folder / "remote" / name / "checkpoints").glob("step-*/record.json")
    return max((int(path.parent.name.removeprefix("step-")) for path in records), default=0)


@pytest.mark.long
@pytest.mark.processes
def test_a_run_whose_machine_is_killed_and_lost_ends_with_the_same_bits(runs):
    slow = {"PAUSE_SECONDS": 0.3}
    for step in (10, 30):
        command = runs.start("killed", "--plugin=pause_plugin", environment=slow)
        command.wait_until(lambda step=step: copied_step(runs, "killed") >= step)
        command.kill()
        assert command.finish().code == -signal.SIGKILL
        shutil.rmtree(runs.workdir("killed"))
    finished = runs.run("killed", "--plugin=pause_plugin")
    assert finished.code == 0, finished
    assert "fetched step " in finished.out
    assert runs.lines("killed") == runs.lines("undisturbed")
    one, other = runs.result("killed"), runs.result("undisturbed")
    assert one["weights_sha256"] == other["weights_sha256"]
    assert runs.store("killed").record(60)["sha256"] == runs.store("undisturbed").record(60)["sha256"]


@pytest.mark.long
@pytest.mark.processes
def test_the_copy_of_another_configuration_ends_the_command_with_one_line(runs):
    shutil.copytree(runs.folder / "remote" / "undisturbed", runs.folder / "remote" / "other")
    finished = runs.run("other", "--plugin=pause_plugin", "--gin_param=train.seed = 1")
    assert finished.code == ConfigurationError.exit_code
    assert "the run in file://" in message(finished)
    assert not runs.workdir("other").exists()


@pytest.mark.long
@pytest.mark.processes
def test_all_workers_go_on_from_what_the_first_has_fetched(runs):
    def start(pause):
        addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(2))
        flags = [
            "--gin_file=tiny.gin",
            "--plugin=faults_plugin",
            "--plugin=pause_plugin",
            "--workdir=runs/two",
        ]
        return [
            Command(
                "launch.train",
                flags,
                runs.folder,
                {"TF_CONFIG": to_tf_config(Workers(addresses, index)), "PAUSE_SECONDS": str(pause)},
            )
            for index in (0, 1)
        ]

    workers = start(0.3)
    workers[0].wait_until(lambda: copied_step(runs, "two") >= 10)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.finish()
    shutil.rmtree(runs.workdir("two"))
    ended = [worker.finish() for worker in start(0)]
    assert [each.code for each in ended] == [0, 0], ended
    assert "fetched step " in ended[0].out
    assert "fetched" not in ended[1].out
    assert runs.lines("two").keys() == runs.lines("undisturbed").keys()
    assert runs.result("two")["num_replicas"] == 2
