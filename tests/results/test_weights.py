"""What the weight of each variant does: the record, and its table."""

import json

import numpy as np
import pytest

from results.weights import run


def test_every_row_is_trained_with_both_weights_and_all_seeds(monkeypatch, tmp_path, capsys):
    def trained(row, seed):
        return [{row.term: value + seed, "loss": 9.0} for value in row.values]

    monkeypatch.setattr(run, "trained", trained)
    assert run.main(["--seeds=0,3", f"--record={tmp_path / 'weights.json'}"]) == 0
    record = json.loads((tmp_path / "weights.json").read_text())
    assert record["seeds"] == [0, 3]
    for row, terms in zip(run.ROWS, record["terms"], strict=True):
        assert terms == [[value, value + 3] for value in row.values]
    assert capsys.readouterr().out.count("\n") == len(run.ROWS)


def test_the_table_has_mean_and_deviation():
    generator = np.random.default_rng(0)
    values = generator.normal(5, 1, size=(len(run.ROWS), 2, 3))
    lines = run.table({"terms": values.tolist()}).splitlines()
    assert lines[2].startswith("| `BetaVAE` | β 0.5, 8 | KL, nats | ")
    for line, terms in zip(lines[2:], values, strict=True):
        for cell, seeds in zip(line.strip("| ").split(" | ")[3:], terms, strict=True):
            mean, _, deviation = cell.partition(" (")[0].partition(" ± ")
            assert float(mean) == pytest.approx(seeds.mean(), abs=0.051)
            assert float(deviation) == pytest.approx(seeds.std(ddof=1), abs=0.051)


@pytest.mark.slow
def test_a_seed_trains_to_the_recorded_terms():
    row = next(row for row in run.ROWS if row.model == "`InfoVAE`")
    record = json.loads(run.RECORD.read_text("utf-8"))
    recorded = record["terms"][run.ROWS.index(row)]
    for metrics, terms in zip(run.trained(row, record["seeds"][1]), recorded, strict=True):
        # Another processor rounds otherwise, and a term near 0 is the difference of larger numbers.
        assert metrics[row.term] == pytest.approx(terms[1], rel=0.05, abs=0.01)
