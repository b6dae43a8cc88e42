"""The Slurm script and the Kubernetes manifest do what their comments say."""

import copy
import os
import pathlib
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

from vaeflow.devices.workers import Workers, find_workers
from vaeflow.errors import ConfigurationError, EnvironmentFailure, Preempted, TrainingDiverged

pytestmark = pytest.mark.processes

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
# Command -> the script that starts it.
SCRIPTS = {"train": EXAMPLES / "slurm" / "vaeflow.sbatch", "study": EXAMPLES / "slurm" / "study.sbatch"}
DOCUMENTS = list(yaml.safe_load_all((EXAMPLES / "kubernetes" / "vaeflow.yaml").read_text()))
BY_KIND = {document["kind"]: document for document in DOCUMENTS}

JOB = BY_KIND["Job"]["spec"]
POD = JOB["template"]["spec"]
(CONTAINER,) = POD["containers"]
NAME = BY_KIND["Job"]["metadata"]["name"]


def validate(document):
    # `strict` refuses what the schema does not know, such as misspelt keys.
    kubernetes_validate.validate(document, "1.37", strict=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["kind"])
def test_the_manifest_is_valid(document):
    validate(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["spec"].update(completionmode=job["spec"].pop("completionMode")),
        lambda job: job["spec"].update(completions="two"),
        lambda job: job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"].pop("operator"),
        lambda job: job["spec"]["template"]["spec"]["containers"][0].pop("name"),
        lambda job: job["spec"]["template"]["spec"]["containers"][0]["env"][0].update(value=2),
    ],
)
def test_an_error_in_the_manifest_is_caught(change):
    job = copy.deepcopy(BY_KIND["Job"])
    change(job)
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(job)


