"""The one table of exit codes."""

import signal

import pytest
from gin import utils as gin_utils

from vaeflow import errors


def error_classes(base=errors.RunError):
    """Lists a class and its subclasses in vaeflow.errors."""
    below = [each for each in base.__subclasses__() if each.__module__ == errors.__name__]
    return [base, *(found for each in below for found in error_classes(each))]


def test_every_error_has_its_exit_code_in_the_table():
    assert {each("it failed").exit_code for each in error_classes()} <= {
        code.number for code in errors.EXIT_CODES
    }


@pytest.mark.parametrize("attribute", ["number", "name", "meaning"])
def test_no_two_rows_are_alike(attribute):
    values = [getattr(code, attribute) for code in errors.EXIT_CODES]
    assert len(set(values)) == len(values)


def test_what_another_start_would_repeat():
    """A bad configuration, a diverged training, and a run that is not what it says."""
    assert {2, 3, 5} == errors.FINAL_ENDS


def test_a_finished_and_a_preempted_worker_have_not_failed():
    assert {0, 42} == errors.REGULAR_ENDS


def test_an_interrupted_command_ends_as_the_shell_expects():
    assert 128 + signal.SIGINT == errors.INTERRUPTED


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_lost_worker_has_its_exit_code_also_where_gin_raises_it_again(code):
    """gin raises an object of another class in its place, which lacks what was set in the first."""

    lost = errors.WorkerLost("worker 1 ended", code)
    with pytest.raises(errors.WorkerLost, match="worker 1 ended in a call") as caught:
        gin_utils.augment_exception_message_and_reraise(lost, " in a call")
    assert caught.value.exit_code == code
