"""How a measuring process ends, and what is told of it; the process here is a script."""

import sys

import pytest

from vaeflow.errors import ConfigurationError, EnvironmentFailure, TrainingDiverged
from vaeflow.profiling.cases import Case
from vaeflow.profiling.processes import Measurer


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Measures with a script, in Python, in place of the process: `request`, and `answer(…)`."""

    def measure(script, **arguments):
        python = tmp_path / "python"
        python.write_text(
            f"#!{sys.executable}\nimport json, os, sys\nrequest = json.load(open(sys.argv[-2]))\n"
            f"def answer(content): json.dump(content, open(sys.argv[-1], 'w'))\n{script}\n"
        )
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        case = Case((("batch_size", 8),), devices=2)
        return Measurer("a.gin", ("plugin",), 1.5).measure(case, **arguments)

    return measure


def test_what_it_is_asked(measure):
    asked = measure("answer({'answer': request})", arithmetic=True)
    assert asked == {
        "configuration": "a.gin", "plugins": ["plugin"], "seconds": 1.5, "virtual": False,
        "settings": {"batch_size": 8}, "devices": 2, "arithmetic": True, "trace": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "expected"), [(2, ConfigurationError), (3, TrainingDiverged), (4, EnvironmentFailure)]
)
def test_an_error_keeps_its_message_and_code(measure, code, expected):
    with pytest.raises(expected, match=r"^out of memory: OOM$") as caught:
        measure(f"answer({{'error': 'out of memory: OOM'}}); sys.exit({code})")
    assert caught.value.exit_code == code


def test_the_place_in_the_file_that_was_written_for_it_is_left_out(measure):
    with pytest.raises(ConfigurationError, match=r"^`VAE.num_latents` must be positive$"):
        measure("answer({'error': 'a.gin:12: `VAE.num_latents` must be positive'}); sys.exit(2)")


def test_a_process_that_is_killed(measure):
    with pytest.raises(EnvironmentFailure, match=r"was killed .SIGKILL., as Linux does when memory runs out"):
        measure("os.kill(os.getpid(), 9)")


def test_a_process_that_crashes(measure):
    with pytest.raises(EnvironmentFailure, match=r"ended with SIGSEGV: the last words$"):
        measure("print('the last words', flush=True); os.kill(os.getpid(), 11)")


def test_a_defect(measure):
    with pytest.raises(
        EnvironmentFailure, match=r"ended with code 1: .*ZeroDivisionError: division by zero$"
    ):
        measure("1 / 0")


def test_a_process_that_says_nothing(measure):
    with pytest.raises(EnvironmentFailure, match="ended with code 0"):
        measure("pass")
