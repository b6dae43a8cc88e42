"""`vaeflow verify`: an honest run passes, and each forgery is found, by the real command in this process."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs, trained_runs
from tests.fixtures.recorded_runs import edit, edit_log
from vaeflow.commands import command_line
from vaeflow.commands.programs import verify
from vaeflow.runs import checkpoint_files, metrics_log
from vaeflow.runs.metrics_log import LogDigest

pytestmark = pytest.mark.slow  # Each test has a trained run.

# Lines of the steps 5, 10, 15; the checkpoints of 10 and 15 are kept. So 10 is repeated from nowhere.
SETTINGS = (
    "train.num_steps = 15",
    "train.ema_decay = 0.9",
    "Evaluation.every_steps = 5",
    "Checkpoints.every_steps = 5",
    "Checkpoints.keep = 2",
)
HERE_ONLY = ("verify.replicas = False", "verify.evaluations = False")
QUICK = (*HERE_ONLY, "verify.float64 = False")


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A finished run, which tests leave as it is."""
    with tiny_runs.untraced():
        return trained_runs.trained_folder(tmp_path_factory.mktemp("honest"), *SETTINGS)


@pytest.fixture
def run(honest, tmp_path):
    """A finished run that a test may forge, and its data."""
    shutil.copytree(honest.parent, tmp_path / "copy")
    configuration = tmp_path / "copy" / "run" / "config.gin"
    configuration.write_text(configuration.read_text().replace(str(honest.parent), str(tmp_path / "copy")))
    return tmp_path / "copy" / "run"


def verified(folder, *flags, settings=QUICK):
    """Runs the command in this process: its exit code, and the checks of its report, subject -> check."""
    flags = [f"--workdir={folder}", f"--plugin={trained_runs.PLUGIN}", *flags]
    flags += [f"--gin_param={setting}" for setting in settings]
    with tiny_runs.configuration_of_its_own(), tiny_runs.untraced():
        code = command_line.main(verify.COMMAND, flags)
    checks = json.loads((folder / "verification.json").read_text())["checks"]
    return code, {check["subject"]: check for check in checks}


def different(checks):
    return {subject for subject, check in checks.items() if check["verdict"] == "differs"}


