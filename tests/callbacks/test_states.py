"""The states of callbacks: kept in each checkpoint, and given back to a resumed run."""

import pytest

from tests.callbacks.test_early_stopping import Stop
from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Checkpoints, states
from vaeflow.errors import ConfigurationError, Preempted
from vaeflow.runs.checkpoints import CheckpointStore


class Counter(Callback):
    """Counts its logs; calls no constructor of its base, as a user's might not."""

    def __init__(self):
        self.begun_with = None

    def on_train_begin(self, run):
        self.begun_with = dict(self.state)

    def on_log(self, run, metrics):
        self.state["logs"] = self.state.get("logs", 0) + 1


def with_state(state):
    callback = Counter()
    callback.state = state
    return callback


def train(folder, *callbacks):
    with tiny_runs.untraced():
        tiny_runs.train(folder, num_steps=3, steps_per_loop=1, callbacks=list(callbacks))


@pytest.mark.long
def test_a_resumed_run_gives_each_callback_its_own_state(tmp_path):
    with pytest.raises(Preempted):
        train(tmp_path, Counter(), Stop(2), Counter(), Checkpoints(1))
    record = CheckpointStore(tmp_path / "checkpoints").record(2)
    assert record["callbacks"] == {"Counter": {"logs": 2}, "Counter-2": {"logs": 2}}
    counter = Counter()
    train(tmp_path, counter, Counter(), Checkpoints(1))
    assert counter.begun_with == {"logs": 2}
    assert counter.state == {"logs": 3}


@pytest.mark.long
@pytest.mark.slow
def test_a_callback_that_serves_two_runs_begins_the_second_without_a_state(tmp_path):
    counter = Counter()
    for name in "ab":
        train(tmp_path / name, counter)
        assert counter.begun_with == {}


def test_what_is_given_is_a_copy():
    saved, callback = {"Counter": {"list": [1]}}, Counter()
    states.give([callback], saved)
    callback.state["list"].append(2)
    assert saved == {"Counter": {"list": [1]}}
    assert states.collected([callback]) == {"Counter": {"list": [1, 2]}}


@pytest.mark.parametrize(
    "state", [{"a": (1, 2)}, {1: "a"}, {"a": float("nan")}, {"a": object()}, ["a"], {"a": {1, 2}}]
)
def test_what_json_would_change_is_refused(state):
    with pytest.raises(ConfigurationError, match=r"`Counter.state` must be plain JSON \(numbers"):
        states.collected([with_state(state)])


def test_a_callback_with_a_state_after_the_one_that_saves_is_refused():
    with pytest.raises(ConfigurationError, match="must list Counter before Checkpoints"):
        states.collected([Checkpoints(), with_state({"a": 1})])
    assert states.collected([Checkpoints(), with_state({})]) == {}
