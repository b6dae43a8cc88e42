"""Recorded runs are put together by configuration, and what cannot be compared is refused."""

import json

import numpy as np
import pytest

from results import records
from tests.fixtures import study_outcomes
from vaeflow.commands.studies.report import writing
from vaeflow.commands.studies.report.choices import Choices

ELBO, KL = "evaluation/negative_elbo", "evaluation/kl_per_dimension/00"


def record(name, seed=0, elbo=100.0, seconds=60.0, **changes):
    """A record as `vaeflow record` writes it, of the parts that are read."""
    return {
        "name": name,
        "command": f"vaeflow train --gin_file={name}.gin",
        "seed": seed,
        "revision": "0123abcd",
        "machine": {"processor": "AMD EPYC", "cores": 2, "memory_gib": 23.5, "gpus": []},
        "versions": {"python": "3.11.7", "vaeflow": None, "tensorflow": "2.21.0"},
        "run": {"model": "VAE, 10 weights", "data": "Sprites, 5 images", "batch": "2 images, 2 a replica"},
        "seconds": seconds,
        "metrics": {"step": 1000, "examples_per_second": 3.0, "train/loss": 9.0, ELBO: elbo, KL: 1.0},
        "evaluation": None,
        "configuration": ["VAE.num_latents = 20", f"train.seed = {seed}", f"MNIST.folder = 'mnist{seed}'"],
        **changes,
    }


def write(folder, *found):
    folder.mkdir(parents=True, exist_ok=True)
    for each in found:
        (folder / f"{each['name']}.json").write_text(json.dumps(each))


def test_the_seeds_of_a_configuration_are_one_group(tmp_path):
    write(
        tmp_path,
        record("vae", 0, 100.0),
        record("vae-2", 2, 104.0),
        record("vae-1", 1, 101.0),
        record("iwae-5"),
    )
    first, second = records.groups(tmp_path)
    assert (first.name, second.name) == ("iwae-5", "vae")
    assert second.seeds == [0, 1, 2]
    spread = second.measures()[ELBO]
    np.testing.assert_allclose([spread.mean, spread.deviation], [305 / 3, np.std([100, 101, 104], ddof=1)])


def test_configurations_are_in_the_order_of_their_names_and_numbers(tmp_path):
    names = ["2_groups", "groups_2", "groups_16", "groups_b"]
    write(tmp_path, *(record(f"{name}-0") for name in reversed(names)))
    assert [group.name for group in records.groups(tmp_path)] == names


def test_only_what_held_out_images_measure_is_a_measure(tmp_path):
    write(tmp_path, record("vae", evaluation={"metrics": {"mig[pool]": 0.5}}))
    assert list(records.groups(tmp_path)[0].measures()) == [ELBO, "mig[pool]"]


def test_what_differs_between_seeds_is_told_with_the_seed(tmp_path):
    write(tmp_path, record("vae"), record("vae-1", 1), record("vae-2", 2, revision="ffff"))
    (group,) = records.groups(tmp_path)
    assert group.said(lambda each: each["revision"]) == "0123abcd (seed 0, 1); ffff (seed 2)"
    assert group.said(lambda each: each["run"]["model"]) == "VAE, 10 weights"


@pytest.mark.parametrize(
    ("second", "part"),
    [
        (record("vae-0", 0), "are records of one seed"),
        (
            record("vae-1", 1, configuration=["VAE.num_latents = 10"]),
            "differ in more than the seed: VAE.num_lat",
        ),
    ],
)
def test_a_mean_of_what_cannot_be_compared_is_refused(tmp_path, second, part):
    write(tmp_path, record("vae"), second)
    with pytest.raises(ValueError, match=part):
        records.groups(tmp_path)


def test_a_record_under_another_name_is_refused(tmp_path):
    (tmp_path / "other.json").write_text(json.dumps(record("vae")))
    with pytest.raises(ValueError, match="is the record of vae"):
        records.groups(tmp_path)


def test_a_file_that_is_no_record_is_refused(tmp_path):
    (tmp_path / "vae.json").write_text("{}")
    with pytest.raises(ValueError, match="is not the record of a run"):
        records.groups(tmp_path)


def write_study(folder, outcomes):
    write(folder, *(outcome.record for outcome in outcomes if outcome.record))
    writing.write_tables([folder], "made-up", outcomes, Choices())


def test_the_figures_of_a_study_are_those_of_its_records(tmp_path):
    write_study(tmp_path, study_outcomes.grid(2))
    changed = tmp_path / "001_BetaVAE.beta=4_seed=0.json"
    content = json.loads(changed.read_text())
    content["evaluation"]["metrics"][study_outcomes.MIG] = 0.9
    changed.write_text(json.dumps(content))
    facts, points = records.study(tmp_path)
    assert facts["name"] == "made-up"
    assert points[1].measures[study_outcomes.MIG].mean == pytest.approx((0.9 + 0.3) / 2)


def test_a_study_whose_record_is_missing_is_refused(tmp_path):
    write_study(tmp_path, study_outcomes.grid(1))
    (tmp_path / "001_BetaVAE.beta=4_seed=0.json").unlink()
    with pytest.raises(ValueError, match=r"001_BetaVAE\.beta=4_seed=0 is done, and there is no"):
        records.study(tmp_path)
