"""A work folder from elsewhere makes no command write outside of it, nor end in a traceback."""

import json
import os
import shutil

import pytest

from tests.fixtures import tiny_runs, trained_runs
from vaeflow.commands import command_line, programs

OUTSIDE = ("config.gin", "operative_config.gin", "environment.json", "metrics.jsonl", "result.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A work folder with checkpoints of steps 10 and 20."""
    return trained_runs.trained_folder(
        tmp_path_factory.mktemp("finished"), "train.callbacks = [@Checkpoints(), @Images(), @Summaries()]",
        "Images.every_steps = 20", "Images.num_examples = 8", "Images.max_traversals = 1",
    )  # fmt: skip


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def outside(tmp_path):
    """A folder with a file that nothing may change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("mine")
    yield tmp_path / "outside"
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["precious"]
    assert (tmp_path / "outside" / "precious").read_text() == "mine"


def run(name, folder, *parameters, flags=()):
    """Runs a command in this process, and returns its exit code."""
    arguments = [f"--workdir={folder}", *flags, *(f"--gin_param={parameter}" for parameter in parameters)]
    with tiny_runs.configuration_of_its_own():
        return command_line.main(programs.load(name), arguments)


CHANGED = ("train.num_steps = 25",)


def link(path, target):
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "name", "parameters"),
    [
        ("train", "checkpoints", CHANGED),
        ("train", "images", CHANGED),
        ("train", "tensorboard", CHANGED),
        ("evaluate", "tensorboard", ("evaluate.num_samples = []",)),
        ("embed", "embeddings", ()),
        ("embed", "tensorboard/projector", ()),
        ("encode", "encoded", ()),
        ("sample", "samples", ("sample.samplers = [@PriorSampler()]",)),
    ],
)
def test_a_link_in_place_of_a_folder_is_refused(folder, outside, capsys, command, name, parameters):
    link(folder / name, outside)
    (folder / "result.json").unlink()
    flags = ["--allow_config_change"] if command == "train" else []
    assert run(command, folder, *parameters, flags=flags) == 4
    error = capsys.readouterr().err
    assert "is a link that leads out of the work folder" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_links_in_place_of_files_are_replaced_and_not_followed(folder, outside):
    kept = {name: (folder / name).read_bytes() for name in OUTSIDE}
    originals = folder.parent / "originals"
    originals.mkdir()
    for name, content in kept.items():
        (originals / name).write_bytes(content)
        link(folder / name, originals / name)
    assert run("train", folder, *CHANGED, flags=["--allow_config_change"]) == 0
    assert {name: (originals / name).read_bytes() for name in OUTSIDE} == kept
    assert not any((folder / name).is_symlink() for name in OUTSIDE)


@pytest.mark.slow
def test_an_export_takes_the_place_of_a_link(folder, outside, monkeypatch):
    monkeypatch.setattr("vaeflow.commands.export.check", lambda *arguments: {"keras": 0.0})
    link(folder / "export", outside)
    assert run("export", folder, "export.formats = ['keras']") == 0
    assert (folder / "export" / "README.md").exists()
    assert not (folder / "export").is_symlink()


@pytest.mark.slow
def test_the_model_card_shows_foreign_text_as_it_is(folder, monkeypatch):
    monkeypatch.setattr("vaeflow.commands.export.check", lambda *arguments: {"keras": 0.0})
    strange = folder.rename(folder.parent / "a\n# Title | <b>")
    environment = json.loads((strange / "environment.json").read_text())
    environment |= {"platform": "x\n# Platform <script>", "data": "`rm` | [y](z)\n```"}
    (strange / "environment.json").write_text(json.dumps(environment))
    assert run("export", strange, "export.formats = ['keras']") == 0
    card = (strange / "export" / "README.md").read_text()
    assert r"# a # Title \| &lt;b&gt;: VAE" in card
    assert r"| platform | x # Platform &lt;script&gt; |" in card
    assert r"| splits | \`rm\` \| [y\](z) \`\`\` |" in card


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "[]", '{"packages": 7}', '{"step": "x"}', "[" * 100_000])
def test_damaged_logs_do_not_hinder_an_export(folder, monkeypatch, caplog, content):
    monkeypatch.setattr("vaeflow.commands.export.check", lambda *arguments: {"keras": 0.0})
    for name in ("environment.json", "evaluation.json"):
        (folder / name).write_text(content)
    assert run("export", folder, "export.formats = ['keras']") == 0
    assert "| splits | not recorded |" in (folder / "export" / "README.md").read_text()
    assert "is left out of the model card" in caplog.text


LOGS = ("metrics.jsonl", "result.json", "environment.json", "evaluation.json", "operative_config.gin")


@pytest.mark.long
@pytest.mark.slow
def test_a_run_goes_on_without_its_own_words_and_without_its_logs(folder):
    for name in LOGS:
        (folder / name).write_bytes(b"\xff[]\n")
    assert run("train", folder) == 0
    assert json.loads((folder / "result.json").read_text())["step"] == 20
    assert run("train", folder, *CHANGED) == 2
    assert run("train", folder, *CHANGED, flags=["--allow_config_change"]) == 0
    assert json.loads((folder / "result.json").read_text())["step"] == 25


def test_a_folder_without_a_run_asks_for_a_configuration(tmp_path, capsys):
    assert run("train", tmp_path / "new") == 2
    assert "new holds no run to resume" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_run_that_failed_before_it_saved_anything_leaves_its_folder_free(folder):
    shutil.rmtree(folder / "checkpoints")
    (folder / "result.json").unlink()
    assert run("train", folder, *CHANGED) == 0
    assert run("train", folder, "train.num_steps = 30") == 2


def test_another_shape_is_named(folder, capsys):
    flags = ["--allow_config_change"]
    assert run("train", folder, "VAE.num_latents = 5", *CHANGED, flags=flags) == 2
    error = capsys.readouterr().err
    assert (
        "belongs to another model or optimizer (model/2 has the shape [3, 8] there and [5, 8] here)" in error
    )


@pytest.mark.parametrize("name", ["environment.json", "result.json", "metrics.jsonl", "config.gin"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b'{"step": [], "command": []}'])
def test_no_record_is_made_of_damaged_files(folder, capsys, name, content):
    (folder / name).write_bytes(content)
    code = run_record(folder)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    if code == 0:
        assert name == "metrics.jsonl" or name == "config.gin"
    else:
        assert code == 2
        assert name in error


def run_record(folder):
    arguments = [f"--workdir={folder}", f"--results={folder.parent}/results"]
    return command_line.main(programs.load("record"), arguments)


def test_files_that_are_pipes_are_not_waited_for(folder, capsys):
    for name in ("environment.json", "result.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    assert run_record(folder) == 2
    assert "no regular file" in capsys.readouterr().err
