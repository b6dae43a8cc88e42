"""What is measured of a tiny trainer, but for how fast it is."""

import numpy as np
import pytest

from tests.fixtures import tiny_runs
from vaeflow.profiling import measuring


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
def test_the_parts_of_the_time_and_the_steps(resident):
    trainer = tiny_runs.trainer(resident_data=resident)
    measured = measuring.measure(trainer, 0.05)
    assert measured["first_step_seconds"] > 0
    windows = measured["windows"]
    assert sum(window["seconds"] for window in windows) >= 0.05
    # Two single steps and the warm-up before.
    assert trainer.step > 2 + sum(window["steps"] for window in windows)
    for window in windows:
        assert window["compute_seconds"] > 0
        assert (window["input_seconds"] > 0) != resident
        assert window["compute_seconds"] + window["input_seconds"] <= window["seconds"]


@pytest.mark.slow
def test_a_trainer_knows_the_time_inside_its_calls():
    trainer = tiny_runs.trainer()
    assert trainer.call_seconds == 0
    first = trainer.train(1)
    assert 0 < trainer.call_seconds < first
    second = trainer.train(4)
    assert trainer.call_seconds < first + second


def test_the_memory_of_this_process():
    memory = measuring.peak_memory()
    assert memory["peak_gpu_memory_bytes"] is None
    held = np.ones(2**24)  # 128 MiB
    assert measuring.peak_memory()["peak_memory_bytes"] >= held.nbytes
    assert 2**27 < memory["peak_memory_bytes"] < 2**36


def test_operations_that_cannot_be_counted(monkeypatch):
    def count(trainer):
        raise ValueError("the shape (None, 3) of MatMul is not known")

    monkeypatch.setattr(measuring.flops, "training_step_flops", count)
    found = measuring.arithmetic(tiny_runs.trainer(), 0.02)
    assert found["step_flops"] is None
    assert "(None, 3)" in found["not_counted"]
    assert found["matrix_product_flops_per_second"] > 0
