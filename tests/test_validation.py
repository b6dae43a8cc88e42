"""Values at the borders of what is allowed."""

import numpy as np
import pytest

from vaeflow import schedules, validation
from vaeflow.callbacks import Callback, Checkpoints, Evaluation

NAN = float("nan")
INF = float("inf")


@pytest.mark.parametrize(
    ("check", "accepted", "refused"),
    [
        (validation.boolean, [True, False], [1, 0, 0.0, "yes", None, np.True_]),
        (validation.seed, [0, 2**32 - 1, np.int64(3)], [-1, 2**32, 1.0, True, None]),
        (
            validation.weight,
            [0, 0.5, np.float32(2), 3e38],
            [-1e-9, INF, 4e38, 10**400, NAN, False, "1", None],
        ),
        (
            validation.positive_integer,
            [1, 2**31 - 1, np.int64(3)],
            [0, -3, 2**31, 10**30, 1.0, True, "1", None, NAN],
        ),
        (validation.positive_count, [1, 10**12, 2**53], [0, 2**53 + 1, 10**5000, True]),
        (validation.non_negative_integer, [0, 5, np.int32(0)], [-1, 10**30, 0.0, False, None]),
        (
            validation.positive_number,
            [1e-300, 1, 2.5, np.float32(2)],
            [0, 0.0, -1, INF, 1e39, np.float32("inf"), NAN, True, "1"],
        ),
        (validation.non_negative_number, [0, 0.0, 3], [-1e-9, INF, NAN, False, None]),
        (validation.finite_number, [-3e38, 0, 1.5], [INF, -INF, 1e39, NAN, True, "1", None]),
        (validation.fraction, [0, 0.0, 0.999], [1, 1.0, -0.1, NAN, True]),
        (validation.positive_integers, [[], [1, 2], (3,)], [3, [0], [1.5], "12", None]),
    ],
)
def test_borders(check, accepted, refused):
    for value in accepted:
        assert np.all(np.asarray(check("Some.setting", value)) == np.asarray(value))
    for value in refused:
        with pytest.raises(ValueError, match=r"`Some\.setting` must be"):
            check("Some.setting", value)


def test_one_of_lists_the_choices():
    assert validation.one_of("Some.setting", "a", ("a", None)) == "a"
    with pytest.raises(ValueError, match=r"`Some.setting` must be one of 'a', None; got 'b'"):
        validation.one_of("Some.setting", "b", ("a", None))


def test_a_boolean_names_what_arrived():
    with pytest.raises(ValueError, match=r"`Some\.setting` must be True or False, got 1$"):
        validation.boolean("Some.setting", 1)


def test_a_seed_that_numpy_refuses_is_named():
    with pytest.raises(ValueError, match=r"`train\.seed` must be below 2\*\*32, got 4294967296"):
        validation.seed("train.seed", 2**32)


def test_every_seed_that_is_accepted_seeds_numpy():
    np.random.RandomState(validation.seed("train.seed", 2**32 - 1))


def test_a_weight_may_be_a_schedule():
    schedule = schedules.LinearSchedule()
    assert validation.weight("VAE.kl_weight", schedule) is schedule


def test_a_weight_may_be_a_function_of_the_step():
    def halved(step):
        return step / 2

    assert validation.weight("VAE.kl_weight", halved) is halved


def test_the_class_of_a_schedule_is_no_weight():
    with pytest.raises(ValueError, match=r"write VAE\.kl_weight = @LinearSchedule\(\) with parentheses"):
        validation.weight("VAE.kl_weight", schedules.LinearSchedule)


def test_a_refused_weight_hears_of_schedules():
    with pytest.raises(ValueError, match=r"at least 0, got -1; a schedule such as @LinearSchedule\(\) works"):
        validation.weight("VAE.kl_weight", -1)


@pytest.mark.parametrize("values", [[], [Evaluation()], (Evaluation(), Checkpoints())])
def test_a_list_of_objects_comes_back_as_a_list(values):
    assert validation.list_of("train.callbacks", values, Callback, "[@Progress()]") == list(values)


@pytest.mark.parametrize("values", [Evaluation(), [Evaluation], [Evaluation(), None], "Evaluation", None])
def test_a_list_of_anything_else_is_refused_with_an_example(values):
    with pytest.raises(
        ValueError,
        match=r"must be a list of Callbacks, got .*write train\.callbacks = \[@Progress\(\)\] with",
    ):
        validation.list_of("train.callbacks", values, Callback, "[@Progress()]")
