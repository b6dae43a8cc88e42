"""How loops are cut: into seconds where steps are slow, and not at all where they are quick."""

import pytest

from tests.fixtures.threads import Threads
from vaeflow.devices import replicas
from vaeflow.training import pace
from vaeflow.training.pace import Pace

STRATEGY = object()


def parts(pace, num_steps, seconds_of):
    """Trains a loop in thought; returns its parts."""
    found = []
    while (left := num_steps - sum(found)) > 0:
        found.append(pace.next_part(left))
        pace.note(found[-1], seconds_of(found[-1]))
    return found


def test_a_quick_model_soon_trains_a_loop_in_one_part():
    own = Pace(STRATEGY)
    first = parts(own, 100, lambda steps: 0.001 * steps + (20.0 if own._num_steps == 0 else 0.0))
    assert first[:5] == [1, 1, 2, 4, 8]
    assert len(first) <= 8
    assert [parts(own, 100, lambda steps: 0.001 * steps) for _ in range(3)] == [[100]] * 3


def test_a_part_of_a_slow_model_takes_seconds():
    own = Pace(STRATEGY)
    parts(own, 100, lambda steps: 0.2 * steps)
    later = parts(own, 100, lambda steps: 0.2 * steps)
    assert later == [20] * 5
    assert pace._PART_SECONDS == 0.2 * 20


def test_a_part_is_a_step_at_least():
    assert parts(Pace(STRATEGY), 3, lambda steps: 60.0 * steps) == [1, 1, 1]


def test_no_part_is_longer_than_all_before():
    """Batches were waiting: the first steps tell nothing of the rest."""
    found = parts(Pace(STRATEGY), 1000, lambda steps: 0.0)
    assert all(part <= max(1, sum(found[:place])) for place, part in enumerate(found))


def test_steps_that_become_slower_or_quicker_are_noticed():
    own = Pace(STRATEGY)
    parts(own, 1000, lambda steps: 0.01 * steps)
    own.note(10, 10.0)
    assert own.next_part(1000) == 4
    own.note(4, 0.04)
    assert own.next_part(1000) == 334  # 400 would fit: three equal parts.


@pytest.mark.parametrize("seconds_per_step", [(0.2, 0.3), (0.001, 3.0), (10.0, 0.0)])
def test_workers_agree_on_every_part(monkeypatch, seconds_per_step):
    threads = Threads(2)
    monkeypatch.setattr(replicas, "mean_over_workers", threads.mean)

    def work(index):
        own = Pace(strategy=index)
        return [parts(own, 100, lambda steps: seconds_per_step[index] * steps) for _ in range(2)]

    one, other = threads.run(work)
    assert one == other
    assert [sum(loop) for loop in one] == [100, 100]


def paced(seconds_per_step, num_steps=100):
    own = Pace(STRATEGY)
    own.note(num_steps, seconds_per_step * num_steps)
    return own


def test_a_loop_begins_ahead_where_a_signal_can_wait_for_two():
    assert paced(0.01).next_ahead(100, under_way=100) == 100
    assert paced(0.02).next_ahead(100, under_way=100) == 100
    assert paced(0.021).next_ahead(100, under_way=100) == 0
    assert paced(0.021).next_ahead(50, under_way=100) == 50


def test_no_loop_begins_ahead_before_a_step_was_noted():
    assert Pace(STRATEGY).next_ahead(100, under_way=1) == 0


def test_what_begins_ahead_is_no_longer_than_what_was_noted():
    assert paced(0.001, num_steps=3).next_ahead(100, under_way=4) == 3
