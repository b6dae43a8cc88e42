"""The comparison of a study's runs: who is compared, what is left out, and where the figures are."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from tests.fixtures import study_outcomes
from vaeflow.commands.studies import comparisons
from vaeflow.commands.studies.report import choices, findings
from vaeflow.errors import ConfigurationError
from vaeflow.metrics.disentanglement import UDR, Comparison

SOURCES = np.random.default_rng(0).normal(size=(500, 2))


class Peers(Comparison):
    """Names how many runs there are, and which of them each is."""

    def compare(self, runs):
        return [{"peers": len(runs), "first_code": run.codes[0, 0]} for run in runs]

    def conditions(self):
        return ["plain"]


class Wrong(Comparison):
    def compare(self, runs):
        return [{"peers": "many"}]


@pytest.fixture
def study(tmp_path):
    """Two points with two seeds each, done and embedded: outcomes, work folders, folder of records."""
    outcomes = study_outcomes.grid(seeds=2, betas=(1, 4))
    folders = {each.run.name: tmp_path / "runs" / each.run.name for each in outcomes}
    records = tmp_path / "records"
    records.mkdir()
    for number, outcome in enumerate(outcomes):
        write_embedding(folders[outcome.run.name], SOURCES + number)
        (records / f"{outcome.run.name}.json").write_text(json.dumps(outcome.record))
    return outcomes, folders, records


def write_embedding(folder, codes, **others):
    (folder / "embeddings").mkdir(parents=True, exist_ok=True)
    arrays = {
        "mean": codes.astype(np.float32),
        "kl": np.ones_like(codes),
        "indices": np.arange(len(codes)),
        "binarization": np.array("static"),
    }
    np.savez(folder / "embeddings" / "evaluation.npz", **(arrays | others))


def of_huge_arrays():
    """An archive whose header declares more numbers than any memory holds."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 2), }"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117) + b"\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("mean", "kl"):
            archive.writestr(f"{name}.npy", header)
    return content.getvalue()


def without(path, name):
    """The same archive without one of its arrays."""
    with np.load(path) as arrays:
        kept = {key: array for key, array in arrays.items() if key != name}
    content = io.BytesIO()
    np.savez(content, **kept)
    return content.getvalue()


def compared(outcomes):
    return [outcome.record.get("compared", {}) for outcome in outcomes]


def test_a_run_is_compared_with_those_of_other_seeds(study):
    key = "peers[static,seeds,runs=2,n=500,plain]"
    assert [found[key] for found in compared(comparisons.compare([Peers()], *study))] == [2] * 4


def test_or_with_every_other_run(study):
    found = compared(comparisons.compare([Peers("all")], *study))
    assert [each["peers[static,all,runs=4,n=500,plain]"] for each in found] == [4] * 4
    first_codes = [each["first_code[static,all,runs=4,n=500,plain]"] for each in found]
    assert first_codes == pytest.approx(SOURCES[0, 0] + np.arange(4))


def test_the_figures_join_records_and_measures(study):
    outcomes, _, records = study
    (one, *_) = comparisons.compare([UDR(similarity="spearman"), Peers()], *study)
    written = json.loads((records / f"{outcomes[0].run.name}.json").read_text())
    assert written == outcomes[0].record | {"compared": one.record["compared"]}
    point = findings.points([one])[0]
    name = "udr[static,seeds,runs=2,n=500,spearman]"
    assert point.values(name) == [pytest.approx(1, abs=0.05)]
    assert name in choices.columns(choices.Choices(), findings.measures([point]))


def test_figures_of_before_are_replaced(study):
    outcomes, *folders = study
    once = comparisons.compare([Peers(), UDR()], outcomes, *folders)
    again = comparisons.compare([UDR("spearman")], once, *folders)
    assert list(compared(again)[0]) == ["udr[static,seeds,runs=2,n=500,spearman]"]


def test_a_run_without_a_work_folder_keeps_them(study):
    outcomes, folders, records = study
    once = comparisons.compare([Peers()], outcomes, folders, records)
    gone = dict.fromkeys(folders, records / "gone")
    assert comparisons.compare([Peers()], once, gone, records) == once


def test_runs_that_are_not_done_have_none(study, capsys):
    outcomes, folders, records = study
    ended = [study_outcomes.failed(0, {"BetaVAE.beta": "1"}, 1), *outcomes[:1], *outcomes[3:]]
    assert comparisons.compare([Peers()], ended, folders, records) == ended
    assert f"left out of Peers: {outcomes[0].run.name}: there is no other run" in capsys.readouterr().err


def test_other_images_are_left_out(study, capsys):
    outcomes, folders, _ = study
    write_embedding(folders[outcomes[1].run.name], SOURCES, indices=np.arange(500) + 1)
    found = compared(comparisons.compare([Peers("all")], *study))
    assert [len(each) for each in found] == [2, 0, 2, 2]
    assert (
        f"evaluation.npz is of other images than those of {outcomes[0].run.name}" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"PK no archive"),
        lambda path: write_embedding(path.parents[1], SOURCES, kl=np.ones((500, 1))),
        lambda path: write_embedding(path.parents[1], SOURCES, mean=np.ones((500, 2, 2))),
        lambda path: write_embedding(path.parents[1], SOURCES, mean=np.full((500, 2), np.nan)),
        lambda path: write_embedding(path.parents[1], SOURCES, kl=np.full((500, 2), "x")),
        lambda path: write_embedding(path.parents[1], SOURCES, indices=np.arange(3)),
        lambda path: write_embedding(path.parents[1], SOURCES, binarization=np.array(["a", "b"])),
        lambda path: write_embedding(path.parents[1], SOURCES[:0]),
        lambda path: path.write_bytes(of_huge_arrays()),
        lambda path: path.write_bytes(without(path, "indices")),
        lambda path: path.write_bytes(without(path, "binarization")),
    ],
)
def test_damaged_and_unfit_latents_are_left_out(study, capsys, damage):
    outcomes, folders, _ = study
    damage(folders[outcomes[1].run.name] / "embeddings" / "evaluation.npz")
    found = compared(comparisons.compare([Peers("all")], *study))
    assert [len(each) for each in found] == [2, 0, 2, 2]
    assert f"left out of Peers: {outcomes[1].run.name}: " in capsys.readouterr().err


def test_a_comparison_of_ones_own_must_give_a_figure_for_each_run(study):
    with pytest.raises(ConfigurationError, match="a dict, name -> float, for each of 2 runs"):
        comparisons.compare([Wrong()], *study)