def test_the_parts_of_the_manifest_fit_together():
    service, claim = BY_KIND["Service"], BY_KIND["PersistentVolumeClaim"]
    assert JOB["completionMode"] == "Indexed"
    assert JOB["completions"] == JOB["parallelism"] == int(environment()["NUM_WORKERS"])
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": NAME}
    assert POD["subdomain"] == service["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in POD["volumes"]]
    assert claim["metadata"]["name"] in claims
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {
        volume["name"] for volume in POD["volumes"]
    }
    assert POD["terminationGracePeriodSeconds"] >= 60
    assert CONTAINER["resources"]["limits"]["nvidia.com/gpu"] >= 1


def test_only_the_jobs_own_pods_reach_the_workers():
    policy = BY_KIND["NetworkPolicy"]["spec"]
    own = {"matchLabels": {"job-name": NAME}}
    assert policy == {
        "podSelector": own,
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": own}]}],
    }


def action_for(code):
    """What the manifest's policy makes of an exit code; `Count` is Kubernetes' default."""
    for rule in JOB["podFailurePolicy"]["rules"]:
        exits = rule.get("onExitCodes")
        if exits is not None:
            assert exits["containerName"] == CONTAINER["name"]
            assert exits["operator"] == "In"
            if code in exits["values"]:
                return rule["action"]
    return "Count"


def test_exit_codes_are_treated_as_what_they_mean():
    assert action_for(ConfigurationError.exit_code) == "FailJob"
    assert action_for(TrainingDiverged.exit_code) == "FailJob"
    assert action_for(Preempted.exit_code) == "Ignore"
    assert action_for(EnvironmentFailure.exit_code) == "Count"
    assert JOB["backoffLimit"] > JOB["completions"]
    assert POD["restartPolicy"] == "Never"  # Else Kubernetes refuses a podFailurePolicy.


def environment():
    return {variable["name"]: variable["value"] for variable in CONTAINER["env"]}


def put_on_path(folder, name, text):
    """Writes a shell program that stands in for another; returns the environment that finds it."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / name).write_text(f"#!/bin/sh\n{text}\n")
    (programs / name).chmod(0o755)
    return {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.parametrize("num_workers", [2, 3])
def test_each_pod_learns_who_the_workers_are(tmp_path, num_workers):
    found = put_on_path(tmp_path, "python", 'printf "%s\\n" "$TF_CONFIG" $$ "$@"; exit 42')
    (port,) = [port["containerPort"] for port in CONTAINER["ports"]]
    for index in range(num_workers):
        variables = environment() | {"NUM_WORKERS": str(num_workers), "JOB_COMPLETION_INDEX": str(index)}
        process = subprocess.Popen(
            [*CONTAINER["command"], *CONTAINER["args"]],
            env=variables | found,
            stdout=subprocess.PIPE,
            text=True,
        )
        out, _ = process.communicate()
        tf_config, pid, *arguments = out.splitlines()
        workers = tuple(f"{NAME}-{worker}.{POD['subdomain']}:{port}" for worker in range(num_workers))
        assert find_workers({"TF_CONFIG": tf_config}) == Workers(workers, index)
        assert arguments[:3] == ["-m", "vaeflow", "train"]
        # The training is the process that Kubernetes signals, and its exit code the pod's.
        assert int(pid) == process.pid
        assert process.returncode == 42
        (workdir,) = [argument for argument in arguments if argument.startswith("--workdir=")]
        assert workdir.removeprefix("--workdir=").startswith(CONTAINER["volumeMounts"][0]["mountPath"])


def test_one_pod_alone_is_one_process(tmp_path):
    found = put_on_path(tmp_path, "python", 'printf "%s" "$TF_CONFIG"')
    variables = {"NUM_WORKERS": "1", "JOB_COMPLETION_INDEX": "0"} | found
    text = subprocess.check_output([*CONTAINER["command"], *CONTAINER["args"]], env=variables, text=True)
    assert "vaeflow-0" in text
    assert find_workers({"TF_CONFIG": text}) is None


@pytest.fixture(params=SCRIPTS)
def command(request):
    """A command that has a Slurm script."""
    return request.param


def sbatch(command, folder, code, *arguments, before=""):
    """Runs its script with stand-ins for Slurm's programs; returns its exit code and what it called."""
    log = folder / "calls"
    record = f'printf "%s " "${{0##*/}}" "$@" >>{log}; echo >>{log}'
    put_on_path(folder, "scontrol", record)
    found = put_on_path(folder, "srun", f"{record}; {before}\nexit {code}")
    variables = {"SLURM_JOB_ID": "1234", "SLURM_CPUS_PER_TASK": "16"} | found
    done = subprocess.run(["bash", str(SCRIPTS[command]), *arguments], env=variables, timeout=20)
    return done.returncode, [line.split() for line in log.read_text().splitlines()]


def test_the_slurm_script_is_well_formed(command):
    subprocess.run(["bash", "-n", str(SCRIPTS[command])], check=True)
    lines = SCRIPTS[command].read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    # Slurm reads no options after the first command.
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert options
    assert max(options) < first_command
    given = dict(re.fullmatch("#SBATCH --([a-z-]+)=?(.*)", lines[number]).groups() for number in options)
    assert given["signal"] == "TERM@120"
    # With several machines the workers are one on each; a task of an array is a single process.
    assert given["ntasks-per-node" if command == "train" else "ntasks"] == "1"
    assert ("array" in given) == (command == "study")
    assert "requeue" in given


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 137])
def test_a_job_that_ended_stays_ended(command, tmp_path, code):
    ended, calls = sbatch(command, tmp_path, code, "--gin_file=x.gin", "--workdir=w")
    assert ended == code
    (call,) = calls
    assert call[0] == "srun"
    assert call[-6:] == ["python", "-m", "vaeflow", command, "--gin_file=x.gin", "--workdir=w"]
    together = {"--wait=0", "--distribution=block"} if command == "train" else {"--ntasks=1"}
    assert {"--kill-on-bad-exit=0", "--cpus-per-task=16", *together} <= set(call)


def test_a_preempted_job_goes_back_to_the_queue(command, tmp_path):
    ended, calls = sbatch(command, tmp_path, 42, "--gin_file=x.gin")
    assert ended == 42
    assert [call[0] for call in calls] == ["srun", "scontrol"]
    assert calls[1] == ["scontrol", "requeue", "1234"]


def test_the_script_outlives_a_signal_to_itself(command, tmp_path):
    ended, calls = sbatch(command, tmp_path, 42, before="kill -TERM $PPID; sleep 0.2")
    assert ended == 42
    assert calls[-1] == ["scontrol", "requeue", "1234"]
