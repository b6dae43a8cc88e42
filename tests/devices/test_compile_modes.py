"""The choice of the compile mode and of the place for the data."""

import types

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.devices import compile_modes
from vaeflow.errors import ConfigurationError


def strategy_of(num_replicas):
    return types.SimpleNamespace(num_replicas_in_sync=num_replicas)


@pytest.mark.parametrize("mode", ["none", "step", "loop"])
def test_a_mode_that_works_is_kept(mode):
    assert compile_modes.resolve(mode, strategy_of(1), resident=True) == mode


def test_a_compiled_loop_is_refused_on_several_replicas_and_compiled_steps_are_not():
    with pytest.raises(ConfigurationError, match=r"compile_mode` 'loop' works on one replica only.* are 2;"):
        compile_modes.resolve("loop", strategy_of(2), resident=True)
    assert compile_modes.resolve("step", strategy_of(2), resident=True) == "step"


def test_a_compiled_loop_needs_resident_data():
    with pytest.raises(ConfigurationError, match="'loop' needs the data on the device"):
        compile_modes.resolve("loop", strategy_of(1), resident=False)
    assert compile_modes.resolve("step", strategy_of(1), resident=False) == "step"


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"`train.compile_mode` must be one of 'auto', .*; got 'xla'"):
        compile_modes.resolve("xla", strategy_of(1), resident=True)


@pytest.mark.parametrize(
    ("num_replicas", "resident", "capabilities", "expected"),
    [
        (2, True, [], "none"),
        (8, True, [(9, 0)] * 8, "none"),
        (1, True, [], "none"),
        (1, False, [], "none"),
        (1, True, [(9, 0)], "loop"),
        (1, False, [(8, 6)], "step"),
        (1, True, [None], "loop"),  # Of AMD's, which TensorFlow does not know.
        (1, True, [(10, 0)], "none"),
        (1, False, [(12, 0)], "none"),
    ],
)
def test_what_auto_chooses(monkeypatch, num_replicas, resident, capabilities, expected):
    def details(gpu):
        return {} if gpu is None else {"compute_capability": gpu}

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: capabilities)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    assert compile_modes.resolve("auto", strategy_of(num_replicas), resident) == expected


def split_holding(array):
    return types.SimpleNamespace(array=array)


def array_of_bytes(count):
    """An array of that size that takes no memory."""
    return np.broadcast_to(np.uint8(0), (count, 1, 1, 1))


@pytest.mark.parametrize(
    ("resident_data", "array", "expected"),
    [
        ("auto", array_of_bytes(10), True),
        ("auto", array_of_bytes(2**30 // 4), True),
        ("auto", array_of_bytes(2**30 // 4 + 1), False),
        ("auto", None, False),
        (True, array_of_bytes(2**30 + 1), True),
        (False, array_of_bytes(10), False),
        (False, None, False),
    ],
)
def test_where_the_data_is_held(monkeypatch, resident_data, array, expected):
    monkeypatch.setattr(compile_modes.memory, "available_bytes", lambda: 2**30)
    assert compile_modes.resolve_residency(resident_data, split_holding(array)) is expected


def test_data_that_is_not_in_memory_cannot_be_resident():
    with pytest.raises(ConfigurationError, match="resident_data` is True, but this dataset is not held"):
        compile_modes.resolve_residency(True, split_holding(None))


@pytest.mark.parametrize("resident_data", ["yes", 1, 0.0, None])
def test_where_the_data_is_held_is_a_boolean_or_auto(resident_data):
    with pytest.raises(ValueError, match="resident_data` must be True, False or 'auto', got"):
        compile_modes.resolve_residency(resident_data, split_holding(array_of_bytes(10)))
