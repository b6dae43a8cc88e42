"""The command that exports: its files, its model card, and that a failure leaves nothing."""

import importlib.util
import json
import os
import re

import numpy as np
import pytest

from tests.fixtures import tiny_runs, trained_runs
from tests.fixtures.disk import full_disk
from vaeflow import config, trained
from vaeflow.commands import command_line
from vaeflow.commands import export as command
from vaeflow.commands.programs import encode, export
from vaeflow.errors import EnvironmentFailure
from vaeflow.export import FORMATS, model_card
from vaeflow.runs import record

pytestmark = pytest.mark.slow  # Each test has a trained run.

SETTINGS = ("train.optimizer = @Adam", "Adam.learning_rate = 0.002", "Arrays.binarization = 'static'")
# Those whose packages are installed.
POSSIBLE = [name for name in FORMATS if all(map(importlib.util.find_spec, FORMATS[name].packages))]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run whose checkpoint of step 20 was exported; tests leave it as it is."""
    folder = trained_runs.trained_folder(tmp_path_factory.mktemp("exported"), *SETTINGS, model="BetaVAE")
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_out_checks(monkeypatch)
        assert run_export(folder, f"export.formats = {POSSIBLE}", flags=["--checkpoint=20"]) == 0
    return folder


def leave_out_checks(monkeypatch):
    """Leaves out the fresh processes, which import TensorFlow; test_structures.py has them."""
    monkeypatch.setattr(
        command, "check", lambda module, folder, formats, modules: dict.fromkeys(formats, 0.0)
    )


@pytest.fixture
def unchecked(monkeypatch):
    leave_out_checks(monkeypatch)


def run_export(workdir, *parameters, flags=()):
    """Runs the command in this process; returns its exit code."""
    given = [f"--gin_param={parameter}" for parameter in parameters]
    with tiny_runs.configuration_of_its_own():
        arguments = [f"--workdir={workdir}", *given, *flags]
        return command_line.main(export.COMMAND, arguments)


def card(workdir):
    return (workdir / "export/README.md").read_text()


def hidden(workdir):
    return sorted(path.name for path in workdir.glob(".*") if path.name != ".lock")


def code_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_files(workdir):
    expected = ["README.md", "export.json", *(FORMATS[name].path for name in POSSIBLE)]
    assert sorted(path.name for path in (workdir / "export").iterdir()) == sorted(expected)
    assert {"saved_model", "model.keras"} <= set(expected)
    assert hidden(workdir) == []


def test_the_code_of_the_card_runs_as_it_stands(workdir, monkeypatch):
    monkeypatch.chdir(workdir / "export")
    blocks = code_blocks(card(workdir))
    assert len(blocks) == len(POSSIBLE)
    results = []
    for block in blocks:
        results.append(names := {})
        exec(block, names)
        assert names["decoded"].shape == names["reconstructions"].shape == (7, 8, 8, 1)
        for part in ("decoded", "reconstructions"):
            np.testing.assert_allclose(names[part], results[0][part], atol=1e-6)
    of_tensorflow, of_keras = results[:2]
    np.testing.assert_allclose(of_tensorflow["posterior"]["mean"], of_keras["posterior"].mean, atol=1e-6)
    assert of_tensorflow["samples"].shape == of_keras["samples"].shape == (16, 8, 8, 1)


def test_the_card_tells_of_the_run(workdir):
    text = card(workdir)
    result = json.loads((workdir / "result.json").read_text())
    for expected in (
        "A BetaVAE for images of 8 x 8 x 1, trained for 20 steps. Its latents: 3 numbers.",
        f"| SHA-256 of the weights | `{result['weights_sha256']}` |",
        "| splits | Arrays, 40 training and 11 evaluation images of 8 x 8 x 1",
        "| binarization | static |",
        "| optimizer | Adam, learning_rate 0.002 |",
        "| batch size | 8 (global) |",
        f"| evaluation/negative_elbo | {result['evaluation/negative_elbo']:.4g} |",
        "| tensorflow | 2.",
        record.without_paths((workdir / "config.gin").read_text().strip()),
    ):
        assert expected in text, expected
    assert "{" not in text.partition("## How to get started")[0]
    assert str(workdir.parent) not in text


def test_the_card_takes_an_evaluation_of_the_same_step_only(workdir):
    with tiny_runs.configuration_of_its_own():
        config.load_trained("export", workdir)
        restored = trained.restore(workdir, "20")
        path = workdir / "evaluation.json"
        for step in (10, 20):
            path.write_text(json.dumps({"step": step, "metrics": {"nll_is50_nats": 31.25, "broken": None}}))
            try:
                text = model_card(restored, ("saved_model",), {"saved_model": 0.0})
            finally:
                path.unlink()
            assert ("| nll_is50_nats | 31.25 |" in text) == (step == 20)
            assert "broken" not in text
            assert len(code_blocks(text)) == 1


@pytest.fixture
def unexported(workdir, tmp_path):
    """The same run without its export."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.gin", "checkpoints", "environment.json"):
        (folder / name).symlink_to(workdir / name)
    return folder


