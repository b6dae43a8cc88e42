"""Asking a process: the watchdog of the one that asks leaves the other to its own."""

import pytest

from tests.fixtures.watched_programs import run

ASKING = """
        import os
        from vaeflow.runs import asking

        with watchdog(limit_seconds=0.3):
            print(asking.ask("tests.fixtures.slow_answer", {"seconds": 1.0}, "a process", os.environ))
"""


@pytest.mark.slow
@pytest.mark.processes
def test_an_answer_may_take_longer_than_progress_may(tmp_path):
    code, out, error = run(tmp_path, ASKING)
    assert (code, out, error) == (0, "answered\n", "")


@pytest.mark.slow
@pytest.mark.processes
def test_what_follows_the_answer_is_watched_again(tmp_path):
    code, _, error = run(tmp_path, ASKING + "            busy()\n")
    assert code == 4
    assert "no progress for 0 s in what a process answered; " in error
