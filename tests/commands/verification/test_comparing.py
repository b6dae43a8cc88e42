"""What a repetition gives against the log: the same bits, or within what rounding explains."""

import math

import pytest

from tests.fixtures.recorded_runs import edit, edit_log, recorded_folder
from vaeflow.commands.verification.checks import DIFFERENT, NOT_VERIFIED, VERIFIED, Value
from vaeflow.commands.verification.comparing import Comparison
from vaeflow.commands.verification.recorded import Recorded
from vaeflow.commands.verification.repeating import Interval, Repeated, Way, from_json
from vaeflow.commands.verification.tolerances import Tolerances, is_counted

ORIGINAL = Way("as it was run", 1, "float32", is_original=True)
OTHER = Way("on 2 replicas", 2, "float32")
DOUBLED = Way("in float64", 1, "float64")
INTERVAL = Interval(10, 15, "step-00000010")
LOSS = 45.0  # Of the line of step 15.


@pytest.fixture
def folder(tmp_path):
    return recorded_folder(tmp_path / "run")


def line(loss=LOSS, step=15, **more):
    return {"step": step, "train/loss": loss, "wall_seconds": -1.0, "examples_per_second": -1.0, **more}


def checks(folder, found, interval=INTERVAL, expects_bits=True, left_out=()):
    """The checks, and the steps that count as repeated; `found` is way -> what the repetition gave."""
    comparison = Comparison(Recorded(folder), expects_bits, frozenset(left_out), "float32")
    made = list(comparison.checks([interval], {way: [one] for way, one in found.items()}))
    return made, comparison.repeated_steps


def one_check(folder, way, found, **more):
    (check,) = checks(folder, {way: found}, **more)[0]
    return check


def test_the_same_bits_but_for_the_clock(folder):
    made, repeated = checks(folder, {ORIGINAL: Repeated(lines=[line()])})
    assert [(check.verdict, check.remark) for check in made] == [(VERIFIED, "2 values, equal bits")]
    assert repeated == {15}


def test_one_bit_is_too_much_where_the_same_bits_are_expected(folder):
    check = one_check(folder, ORIGINAL, Repeated(lines=[line(math.nextafter(LOSS, 50))]))
    assert check.verdict == DIFFERENT
    assert check.remark.endswith("these differ by rounding only")


@pytest.mark.parametrize(("factor", "verdict"), [(1 + 0.9e-4, VERIFIED), (1 + 1.1e-4, DIFFERENT)])
@pytest.mark.parametrize("way", [ORIGINAL, OTHER])
def test_elsewhere_or_on_other_replicas_a_tolerance_holds(folder, way, factor, verdict):
    check = one_check(folder, way, Repeated(lines=[line(LOSS * factor)]), expects_bits=False)
    assert check.verdict == verdict


def test_before_the_last_resumption_nothing_is_known_of_the_machine(folder):
    edit(folder / "environment.json", resumed_at=12)
    check = one_check(folder, ORIGINAL, Repeated(lines=[line(LOSS * (1 + 1e-6))]))
    assert check.verdict == VERIFIED
    edit(folder / "environment.json", resumed_at=10)
    check = one_check(folder, ORIGINAL, Repeated(lines=[line(LOSS * (1 + 1e-6))]))
    assert check.verdict == DIFFERENT


def test_the_tolerance_grows_with_what_rounding_does_to_the_interval(folder):
    """Another machine's loss is 1e-3 off; here, float32 and float64 are 2e-4 apart, or hardly at all."""
    verdicts = {}
    for apart in (1e-9, 2e-4):
        found = {
            ORIGINAL: Repeated(lines=[line(LOSS * 1.001)]),
            DOUBLED: Repeated(lines=[line(LOSS * (1.001 - apart))]),
        }
        verdicts[apart] = [check.verdict for check in checks(folder, found, expects_bits=False)[0]]
    assert verdicts == {1e-9: [DIFFERENT, DIFFERENT], 2e-4: [VERIFIED, VERIFIED]}


def test_where_rounding_decides_everything_nothing_is_judged(folder):
    found = {ORIGINAL: Repeated(lines=[line()]), DOUBLED: Repeated(lines=[line(LOSS * 1.2)])}
    original, doubled = checks(folder, found)[0]
    assert original.verdict == VERIFIED
    assert doubled.verdict == NOT_VERIFIED
    assert "rounding alone moves train/loss too far" in doubled.remark


def test_the_spread_of_the_weights_counts_too():
    apart = [Repeated(), Repeated(from_original=0.01)]
    assert Tolerances("float32", 5, apart).of_weights == pytest.approx(0.1)


def test_a_long_interval_has_a_larger_tolerance():
    values = [Tolerances("float32", steps).value(1, "a", 1.0, 1.0, 1.0) for steps in (5, 100, 1000)]
    assert [value.tolerance for value in values] == [1e-4, 1e-4, 1e-3]
    assert Tolerances("float32", 100).of_weights == 1e-3