def test_a_new_export_replaces_the_old_one(unexported, unchecked, capsys):
    (unexported / "export").mkdir()
    (unexported / "export/of-before").write_text("")
    assert run_export(unexported, "export.formats = ['keras', 'keras']", flags=["--checkpoint=10"]) == 0
    assert sorted(path.name for path in (unexported / "export").iterdir()) == [
        "README.md",
        "export.json",
        "model.keras",
    ]
    assert "trained for 10 steps" in card(unexported)
    assert hidden(unexported) == []
    printed = capsys.readouterr().out
    assert "step-00000010 (step 10)" in printed
    assert "export/model.keras (differs from the model by 0.0e+00)" in printed


@pytest.mark.parametrize("old", [False, True])
def test_a_failed_check_leaves_nothing_and_keeps_the_old_export(unexported, monkeypatch, capsys, old):
    if old:
        (unexported / "export").mkdir()
        (unexported / "export/of-before").write_text("")
    left = unexported / ".unfinished-export-0123456789abcdef"
    left.mkdir()
    os.utime(left, (0, 0))  # As a process leaves it that was killed long ago.

    def fails(module, folder, formats, modules):
        assert sorted(path.name for path in folder.iterdir()) == ["model.keras", "saved_model"]
        raise EnvironmentFailure("it differs")

    monkeypatch.setattr(command, "check", fails)
    assert run_export(unexported) == 4
    assert "vaeflow export: error: it differs" in capsys.readouterr().err
    assert hidden(unexported) == []
    assert (unexported / "export/of-before").exists() == (unexported / "export").exists() == old


def test_a_full_disk(unexported, unchecked, capsys):
    with full_disk(kilobytes=1):
        assert run_export(unexported) == 4
    assert "cannot be written" in capsys.readouterr().err
    assert hidden(unexported) == []
    assert not (unexported / "export").exists()


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (
            "['saved_model', 'pickle']",
            "`export.formats` must be one of 'saved_model', 'keras', 'tflite', 'onnx'",
        ),
        ("'keras'", "`export.formats` must be a list of formats, got 'keras'"),
        ("[]", r"`export.formats` must be a list of formats, got \[\]"),
    ],
)
def test_wrong_formats(unexported, capsys, formats, message):
    before = sorted(unexported.iterdir())
    assert run_export(unexported, f"export.formats = {formats}") == 2
    assert re.search(message, capsys.readouterr().err)
    assert sorted(unexported.iterdir()) == before


def test_a_missing_package(unexported, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run_export(unexported, "export.formats = ['onnx']") == 2
    assert "pip install 'vaeflow[onnx]'" in capsys.readouterr().err
    assert not (unexported / "export").exists()
    assert hidden(unexported) == []


def test_a_precision_that_a_format_lacks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "refuse_missing_packages", lambda formats: None)
    workdir = trained_runs.trained_folder(tmp_path, "train.precision = 'float64'")
    assert run_export(workdir, "export.formats = ['tflite']") == 2
    assert "float32 models only, and this one was trained in float64" in capsys.readouterr().err
    assert not (workdir / "export").exists()


def test_the_card_has_the_scale_that_an_encoding_measured(unexported, unchecked):
    with tiny_runs.configuration_of_its_own():
        assert command_line.main(encode.COMMAND, [f"--workdir={unexported}"]) == 0
    manifest = json.loads((unexported / "encoded/manifest.json").read_text())
    deviation = manifest["splits"]["train"]["statistics"]["z"]["all"]["deviation"][0]
    assert run_export(unexported, "export.formats = ['keras']") == 0
    assert f"| scale of the latents | 1 / standard deviation = {1 / deviation:.6g}, of" in card(unexported)
    # Another checkpoint has other weights.
    assert run_export(unexported, "export.formats = ['keras']", flags=["--checkpoint=10"]) == 0
    assert "| scale of the latents | not measured" in card(unexported)
    flags = ["--checkpoint=10", f"--encoded={unexported}/encoded"]
    assert run_export(unexported, "export.formats = ['keras']", flags=flags) == 2
