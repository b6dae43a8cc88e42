"""An evaluation that is repeated: with which settings, and how it is compared."""

import json

import pytest

from tests.fixtures.recorded_runs import edit, recorded_folder
from vaeflow.commands.verification import evaluations
from vaeflow.commands.verification.checks import DIFFERENT, NOT_VERIFIED, VERIFIED
from vaeflow.commands.verification.evaluations import Given
from vaeflow.commands.verification.recorded import Recorded

KNOWN = {
    "step": 20,
    "checkpoint": "step-00000020",
    "split": "evaluation",
    "num_examples": 11,
    "seed": 3,
    "num_replicas": 1,
    "configuration": "evaluate.num_samples = 50\n",
    "metrics": {"negative_elbo_nats[none]": 44.0, "nll_is50_nats[none]": 43.0, "active_units[none]": 3.0},
}


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Checks an evaluation whose repetition is given; returns the check, and the flags of `evaluate`."""
    folder = recorded_folder(tmp_path / "run")
    (folder / "config.gin").write_text("train.seed = 1\n")
    asked = []

    def check(known, found, expects_bits=True, code=0, name="evaluation"):
        (folder / f"{name}.json").write_text(json.dumps(known))

        def run_evaluate(arguments):
            asked.extend(arguments)
            target = tmp_path / "scratch" / name
            assert (target / "config.gin").read_text() == "train.seed = 1\n"
            assert (target / "checkpoints" / "step-00000020" / "record.json").exists()
            (target / "evaluation.json").write_text(json.dumps(found))
            return code, "I0000 greeting\nvaeflow evaluate: error: no data\n"

        (tmp_path / "scratch").mkdir()
        monkeypatch.setattr(evaluations, "run_evaluate", run_evaluate)
        given = Given(["my.gin"], ["Arrays.train = 'x'"], ["own"])
        (made,) = evaluations.check(Recorded(folder), tmp_path / "scratch", given, expects_bits)
        return made, asked

    return check


def with_metric(name, value):
    return KNOWN | {"metrics": KNOWN["metrics"] | {name: value}}


def test_the_same_is_verified_with_its_own_settings_and_the_given_ones(check, tmp_path):
    made, asked = check(KNOWN, KNOWN)
    assert (made.verdict, made.remark) == (VERIFIED, "3 metrics, equal bits")
    folder = tmp_path / "scratch" / "evaluation"
    assert asked == [
        f"--workdir={folder}", "--checkpoint=20", f"--gin_file={folder}/evaluate.gin", "--gin_file=my.gin",
        "--gin_param=Arrays.train = 'x'", "--plugin=own",
    ]  # fmt: skip
    assert (folder / "evaluate.gin").read_text() == KNOWN["configuration"]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (with_metric("negative_elbo_nats[none]", 44.0001), VERIFIED),
        (with_metric("negative_elbo_nats[none]", 44.01), DIFFERENT),
        (with_metric("active_units[none]", 4.0), DIFFERENT),
        (with_metric("mig[pool]", 0.1), DIFFERENT),
        (KNOWN | {"num_examples": 12}, DIFFERENT),
    ],
)
def test_what_deviates_is_found(check, found, verdict):
    assert check(KNOWN, found)[0].verdict == verdict


def test_elsewhere_what_is_counted_may_differ(check):
    assert check(KNOWN, with_metric("active_units[none]", 4.0), expects_bits=False)[0].verdict == VERIFIED


def test_what_cannot_be_repeated_is_not_verified(check):
    made, _ = check(KNOWN, KNOWN, code=4)
    assert made.verdict == NOT_VERIFIED
    assert made.remark == "it cannot be repeated: vaeflow evaluate: error: no data"


def test_an_evaluation_of_a_checkpoint_that_is_gone_is_not_verified(check):
    assert check(KNOWN | {"step": 15}, KNOWN)[0].verdict == NOT_VERIFIED


def test_an_evaluation_of_an_older_version_is_repeated_by_what_it_says(check):
    old = {name: value for name, value in KNOWN.items() if name != "configuration"}
    known = old | {"metrics": KNOWN["metrics"] | {"rfid[none]": 1.0}}
    made, asked = check(known, KNOWN | {"num_replicas": 1})
    assert made.verdict == NOT_VERIFIED
    assert "did not record the settings of rfid[none]" in made.remark
    assert {"--gin_param=evaluate.seed = 3", "--gin_param=evaluate.num_samples = [50]"} <= set(asked)


def test_what_no_evaluation_writes_is_found(check):
    assert check({"step": 20}, KNOWN)[0].verdict == DIFFERENT


def test_an_edit_is_narrowed_down(check):
    made, _ = check(with_metric("nll_is50_nats[none]", 40.0), KNOWN)
    assert made.remark == "nll_is50_nats[none] recorded as 40.0, found 43.0"


def test_other_fixtures_are_of_an_honest_run(tmp_path):
    edit(recorded_folder(tmp_path / "run") / "result.json", step=20)
    assert not list(evaluations.check(Recorded(tmp_path / "run"), tmp_path, Given(), True))


def test_a_copy_of_another_name_is_compared_too(check):
    """`evaluate` writes no file of that name, which was a traceback."""
    made, _ = check(KNOWN, KNOWN, name="evaluation (copy)")
    assert (made.subject, made.verdict) == ("evaluation (copy).json", VERIFIED)


def test_settings_that_evaluate_another_split_are_a_difference(check):
    made, _ = check(KNOWN | {"split": "train"}, KNOWN)
    assert made.verdict == DIFFERENT
    assert "its settings evaluate another split than 'train'" in made.remark
