"""The commands as a shell starts them: the console script, `python -m vaeflow`, and `python -m launch.x`."""

import importlib
import os
import subprocess
import sys

import pytest

import vaeflow
from tests.fixtures.commands import REPOSITORY
from vaeflow.commands import command_line, programs
from vaeflow.runs.program import Program

pytestmark = pytest.mark.processes

# As pip writes it.
CONSOLE_SCRIPT = """
import sys
from vaeflow.commands.entry import main
if __name__ == "__main__":
    sys.exit(main())
"""
# Hides a library or a module of Python for whoever imports from the current folder.
POISON = "raise SystemExit('the current folder hides a library')"


@pytest.fixture
def script(tmp_path):
    """The console script, in a folder of its own."""
    path = tmp_path / "bin" / "vaeflow"
    path.parent.mkdir()
    path.write_text(CONSOLE_SCRIPT)
    return str(path)


@pytest.fixture
def poisoned(tmp_path):
    """A current folder whose files have the names of libraries."""
    folder = tmp_path / "poisoned"
    for name in ("absl", "sklearn", "gin", "keras"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(POISON)
    for name in ("launch", "typing", "dataclasses", "json"):
        (folder / f"{name}.py").write_text(POISON)
    (folder / "own_plugin.py").write_text(
        "from vaeflow import registry\n\n@registry.dataset\nclass OwnGrid:\n    'A grid.'\n"
    )
    information = folder / "evil-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[vaeflow.plugins]\nevil = evil_plugin\n")
    (folder / "evil_plugin.py").write_text(POISON)
    return folder


def run(arguments, folder, path=()):
    paths = os.pathsep.join([str(REPOSITORY), *path])
    environment = os.environ | {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_help_lists_every_command_with_one_line(script, tmp_path):
    done = run([script, "--help"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: vaeflow COMMAND [flags]\n")
    for name in programs.NAMES:
        assert f"\n  {name} " in done.stdout
        assert programs.load(name).summary in done.stdout


def test_every_program_is_a_command():
    folder = REPOSITORY / "vaeflow" / "commands" / "programs"
    files = {path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py")}
    assert files == set(programs.NAMES)


def test_every_command_can_be_run_from_a_clone_too():
    files = {path.stem.replace("_", "-") for path in (REPOSITORY / "launch").glob("[a-z]*.py")}
    assert files == set(programs.NAMES)


@pytest.mark.parametrize("name", programs.NAMES)
def test_the_module_in_a_clone_has_the_summary_of_the_command(name):
    module = importlib.import_module(f"launch.{name.replace('-', '_')}")
    assert module.__doc__.splitlines()[0] == programs.load(name).summary


def test_the_version(script, tmp_path):
    assert run([script, "--version"], tmp_path).stdout == f"vaeflow {vaeflow.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'"),
        (["local_cluster"], "unknown command 'local_cluster'; did you mean 'local-cluster'"),
        (["zzz"], "unknown command 'zzz'; --help lists the commands"),
        ([], "a command is missing; give one of train, "),
        (["--gin_file=x"], "'--gin_file=x' is not a command; give one of train, "),
    ],
)
def test_what_is_not_a_command_is_answered_in_one_line(script, tmp_path, arguments, expected):
    done = run([script, *arguments], tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"vaeflow: error: {expected}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("prefix", ["vaeflow ", "python -m vaeflow ", "python -m launch."])
def test_help_and_errors_name_the_command_as_it_was_called(script, tmp_path, prefix):
    called = Program(prefix, "ray-train")
    start = [script] if prefix == "vaeflow " else ["-m", *prefix.split()[2:]]
    start = [*start, "ray-train"] if prefix.endswith(" ") else ["-m", "launch.ray_train"]
    text = run([*start, "--help"], tmp_path).stdout
    assert text.startswith(f"usage: {called.invocation} [flags] -- [flags of train]\n")
    assert f"\n    {called.invocation} --num_workers=2 -- " in text
    assert f"are those of `{called.spell('train')}`" in text
    error = run([*start, "--num_worker=2"], tmp_path).stderr
    assert error.startswith(f"{called.name}: error: unknown flag --num_worker; did you mean 'num_workers'")


def test_the_current_folder_hides_no_library(script, poisoned):
    for start in ([script], ["-m", "vaeflow"]):
        done = run([*start, "--help"], poisoned)
        assert (done.returncode, done.stderr) == (0, ""), start


@pytest.mark.long
def test_a_plugin_is_found_in_the_current_folder_and_nothing_else_is(script, poisoned):
    for name in ("re", "importlib", "types", "pathlib"):  # `python -m` itself needs them.
        (poisoned / f"{name}.py").write_text(POISON)
    # No program can keep Python from importing what it needs at its start, e.g. for an editable installation.
    started = run(["-c", "import sys; print(*sys.modules)"], poisoned.parent).stdout.split()
    for path in poisoned.glob("*.py"):
        if path.stem in started:
            path.unlink()
    # All three name the current folder.
    paths = ["", ".", str(poisoned)]
    done = run([script, "list", "dataset", "--plugin=own_plugin"], poisoned, paths)
    assert (done.returncode, done.stderr) == (0, "")
    assert "OwnGrid" in done.stdout


@pytest.mark.long
def test_a_library_has_precedence_over_a_plugin_of_its_name(script, poisoned):
    done = run(["-m", "vaeflow", "list", "OwnGrid", "--plugin=sklearn", "--plugin=own_plugin"], poisoned)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_clone_runs_in_its_own_folder():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for module in ("vaeflow", "launch.train"):
        command = [sys.executable, "-m", module, "--help"]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "name", "new"),
    [
        ("vaeflow.distribute", "gather", "vaeflow.devices.replicas"),
        ("vaeflow.allocator", "restart_tuned", "vaeflow.devices.allocator"),
    ],
)
def test_an_old_name_works_with_one_warning(module, name, new):
    with pytest.warns(FutureWarning, match=f"has moved; import it from {new}") as caught:
        found = getattr(importlib.import_module(module), name)
    assert len(caught) == 1
    assert found is getattr(importlib.import_module(new), name)


def test_a_module_of_an_old_name_has_nothing_else():
    with pytest.raises(AttributeError, match="no attribute 'tuned'"):
        importlib.import_module("vaeflow.allocator").tuned  # noqa: B018


def test_a_command_of_another_package_has_its_own_prefix(capsys):
    command = command_line.Command("gpu", "Measures.\n\n    vaeflow gpu", lambda values: None)
    assert command_line.main(command, ["--help"], prefix="python -m benchmarks.") == 0
    assert capsys.readouterr().out.startswith("usage: python -m benchmarks.gpu [flags]\n")
