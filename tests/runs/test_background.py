"""Work in a thread: one piece at a time, and nothing that it raises is lost."""

import functools
import threading
import time

import pytest

from vaeflow.runs.background import Background


@pytest.fixture
def background():
    return Background("work")


def fail():
    raise ValueError("broken")


def test_the_caller_goes_on_while_the_work_is_done(background):
    may_end, ended = threading.Event(), threading.Event()
    background.start(lambda: (may_end.wait(60), ended.set()))
    background.check()
    assert not ended.is_set()
    may_end.set()
    background.wait()
    assert ended.is_set()


def test_the_next_work_begins_when_the_one_before_is_done(background):
    done = []

    def work(number):
        done.append(("begins", number))
        time.sleep(0.01)
        done.append(("ends", number))

    for number in range(3):
        background.start(functools.partial(work, number))
    background.wait()
    assert done == [(what, number) for number in range(3) for what in ("begins", "ends")]


@pytest.mark.parametrize("then", [Background.wait, lambda background: background.start(fail)])
def test_what_the_work_raised_is_raised_once(background, then):
    background.start(fail)
    with pytest.raises(ValueError, match="broken"):
        then(background)
    background.wait()
    background.check()


def test_a_check_raises_only_when_the_work_is_done(background):
    may_end = threading.Event()
    background.start(lambda: (may_end.wait(60), fail()))
    background.check()
    may_end.set()
    background._thread.join()
    with pytest.raises(ValueError, match="broken"):
        background.check()
