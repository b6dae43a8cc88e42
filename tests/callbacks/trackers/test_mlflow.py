"""The callback `MLflow`, with a tracking server on loopback; and what needs no library."""

import collections
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.fixtures import tracked_runs
from tests.fixtures.commands import Command, message
from vaeflow.callbacks.trackers import mlflow as own
from vaeflow.clusters.local import _free_ports
from vaeflow.devices.workers import Workers, to_tf_config


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("evaluation/kl_per_dimension/00", "evaluation/kl_per_dimension/00"),
        ("warmup/Linear.values", "warmup/Linear.values"),
        ("a b-c_d", "a b-c_d"),
        ("loss (nats) @ 1:2", "loss _nats_ _ 1_2"),
        ("../../etc//passwd", "etc/passwd"),
        ("x" * 300, "x" * 250),
        ("/", "_"),
    ],
)
def test_a_name_is_one_that_mlflow_takes(name, valid):
    assert own._name(name) == valid


def test_a_parameter_is_text_of_at_most_6000_characters():
    assert own._parameter("none") == "none"
    assert own._parameter([8, 4]) == "[8, 4]"
    assert own._parameter("x" * 6000) == "x" * 6000
    assert own._parameter("x" * 6001) == "x" * 5999 + "…"


class Server:
    """An MLflow server with a database in a folder."""

    def __init__(self, folder):
        self.folder, (self.port,) = folder, _free_ports(1)
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        flags = [f"--backend-store-uri=sqlite:///{self.folder}/mlflow.db", "--host=127.0.0.1", "--workers=1"]
        flags += [f"--artifacts-destination={self.folder}/artifacts", f"--port={self.port}"]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *flags],
                stdout=log,
                stderr=log,
                env=os.environ | quiet,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return self
            except OSError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def runs_of(self, name):
        """All runs with the name of a work folder, as MLflow's client gives them."""
        experiment = self.client.get_experiment_by_name("vaeflow")
        found = self.client.search_runs([experiment.experiment_id])
        return [self.client.get_run(run.info.run_id) for run in found if run.info.run_name == name]

    @property
    def client(self):
        import mlflow

        return mlflow.MlflowClient(self.uri)

    def steps_of(self, run, metric):
        return [entry.step for entry in self.client.get_metric_history(run.info.run_id, metric)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("mlflow", reason="pip install 'mlflow>=3,<4'")
    pytest.importorskip("flask", reason="the server needs all of mlflow, not mlflow-skinny alone")
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, server):
    settings = f"MLflow.tracking_uri = '{server.uri}'\n"
    return tracked_runs.runs(tmp_path_factory.mktemp("runs"), "@MLflow()", settings)


@pytest.mark.trackers
@pytest.mark.processes
def test_a_run_that_is_killed_twice_is_one_run_with_every_step_once(runs, server):
    assert tracked_runs.killed_after(runs, "killed", 5) < 20  # Before the first checkpoint.
    assert tracked_runs.killed_after(runs, "killed", 30) > 20
    (open_run,) = server.runs_of("killed")
    assert open_run.info.status == "RUNNING"
    finished = runs.run("killed", *tracked_runs.TRAINED)
    assert finished.code == 0, finished
    assert finished.error == ""
    (run,) = server.runs_of("killed")
    assert run.info.run_id == open_run.info.run_id
    assert run.info.status == "FINISHED"

    lines = [json.loads(line) for line in runs.text("killed").splitlines()]
    told = {name for line in lines for name in line}
    assert run.data.metrics.keys() == told
    # Training is exact, so a step that was told before the kill has the value of the log.
    for name in ("step", "train/loss", "evaluation/negative_elbo"):
        history = server.client.get_metric_history(run.info.run_id, name)
        expected = {line["step"]: line[name] for line in lines if name in line}
        assert len(history) == len(expected)
        assert {entry.step: entry.value for entry in history} == expected

    result = runs.result("killed")
    assert run.data.tags["vaeflow.weights_sha256"] == result["weights_sha256"]
    assert run.data.tags["vaeflow.checkpoint"] == "60"
    assert run.data.tags["vaeflow.state"] == "finished"
    assert run.data.params["VAE.num_latents"] == "2"
    assert run.data.params["train.seed"] == "0"
    files = {entry.path for entry in server.client.list_artifacts(run.info.run_id)}
    assert files == {"config.gin", "images", "result.json"}
    pictures = [entry.path for entry in server.client.list_artifacts(run.info.run_id, "images")]
    steps = collections.Counter(path.split("+")[2] for path in pictures if path.endswith(".png"))
    assert steps == {"20": 3, "40": 3, "60": 3}


