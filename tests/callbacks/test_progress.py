"""The callback that shows how far a run is: a bar in a terminal, plain lines elsewhere."""

import io
import os
import re
import signal
import sys
import time

import pytest

from tests.fixtures import tiny_runs
from tests.fixtures.terminals import screens, terminal
from vaeflow.callbacks import Callback, Evaluation, Progress, progress
from vaeflow.errors import Preempted


@pytest.mark.slow
def test_a_bar_in_a_terminal(tmp_path, monkeypatch):
    with terminal(monkeypatch) as written:
        tiny_runs.train(tmp_path, callbacks=[Progress(), Evaluation(20)])
    shown = screens(written())
    facts, first, second, *_ = [rows[-1] for rows in dict.fromkeys(map(tuple, shown)) if rows]
    evaluation, last, summary = shown[-1][5:8]
    assert written().startswith("model         VAE")
    assert facts.startswith("compile mode")
    assert first.startswith("█" * 5 + "░" * 15 + "  step 5/20  ")
    assert "images/s" in first
    assert "0:0" not in first
    assert re.match("█{10}░{10}  step 10/20  epoch 2.00  [0-9,]+ images/s  0:0[0-9] left  loss ", second)
    assert re.search(r"  loss \d+\.\d\d?  reconstruction_loss \d+\.\d\d?  kl \d", second)
    assert last.startswith("█" * 20 + "  step 20/20")
    assert re.match(r"evaluation at step 20  negative_elbo 4\d\.\d+  reconstruction_loss ", evaluation)
    assert re.match(
        r"finished at step 20  epoch 4.00  0:\d\d in all  [0-9,]+ images/s  negative_elbo 4", summary
    )


@pytest.mark.long
@pytest.mark.parametrize("columns", [40, 80])
def test_every_number_is_whole_on_a_narrow_terminal(tmp_path, monkeypatch, columns):
    with terminal(monkeypatch, columns) as written:
        tiny_runs.train(tmp_path, callbacks=[Evaluation(10), Progress()])
    rows = screens(written())[-1][5:]
    assert max(map(len, rows)) <= columns
    text = " ".join(rows)
    for line in tiny_runs.metrics_lines(tmp_path)[1::2]:
        for name in ("negative_elbo", "kl"):
            shown = f"{name} {line[f'evaluation/{name}']:.2f}".removesuffix(".00")
            assert re.search(rf"evaluation at step {line['step']} .*{re.escape(shown)}\b", text)


def test_the_terms_of_the_model_and_nothing_else_are_shown():
    metrics = {"train/loss": 3.0, "train/mmd": -0.001, "train/mmd_weight": 10.0, "train/gradient_norm": 2.0}
    assert progress._terms(metrics) == ["loss 3", "mmd 0"]


@pytest.mark.slow
def test_the_prompt_of_the_shell_comes_below_the_bar(tmp_path, monkeypatch):
    with terminal(monkeypatch) as written:
        tiny_runs.train(tmp_path, callbacks=[Progress()])
        print("$", end="", file=sys.stderr)
    assert screens(written())[-1][-1] == "$"


@pytest.mark.slow
def test_plain_lines_without_a_terminal(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    tiny_runs.train(tmp_path, callbacks=[Progress(every_seconds=0)])
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[5:]] == [
        *(f"step {step}/20" for step in (5, 10, 15, 20)),
        "finished at step 20",
    ]
    facts = {line.split("  ")[0]: line for line in lines[:5]}
    assert "VAE, 1,156 weights, 2 latents, float32" in facts["model"]
    assert "40 training and 11 evaluation images of 8 x 8 x 1, uint8, on the device" in facts["data"]
    assert "\033" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
    assert "█" not in stream.getvalue()


@pytest.mark.slow
def test_plain_lines_are_rare_but_the_last_step_has_one(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    tiny_runs.train(tmp_path, steps_per_loop=1, callbacks=[Progress(every_seconds=1000)])
    steps = [line.split("  ")[0] for line in stream.getvalue().splitlines() if line.startswith("step")]
    assert steps == ["step 1/20", "step 20/20"]


@pytest.mark.slow
def test_a_run_stopped_early_leaves_the_line(tmp_path, monkeypatch):
    class Terminate(Callback):
        def on_log(self, run, metrics):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)

    with terminal(monkeypatch) as written:
        with pytest.raises(Preempted):
            tiny_runs.train(tmp_path, callbacks=[Progress(), Terminate()])
        print("$", end="", file=sys.stderr)
    assert "step 5/20" in screens(written())[-1][-3]
    assert screens(written())[-1][-2].startswith("stopped at step 5  epoch 1.00")
    assert screens(written())[-1][-1] == "$"
