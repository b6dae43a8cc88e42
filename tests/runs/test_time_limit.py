"""The time limit of a process: what is expected to take as long as the last time must end in it."""

import time

import pytest

from vaeflow.runs.time_limit import SAVE, TimeLimit


@pytest.fixture
def clock(monkeypatch):
    """The time, which the test sets."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def take(limit, clock, work, seconds):
    with limit.timing(work):
        clock[0] += seconds


def test_what_took_long_the_last_time_must_fit_before_the_save_and_the_reserve(clock):
    limit = TimeLimit(100.0, started=990.0)  # Ends at 1090, less the reserve of 5.
    take(limit, clock, "evaluation", 30.0)
    take(limit, clock, SAVE, 10.0)  # 1040 now.
    assert limit.leaves_time_for("evaluation")
    clock[0] += 4.9
    assert limit.leaves_time_for("evaluation")
    clock[0] += 0.2
    assert not limit.leaves_time_for("evaluation")
    assert limit.leaves_time_for("steps")
    take(limit, clock, "evaluation", 10.0)
    assert limit.leaves_time_for("evaluation")


def test_the_reserve_is_half_a_minute_at_most(clock):
    limit = TimeLimit(10_000.0, started=1000.0)
    clock[0] = 10_969.0
    assert limit.leaves_time_for("steps")
    clock[0] = 10_971.0
    assert not limit.leaves_time_for("steps")
