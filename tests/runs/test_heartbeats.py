"""The workers' knowledge of each other, with a clock that the tests move."""

import json

import pytest

from vaeflow.devices.workers import Workers
from vaeflow.runs.heartbeats import Heartbeats

ADDRESSES = ("a:1", "b:2", "c:3")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(tmp_path, clock):
    """Starts a worker by its index: it looks, then beats, as the watchdog does."""

    def start(index, size=2):
        worker = Heartbeats(tmp_path, Workers(ADDRESSES[:size], index), clock)
        worker.look()
        worker.beat("the start")
        return worker

    return start


def go_on(*workers, times=3):
    """Lets workers beat and look in turn, and join as soon as all are there."""
    for _ in range(times):
        for worker in workers:
            worker.beat("step 1")
            worker.look()
            if worker._joined is None and not worker.missing():
                worker.join()


@pytest.fixture
def pair(start):
    workers = start(0), start(1)
    go_on(*workers)
    workers[0].look()
    return workers


def content(folder, index):
    return json.loads((folder / "workers" / f"{index}.json").read_text())


def test_a_beat_says_who_and_what(start, tmp_path):
    worker = start(1)
    first = content(tmp_path, 1)
    worker.beat("step 7")
    second = content(tmp_path, 1)
    assert first["address"] == "b:2"
    assert first["doing"] == "the start"
    assert second["doing"] == "step 7"
    assert second["beat"] == first["beat"] + 1
    assert second["start"] == first["start"]
    assert {"pid", "host", "time"} <= first.keys()
    assert "ended" not in second
    assert [path.name for path in (tmp_path / "workers").iterdir()] == ["1.json"]


def test_workers_find_each_other(start):
    one, other = start(0), start(1)
    assert one.missing() == [1]
    assert other.missing() == [0]
    go_on(one, other)
    assert one.missing() == []
    assert other.missing() == []
    assert one.problem(30) is None
    assert other.problem(30) is None


def test_of_three_the_one_that_never_came_is_missing(start):
    workers = start(0, size=3), start(2, size=3)
    go_on(*workers)
    assert workers[0].missing() == [1]
    assert workers[1].missing() == [1]
    assert workers[0].problem(30) is None


def test_what_an_earlier_job_left_is_no_worker(start, pair):
    go_on(*pair)
    again = start(0)
    again.look()
    assert again.missing() == [1]


def test_a_worker_of_the_earlier_job_that_still_runs_is_not_joined(start, pair):
    _, old = pair
    new = start(0)
    # It beats on, and has seen the new start: but it belongs to another job.
    go_on(old, new)
    assert new.missing() == [1]
    assert str(old.problem(30)) == "worker 0 (a:1) was restarted without the others"

    old.beat("the end", ended=4, reason="the other was started anew")
    new.look()
    assert new.missing() == [1]
    assert new.problem(30) is None
    go_on(start(1), new)
    assert new.missing() == []


def test_a_silent_worker_is_named(pair, clock):
    one, other = pair
    clock.now = 29
    one.look()
    assert one.problem(30) is None
    clock.now = 31
    one.look()
    assert str(one.problem(30)) == "worker 1 (b:2) has not been heard of for 31 s"
    other.beat("step 2")
    one.look()
    assert one.problem(30) is None


def test_the_clock_of_the_other_machine_does_not_count(pair, clock, monkeypatch, tmp_path):
    one, other = pair
    monkeypatch.setattr("vaeflow.runs.heartbeats.time.time", lambda: 0.0)  # 1970.
    other.beat("step 2")
    assert content(tmp_path, 1)["time"] == 0
    one.look()
    assert one.problem(30) is None


@pytest.mark.parametrize("code", [0, 42])
def test_a_worker_that_ended_regularly_is_not_lost(pair, clock, start, code):
    one, other = pair
    other.beat("the end", ended=code)
    one.look()
    clock.now = 100
    one.look()
    assert one.problem(30) is None
    # Its launcher may start it anew before this worker ends.
    start(1).beat("the start", ended=4)
    one.look()
    assert one.problem(30) is None


@pytest.mark.parametrize("code", [1, 2, 3, 4, 130])
def test_a_worker_that_failed_is_named_with_its_reason(pair, code):
    one, other = pair
    other.beat("the end", ended=code, reason="the disk is full")
    one.look()
    assert str(one.problem(30)) == f"worker 1 (b:2) ended with code {code}: the disk is full"
    other.beat("the end", ended=code)
    one.look()
    assert str(one.problem(30)) == f"worker 1 (b:2) ended with code {code}"


@pytest.mark.parametrize(("code", "own"), [(1, 4), (2, 2), (3, 3), (4, 4), (5, 5), (130, 4)])
def test_a_failure_that_would_repeat_has_the_same_code_here(pair, code, own):
    one, other = pair
    other.beat("the end", ended=code)
    one.look()
    assert one.problem(30).exit_code == own


def test_the_code_of_an_earlier_job_is_not_taken(start):
    start(1, size=3).beat("the end", ended=2)
    one, other = start(0, size=3), start(2, size=3)
    go_on(one, other)
    other.beat("the end", ended=3)
    one.look()
    assert one.problem(30).exit_code == 3


@pytest.mark.parametrize(("code", "final"), [(2, True), (3, True), (4, False), (1, False), (42, False)])
def test_before_all_have_come_only_a_lasting_failure_counts(start, code, final):
    one, other = start(0), start(1)
    go_on(other, one, times=1)
    other.beat("the end", ended=code)
    one.look()
    assert (one.problem(30) is not None) == final
    assert one.missing() == [1]


def test_a_worker_that_ended_as_soon_as_all_had_come_is_not_waited_for(start):
    one, other = start(0), start(1)
    go_on(one, other, times=1)
    one.beat("the start")
    go_on(other, times=1)
    assert other._joined is not None
    assert one.missing() == [1]
    other.beat("the end", ended=4)
    go_on(one, times=1)
    assert str(one.problem(30)) == "worker 1 (b:2) ended with code 4"


def test_all_lost_workers_are_named(start, clock):
    workers = [start(index, size=3) for index in range(3)]
    go_on(*workers)
    workers[1].beat("the end", ended=3)
    workers[0].look()
    clock.now = 40
    workers[0].look()
    assert str(workers[0].problem(30)) == (
        "worker 1 (b:2) ended with code 3; worker 2 (c:3) has not been heard of for 40 s"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"start": 1}', '{"sees": []}', "\udcff"])
def test_a_damaged_file_is_like_silence(pair, clock, tmp_path, text):
    one, _ = pair
    (tmp_path / "workers" / "1.json").write_bytes(text.encode(errors="surrogateescape"))
    clock.now = 31
    one.look()
    assert str(one.problem(30)) == "worker 1 (b:2) has not been heard of for 31 s"
    (tmp_path / "workers" / "1.json").unlink()
    one.look()
    assert one.problem(30) is not None