@pytest.mark.trackers
@pytest.mark.processes
def test_a_run_that_is_stopped_stays_open_and_one_that_diverges_has_failed(runs, server):
    command = runs.start("stopped", *tracked_runs.TRAINED, environment={"PAUSE_SECONDS": 0.3})
    command.wait_until(lambda: runs.last_step("stopped") >= 10)
    command.send_signal(signal.SIGTERM)
    assert command.finish().code == 42
    (run,) = server.runs_of("stopped")
    assert run.info.status == "RUNNING"
    assert run.data.tags["vaeflow.state"] == "preempted"
    assert server.steps_of(run, "step")[-1] == runs.last_step("stopped")

    fault = {"FAULT": "all images bad", "FAULT_STEP": "3"}
    assert runs.run("stopped", *tracked_runs.TRAINED, environment=fault).code == 3
    (run,) = server.runs_of("stopped")
    assert run.info.status == "FAILED"
    assert run.data.tags["vaeflow.exit_code"] == "3"
    assert run.data.tags["vaeflow.failure"].startswith("training diverged")


@pytest.mark.trackers
@pytest.mark.processes
def test_a_changed_parameter_of_a_resumed_run_is_a_tag(runs, server):
    assert runs.run("changed", *tracked_runs.TRAINED, "--gin_param=train.num_steps = 20").code == 0
    assert runs.run("changed", *tracked_runs.TRAINED, "--allow_config_change").code == 0
    (run,) = server.runs_of("changed")
    assert run.data.params["train.num_steps"] == "20"
    assert run.data.tags["vaeflow.changed.train.num_steps"] == "60"
    assert server.steps_of(run, "step") == list(range(5, 61, 5))


@pytest.mark.trackers
@pytest.mark.processes
def test_two_workers_are_one_run(runs, server):
    addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(2))
    flags = ["--gin_file=tiny.gin", "--plugin=faults_plugin", *tracked_runs.TRAINED, "--workdir=runs/two"]
    workers = [
        Command("launch.train", flags, runs.folder, {"TF_CONFIG": to_tf_config(Workers(addresses, index))})
        for index in (0, 1)
    ]
    assert [worker.finish().code for worker in workers] == [0, 0]
    (run,) = server.runs_of("two")
    assert server.steps_of(run, "step") == list(range(5, 61, 5))
    assert run.data.tags["vaeflow.replicas"] == "2"


@pytest.mark.trackers
@pytest.mark.processes
def test_a_server_that_goes_away_gets_the_rest_by_the_same_command(runs, server):
    command = runs.start("alone", *tracked_runs.TRAINED, environment={"PAUSE_SECONDS": 0.3})
    command.wait_until(lambda: runs.last_step("alone") >= 10)
    server.stop()
    finished = command.finish()
    server.start()
    assert finished.code == 0, finished
    warnings = finished.error.splitlines()
    assert len(warnings) == 2, warnings
    assert "MLflow could not be told all" in warnings[0]
    assert "run the same command again to send it" in warnings[1]
    assert runs.run("alone", *tracked_runs.TRAINED).code == 0
    (run,) = server.runs_of("alone")
    assert server.steps_of(run, "step") == list(range(5, 61, 5))
    assert run.info.status == "FINISHED"
    assert run.data.tags["vaeflow.weights_sha256"] == runs.result("alone")["weights_sha256"]


@pytest.mark.trackers
@pytest.mark.processes
def test_a_server_that_is_not_there_ends_the_first_start_with_one_line(runs):
    (port,) = _free_ports(1)
    uri = f"MLflow.tracking_uri = 'http://me:secret@127.0.0.1:{port}'"
    finished = runs.run("nowhere", *tracked_runs.TRAINED, f"--gin_param={uri}")
    assert finished.code == 4, finished
    assert "`MLflow` cannot reach its tracker" in message(finished)
    assert "secret" not in finished.error