def test_a_small_term_is_judged_relative_to_the_loss():
    """As a difference of large numbers it has their rounding."""
    value = Tolerances("float32", 5).value(15, "train/kl", 1e-6, 1.4e-6, loss=40.0)
    assert value.deviation == pytest.approx(0.4e-6 / 0.04)
    assert value.agrees
    assert not Tolerances("float32", 5).value(15, "train/kl", 1e-2, 1.1e-2, loss=40.0).agrees


@pytest.mark.parametrize(
    ("found", "remark"),
    [
        ([line(), line(more=1.0)][1:], "more recorded as nothing, found 1.0"),
        ([{"step": 15, "wall_seconds": 1.0}], "train/loss recorded as 45.0, found nothing"),
        ([line(step=16)], "the line of step 15 recorded as a line, found nothing"),
        ([line(step=12), line()], "the line of step 12 recorded as nothing, found a line"),
    ],
)
def test_a_value_or_line_that_only_one_side_has_differs(folder, found, remark):
    check = one_check(folder, ORIGINAL, Repeated(lines=found))
    assert check.verdict == DIFFERENT
    assert remark in check.remark


def test_what_differs_in_each_run_can_be_left_out(folder):
    found = Repeated(lines=[line(more=1.0)])
    assert one_check(folder, ORIGINAL, found, left_out=("more",)).verdict == VERIFIED


def test_what_is_counted_is_compared_by_bits_only(folder):
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 25, "train/loss": 45.0, "train/codes/perplexity": 3.0}\n')
    other = Repeated(lines=[line(step=25, **{"train/codes/perplexity": 4.0})])
    interval = Interval(20, 25, "step-00000020")
    assert one_check(folder, OTHER, other, interval=interval).verdict == VERIFIED
    assert one_check(folder, ORIGINAL, other, interval=interval).verdict == DIFFERENT
    assert is_counted("active_units[none]")
    assert not is_counted("evaluation/kl")


def test_the_state_at_the_end_counts(folder):
    state = {"variables": 9, "different": 1, "deviation": 5e-4}
    found = Repeated(lines=[line()], state=state)
    check = one_check(folder, ORIGINAL, found)
    assert check.verdict == DIFFERENT
    assert "variables of 9 that differ from the checkpoint recorded as 0, found 1" in check.remark
    assert one_check(folder, OTHER, found).verdict == VERIFIED
    far = Repeated(lines=[line()], state=state | {"deviation": 1.1e-3})
    assert one_check(folder, OTHER, far).verdict == DIFFERENT


def test_a_repetition_that_failed_differs(folder):
    made, repeated = checks(folder, {ORIGINAL: Repeated(problem="it diverged")})
    assert (made[0].verdict, repeated) == (DIFFERENT, set())
    assert made[0].remark == "the repetition failed: it diverged"


def with_elbo(folder, step):
    """Adds an evaluation to the line of a step."""
    edit_log(folder, step, "}", ', "elbo": 7.0}')


def test_what_is_measured_at_the_checkpoint_itself(folder):
    interval = Interval(20, None, "step-00000020", measures_start=True)
    with_elbo(folder, 20)
    for elbo, verdict in ((7.0, VERIFIED), (7.5, DIFFERENT)):
        found = Repeated(at_start={"elbo": elbo})
        assert one_check(folder, ORIGINAL, found, interval=interval).verdict == verdict


def test_what_was_measured_at_the_step_of_the_resumption_was_measured_before_it(folder):
    interval = Interval(10, None, "step-00000010", measures_start=True)
    with_elbo(folder, 10)
    near = Repeated(at_start={"elbo": 7.0 * (1 + 1e-6)})
    assert one_check(folder, ORIGINAL, near, interval=interval).verdict == DIFFERENT
    edit(folder / "environment.json", resumed_at=10)
    assert one_check(folder, ORIGINAL, near, interval=interval).verdict == VERIFIED


def test_a_measurement_that_agrees_does_not_make_the_steps_after_it_repeated(folder):
    interval = Interval(10, 15, "step-00000010", measures_start=True)
    with_elbo(folder, 10)
    found = Repeated(at_start={"elbo": 7.0}, lines=[line(1.0)])
    made, repeated = checks(folder, {ORIGINAL: found}, interval=interval)
    assert [check.verdict for check in made] == [VERIFIED, DIFFERENT]
    assert repeated == set()


def test_nan_agrees_with_nan_only():
    assert Value("a", math.nan, math.nan).agrees
    assert not Value("a", 1.0, math.nan, tolerance=1.0).agrees
    assert not Value("a", 1.0, None, tolerance=1.0).agrees


def test_a_number_that_is_not_finite_comes_back_from_the_process():
    found = from_json({"digest": "", "at_start": {"a": None}, "lines": [{"b": None}]})
    assert math.isnan(found.at_start["a"])
    assert math.isnan(found.lines[0]["b"])
