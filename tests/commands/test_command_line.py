"""Flags, help and exit codes, as a user's shell sees them."""

import os
import subprocess
import sys

import pytest

from tests.fixtures import commands, own_code
from tests.fixtures.commands import FIXTURES, REPOSITORY
from vaeflow.commands import command_line, programs
from vaeflow.commands.command_line import Command
from vaeflow.commands.programs import train
from vaeflow.errors import ConfigurationError, DataError, Preempted, TrainingDiverged

pytestmark = pytest.mark.processes

GIVEN = "rehearse.data = @ToyGrid()\nToyGrid.width = 3\n"
COMMANDS = sorted(path.stem for path in (REPOSITORY / "launch").glob("[a-z]*.py"))


def run(arguments, folder, timeout_seconds=60):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(FIXTURES)])}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )


def rehearse(folder, *arguments):
    return run([str(FIXTURES / "run_rehearse.py"), *arguments], folder)


def rehearse_forked(folder, *arguments):
    """The same for what gets so far that TensorFlow is imported."""
    return commands.Command("run_rehearse", arguments, folder).finish()


RESUMES = "the same command in the same folder {}; default: runs/<name of the gin file>."


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("train", f"The work folder of the run: {RESUMES.format('resumes')}"),
        (
            "encode",
            "The work folder of the run; default: the one of the checkpoint, if --checkpoint is a path.",
        ),
        ("verify", "The work folder of the run."),
        ("study", f"The folder of the study: {RESUMES.format('goes on')}"),
        ("benchmark", "The folder of the report; default: runs/benchmark-<name of the gin file>."),
    ],
)
def test_help_says_what_the_folder_of_this_command_is(name, meaning):
    _, said = command_line.help_text(programs.load(name)).split("  --workdir=…\n")
    assert " ".join(said.partition("\n  --")[0].split()) == meaning


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_prints_usage_and_flags_without_tensorflow(command, flag, tmp_path):
    result = run(["-X", "importtime", "-m", f"launch.{command}", flag], tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: python -m launch.{command}")
    assert "--plugin=…" in result.stdout or command in (
        "local_cluster",
        "ray_train",
        "record",
        "push",
        "pull",
    )
    assert "--logtostderr" not in result.stdout  # absl's own flags
    assert max(map(len, result.stdout.splitlines())) <= 110
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "gin" in imported
    assert not {"tensorflow", "keras"} & imported


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--gin_fil=x"], "unknown flag --gin_fil; did you mean 'gin_file'"),
        (["--zzzzzz"], "unknown flag --zzzzzz; --help lists the flags"),
        (["--virtual_devices=two"], "--virtual_devices=two: invalid literal"),
        (["--virtual_devices=0"], "--virtual_devices=0"),
        (["--allow_config_change=perhaps"], "--allow_config_change=perhaps"),
        (["--gin_param"], "Missing value for flag --gin_param"),
        (["x.gin"], "'x.gin' is not a flag; write --gin_file=… or --gin_param='…'"),
    ],
)
def test_bad_flags_end_with_exit_code_2_and_one_line(tmp_path, arguments, expected):
    result = rehearse(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("vaeflow rehearse: error: ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_good_command(tmp_path):
    (tmp_path / "x.gin").write_text(GIVEN + "ToyGrid.corner = @ToyCorner()\n")
    result = rehearse(tmp_path, "--gin_file=x.gin", "--gin_param=rehearse.num_steps = 7")
    assert (result.returncode, result.stderr) == (0, "")
    assert "'num_steps': 7" in result.stdout


@pytest.mark.long
def test_both_spellings_of_a_parameter_keep_their_order(tmp_path):
    (tmp_path / "x.gin").write_text(GIVEN)
    result = rehearse_forked(
        tmp_path,
        "--gin_file=x.gin",
        "--gin_param=rehearse.num_steps = 7",
        "--gin_bindings=rehearse.num_steps = 8",
        "--gin_param=ToyGrid.height = 1",
        "--gin_bindings=ToyGrid.height = 2",
        "--gin_param=ToyGrid.height = 3",
    )
    assert "rehearse.num_steps = 8" in result.out
    assert "ToyGrid.height = 3" in result.out


def test_a_configuration_error_has_no_traceback(tmp_path):
    (tmp_path / "x.gin").write_text(GIVEN + "ToyGrid.hieght = 3\n")
    result = rehearse_forked(tmp_path, "--gin_file=x.gin")
    assert result.code == 2
    assert result.error == (
        "vaeflow rehearse: error: x.gin:3: `ToyGrid.hieght = 3`: `ToyGrid` has no parameter 'hieght'; "
        "did you mean 'height'?"
    )


def test_a_bad_value_has_no_traceback(tmp_path):
    (tmp_path / "x.gin").write_text(GIVEN)
    result = rehearse_forked(tmp_path, "--gin_file=x.gin", "--gin_param=ToyGrid.width = 0")
    assert result.code == 2
    assert "error: --gin_param='ToyGrid.width = 0': `ToyGrid.width` must be a positive" in result.error
    assert "Traceback" not in result.error


def test_a_defect_keeps_its_traceback():
    run = own_code.function("def run(flags): raise ValueError('a defect')")
    with pytest.raises(ValueError, match="a defect"):
        command_line.main(Command("train", "Fails.", run), [])


def test_a_fault_in_the_users_code_is_one_message(capsys):
    def fail(flags):
        return {}["nothing"]

    assert command_line.main(Command("train", "Fails.", fail), []) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "vaeflow train: error: `test_a_fault_in_the_users_code_is_one_message.fail` fails: KeyError"
    )
    assert second.endswith('return {}["nothing"]')


@pytest.mark.parametrize(
    "text",
    [
        "import gin_canary",
        "from __gin__ import dynamic_registration\nimport gin_canary",
        "include 'nested.gin'",
        "include '../outside/canary.gin'",
        "include 'link.gin'",
        "include {outside!r}",
    ],
)
def test_a_malicious_file_runs_nothing(tmp_path, text):
    here, outside = tmp_path / "here", tmp_path / "outside"
    here.mkdir()
    outside.mkdir()
    (outside / "canary.gin").write_text("import gin_canary")
    (here / "nested.gin").write_text("import gin_canary")
    (here / "link.gin").symlink_to(outside / "canary.gin")
    (here / "x.gin").write_text(GIVEN + text.format(outside=str(outside / "canary.gin")))
    result = rehearse(here, "--gin_file=x.gin")
    assert result.returncode == 2
    assert "refused" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (here / "canary").exists()


def test_the_canary_sings_when_it_is_trusted(tmp_path):
    (tmp_path / "x.gin").write_text(GIVEN + "import gin_canary")
    result = rehearse_forked(tmp_path, "--gin_file=x.gin", "--plugin=gin_canary")
    assert result.code == 0
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (ConfigurationError("m"), 2, "error"),
        (TrainingDiverged("m"), 3, "error"),
        (DataError("m"), 4, "error"),
        (Preempted("m"), 42, "preempted"),
    ],
)
def test_exit_codes(error, code, kind, capsys):
    def fail(flags):
        raise error

    assert command_line.main(Command("train", "Fails.", fail), []) == code
    assert capsys.readouterr().err == f"vaeflow train: {kind}: m\n"


