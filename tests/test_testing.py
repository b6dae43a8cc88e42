"""`check_model` passes sound models, and names what is broken in others."""

import pytest

from tests.fixtures import broken_models, broken_passes
from vaeflow import testing
from vaeflow.testing import all_checks

SHAPE = (4, 4, 1)
BROKEN = vars(broken_models) | vars(broken_passes)


@pytest.mark.long
@pytest.mark.slow
def test_a_sound_model_passes():
    testing.check_model(broken_models.Tiny, SHAPE)


# Keras warns of the fault too, and goes on.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
@pytest.mark.parametrize(
    ("factory", "check", "message"),
    [
        ("InfiniteTerm", "terms", "the term 'extra' is not finite"),
        ("WideTerm", "terms", r"the term 'extra' has the shape \(8, 2\); it must be a scalar"),
        ("InfiniteWeight", "terms", "the weight of the term 'extra' is not finite"),
        ("HalfTerm", "terms", "the term 'extra' is float16 in float32, not float32"),
        (
            "UnknownGroup",
            "terms",
            "term 'extra' is of the parameter group 'critic', which is none of None",
        ),
        ("UntrainedGroup", "terms", "no term of the objective trains the parameter group 'critic'"),
        ("IdleVariable", "gradients", "the loss gives no gradient to the variable .*idle/kernel"),
        (
            "KerasNoise",
            "noise",
            "two passes of one step draw different noise; draw noise with vaeflow.random",
        ),
        ("SameNoise", "noise", "the noise of an image .*it is the same on each"),
        ("SharedNoise", "noise", "two images of a batch get the same noise"),
        ("forgetful", "saving", "gives another value or weight of the term 'kl'"),
        ("RandomConfiguration", "saving", "the configuration does not come back"),
        (
            "UnbuiltOptimizer",
            "fit",
            "the optimizer of the group 'critic' does not come back from a .keras file",
        ),
        ("HiddenState", "resume", "a resumed run ends elsewhere"),
        ("UpdateInForward", "side_effects", "`forward` changes the variable .*/count in training"),
        (
            "EvaluationSideEffect",
            "side_effects",
            "`forward` changes the variable .*/count outside of training",
        ),
        ("OwnMovingAverage", "side_effects", "`forward` changes the variable .*/average in training"),
        (
            "UncoupledMean",
            "parts",
            "2 parts of 64 images, side by side, change .* otherwise than all at once",
        ),
        ("MeanInsteadOfSum", "parts", "2 parts of 64 images, side by side, change .*/count otherwise"),
        ("NoiseOfExamples", "samples", "two samples of the latents 'z' of an image get the same noise"),
        ("StrayDraw", "latents", "the latents that `forward` drew stand for other images"),
        ("WrongOrder", "latents", "the latents that `forward` drew stand for other images"),
    ],
)
def test_a_fault_is_found_and_named(factory, check, message):
    with pytest.raises(AssertionError, match=message):
        getattr(testing, f"check_{check}")(BROKEN[factory], SHAPE)


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.parametrize("factory", ["LocalCovariance", "DividedTwice"])
def test_one_and_two_replicas_are_compared(factory):
    with pytest.raises(
        AssertionError, match=r"one and two replicas train different weights: .* ends .* elsewhere"
    ):
        testing.check_replicas(getattr(broken_models, factory), SHAPE)


def test_what_another_process_cannot_import_is_refused():
    with pytest.raises(AssertionError, match="cannot be imported by another process"):
        testing.check_replicas(lambda: broken_models.Tiny(), SHAPE)


def test_what_another_process_cannot_import_is_refused_before_any_check(monkeypatch):
    """Else a class of a notebook goes through all checks, for a minute, first."""
    monkeypatch.setattr(all_checks, "CHECKS", [lambda *arguments: pytest.fail("a check ran")])
    notebook = type("OfANotebook", (broken_models.Tiny,), {"__module__": "__main__"})
    with pytest.raises(AssertionError, match="OfANotebook of __main__ cannot be imported by another process"):
        testing.check_model(notebook, SHAPE)


def test_every_fault_is_listed_with_its_remedy(monkeypatch):
    monkeypatch.setattr(all_checks, "CHECKS", (testing.check_side_effects, testing.check_latents))
    monkeypatch.setattr(all_checks, "check_replicas", lambda *_: None)
    said = []
    with pytest.raises(AssertionError) as raised:
        testing.check_model(broken_passes.TwoFaults, SHAPE, said.append)
    lines = str(raised.value).splitlines()
    assert lines[0] == "TwoFaults has 2 faults:"
    assert lines[1].startswith("  1. `forward` changes the variable")
    assert lines[1].endswith("return the change from `updates`")
    assert lines[2].startswith("  2. the latents that `forward` drew stand for other images")
    assert said[:2] == ["check 1 of 3: what a pass changes", "check 2 of 3: the order of the latents"]


def test_what_makes_no_model_is_refused():
    with pytest.raises(AssertionError, match=r"the factory makes 3, not a vaeflow.models.Model"):
        testing.check_terms(lambda: 3, SHAPE)