def contents(folder):
    """The digest of each file below a folder, but for the report."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.stem != "verification"
    }


def checkpoint(folder, step):
    return folder / "checkpoints" / f"step-{step:08d}"


def forge_weight(folder, step):
    """Changes one weight of a checkpoint, and makes the digests of its files anew."""
    path = checkpoint(folder, step)
    with checkpoint_files.reader(path) as reader:
        parts = {}
        for name in sorted(reader.get_variable_to_shape_map()):
            part, _, number = name.partition("/.")[0].partition("/")
            if number.isdecimal():
                parts.setdefault(part, {})[int(number)] = tf.Variable(reader.get_tensor(name))
    first = parts["model"][0]
    first.assign(first + np.float32(1e-3))
    parts["averages"][0].assign(first)
    lists = {part: [values[number] for number in sorted(values)] for part, values in parts.items()}
    tf.train.Checkpoint(**lists).write(str(path / "variables"))
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.glob("variables.*")}
    edit(path / "record.json", sha256=sums)


def forge_digests_of_log(folder):
    """Makes the digest of the log in each checkpoint fit to the log, as a careful forger would."""
    lines = metrics_log.read(folder / "metrics.jsonl")
    for path in (folder / "checkpoints").glob("*/record.json"):
        digest = LogDigest()
        for line in lines[: json.loads(path.read_text())["log"]["lines"]]:
            digest = digest.followed_by(line.text)
        edit(path, log=digest.to_json())


def test_an_honest_run_is_verified_and_only_the_report_is_written(run, capsys):
    before = contents(run)
    code, checks = verified(run, "--checkpoint=10", settings=HERE_ONLY)
    assert code == 0
    assert {check["verdict"] for check in checks.values()} == {"verified"}
    assert contents(run) == before
    assert {
        "the code of vaeflow",
        "the fingerprints of the data",
        "the checkpoint of step 15",
        "the log up to the checkpoint of step 15",
        "what was measured at step 10, from its checkpoint",
        "steps 10 to 15, as it was run",
        "steps 10 to 15, in float64",
        "the metrics in result.json",
    } <= checks.keys()
    original = checks["steps 10 to 15, as it was run"]
    assert original["remark"].endswith("equal bits")
    names = {value["name"] for value in original["values"]}
    assert {"train/loss", "train/kl", "evaluation/negative_elbo"} <= names
    assert any(name.endswith("that differ from the checkpoint") for name in names)
    doubled = checks["steps 10 to 15, in float64"]["values"]
    assert any(0 < value["deviation"] <= value["tolerance"] == 1e-4 for value in doubled)
    printed = capsys.readouterr().out
    assert "verified      steps 10 to 15, as it was run: " in printed
    text = (run / "verification.md").read_text()
    assert text.startswith("# Verification\n\n**verified**: of ")
    assert "| train/loss | " in text


def test_a_changed_weight_is_found_though_all_digests_are_forged(run):
    forge_weight(run, 15)
    edit(run / "result.json", weights_sha256="0" * 64)
    code, checks = verified(run, "--checkpoint=15")
    assert code == 5
    assert checks["the checkpoint of step 15"]["verdict"] == "verified"
    assert different(checks) == {
        "what was measured at step 15, from its checkpoint",
        "the SHA-256 of the weights in result.json",
    }


@pytest.mark.long
def test_a_changed_weight_is_found_where_the_steps_from_it_and_to_it_are_repeated(run):
    forge_weight(run, 10)
    code, checks = verified(run, "--checkpoint=10")
    assert code == 5
    assert "steps 10 to 15, as it was run" in different(checks)


def test_a_line_that_is_repeated_is_found_edited_though_its_digests_are_forged(run):
    edit_log(run, 15, '"train/kl": 0.', '"train/kl": 1.')
    forge_digests_of_log(run)
    edit(run / "result.json", **{"train/kl": metrics_log.read(run / "metrics.jsonl")[-1].metrics["train/kl"]})
    edit(
        checkpoint(run, 15) / "record.json",
        metrics=json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]),
    )
    code, checks = verified(run, "--checkpoint=10")
    assert code == 5
    assert different(checks) == {"steps 10 to 15, as it was run"}
    assert "train/kl recorded as 1." in checks["steps 10 to 15, as it was run"]["remark"]


def test_edits_of_a_line_of_result_and_record_and_of_one_image_are_found(run):
    """The line is repeated from no checkpoint that is kept: only the digests cover it."""
    edit_log(run, 5, '"examples_seen": 40', '"examples_seen": 48')
    edit(run / "result.json", **{"evaluation/kl": 0.125})
    record = checkpoint(run, 10) / "record.json"
    edit(record, metrics=json.loads(record.read_text())["metrics"] | {"train/loss": 1.0})
    path = run.parent / "data" / "train.npz"
    with np.load(path) as arrays:
        arrays = dict(arrays)
    arrays["images"][3, 0, 0, 0] ^= 1
    np.savez(path, **arrays)
    code, checks = verified(run, "--checkpoint=15")
    assert code == 5
    assert different(checks) == {
        "the log up to the checkpoint of step 10",
        "the log up to the checkpoint of step 15",
        "the metrics in result.json",
        "the metrics in the record of step 10",
        "the fingerprints of the data",
    }


@pytest.mark.long
def test_another_version_of_the_code_differs_unless_it_is_accepted(run):
    digests = json.loads((run / "environment.json").read_text())["code_sha256"]
    edit(run / "environment.json", code_sha256=digests | {"vaeflow": "0" * 64})
    code, checks = verified(run, "--checkpoint=15")
    assert code == 5
    assert different(checks) == {"the code of vaeflow"}
    code, checks = verified(run, "--checkpoint=10", "--other_versions")
    assert code == 0
    assert checks["the code of vaeflow"]["verdict"] == "not verified"
    # With other code the bits may be others.
    tolerances = {value["tolerance"] for value in checks["steps 10 to 15, as it was run"]["values"]}
    assert 1e-4 in tolerances


def test_data_that_is_not_there_is_one_message(run, capsys):
    (run.parent / "data" / "train.npz").unlink()
    flags = [f"--workdir={run}", f"--plugin={trained_runs.PLUGIN}"]
    with tiny_runs.configuration_of_its_own():
        assert command_line.main(verify.COMMAND, flags) == 4
    (message,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "train.npz" in message
    assert not (run / "verification.json").exists()


@pytest.mark.long
def test_the_data_may_lie_elsewhere_and_the_report_too(run, tmp_path):
    (run.parent / "data").rename(tmp_path / "elsewhere")
    settings = [f"Arrays.{name} = '{tmp_path}/elsewhere/{name}.npz'" for name in ("train", "evaluation")]
    before = {path.name for path in run.iterdir()}
    flags = [f"--workdir={run}", "--checkpoint=0", f"--results={tmp_path}/report"]
    flags += [f"--plugin={trained_runs.PLUGIN}"]
    flags += [f"--gin_param={setting}" for setting in (*QUICK, *settings)]
    with tiny_runs.configuration_of_its_own(), tiny_runs.untraced():
        assert command_line.main(verify.COMMAND, flags) == 0
    assert {path.name for path in run.iterdir()} == before
    report = json.loads((tmp_path / "report" / "verification.json").read_text())
    assert settings[0] in report["settings"]["given"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--checkpoint=7", "give all, last, or one of the steps 0, 10, 15"),
        ("--gin_param=verify.not_repeatable = 'loss'", "must be a list of names"),
        ("--gin_param=verify.checkpoint = 'all'", "use the flag --checkpoint instead"),
    ],
)
def test_wrong_settings_are_refused(honest, capsys, flag, message):
    with tiny_runs.configuration_of_its_own():
        assert command_line.main(verify.COMMAND, [f"--workdir={honest}", flag]) == 2
    assert message in capsys.readouterr().err