def test_what_a_command_returns_is_its_exit_code():
    assert command_line.main(Command("x", "", lambda flags: None), []) == 0
    assert command_line.main(Command("x", "", lambda flags: 5), []) == 5


def test_the_work_folder_is_named_after_the_first_file():
    def workdir(*arguments):
        return command_line.workdir(command_line.parse(train.COMMAND, list(arguments))[0])

    assert workdir("--gin_file=a/conv_vae.gin", "--gin_file=b.gin") == "runs/conv_vae"
    assert workdir("--gin_file=a/conv_vae.gin", "--workdir=w") == "w"
    with pytest.raises(ConfigurationError, match="give --gin_file"):
        workdir()


# What TensorFlow does, and what a plug-in may have registered.
SLOW_TO_DIE = """
import atexit, functools, time
from vaeflow.commands import command_line
from vaeflow.runs import ending

class Iterator:
    def __del__(self):
        time.sleep(100)

def run(flags):
    atexit.register(print, "registered", end="")
    {end}

iterator = Iterator()
command = command_line.Command("x", "Dies slowly.", run)
ending.run_and_exit(functools.partial(command_line.main, command, [], "vaeflow "))
"""


@pytest.mark.parametrize(("end", "code"), [("pass", 0), ("return 42", 42)])
def test_a_process_ends_without_its_destructors(tmp_path, end, code):
    result = run(["-c", SLOW_TO_DIE.format(end=end)], tmp_path, timeout_seconds=50)
    assert (result.returncode, result.stdout, result.stderr) == (code, "registered", "")
