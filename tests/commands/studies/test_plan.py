"""The runs of a study: which, in which order, under which names."""

import pytest

from vaeflow.commands.studies import plan
from vaeflow.config.syntax import Macro, Reference
from vaeflow.errors import ConfigurationError

BETA, FACTOR = Reference((), "BetaVAE", False), Reference((), "FactorVAE", False)


def names(grid, seeds=1, **macros):
    return [run.name for run in plan.plan(grid, seeds, macros)]


def bindings(grid, **macros):
    return [run.bindings for run in plan.plan(grid, 1, macros)]


def refused(grid, seeds=1):
    with pytest.raises((ConfigurationError, ValueError)) as error:
        plan.plan(grid, seeds)
    return str(error.value)


def test_the_last_setting_varies_fastest():
    assert names({"A.x": (1, 2), "A.y": ("a", "b")}) == [
        "000_A.x=1_A.y=a_seed=0",
        "001_A.x=1_A.y=b_seed=0",
        "002_A.x=2_A.y=a_seed=0",
        "003_A.x=2_A.y=b_seed=0",
    ]


def test_each_point_is_run_with_the_first_seed_before_any_with_the_second():
    assert names({"A.x": (1, 2)}, 2) == [
        "000_A.x=1_seed=0",
        "001_A.x=2_seed=0",
        "000_A.x=1_seed=1",
        "001_A.x=2_seed=1",
    ]


def test_the_points_of_a_list_of_grids_follow_one_another():
    grids = [
        {"train.model": (BETA,), "BetaVAE.beta": (1, 4)},
        {"train.model": (FACTOR,), "FactorVAE.gamma": (10, 40)},
    ]
    assert names(grids, (2,)) == [
        "000_BetaVAE.beta=1_seed=2",
        "001_BetaVAE.beta=4_seed=2",
        "002_FactorVAE.gamma=10_seed=2",
        "003_FactorVAE.gamma=40_seed=2",
    ]


def test_a_setting_with_one_value_is_set_though_no_name_shows_it():
    assert bindings({"train.model": (BETA,), "BetaVAE.beta": (1, 4)})[1] == {
        "train.model": "@BetaVAE",
        "BetaVAE.beta": "4",
    }


def test_a_single_point_is_named_after_all_of_its_settings():
    assert names({"train.model": (BETA,), "BetaVAE.beta": (4.5,)}) == [
        "000_train.model=BetaVAE_BetaVAE.beta=4.5_seed=0"
    ]


@pytest.mark.parametrize(
    ("value", "text", "name"),
    [
        (BETA, "@BetaVAE", "BetaVAE"),
        (Reference(("big",), "DenseEncoder", True), "@big/DenseEncoder()", "big-DenseEncoder"),
        (Macro("small"), "%small", "small"),
        ((32, 64), "(32, 64)", "32,64"),
        ((4,), "(4,)", "4"),
        ("a b'c", '"a b\'c"', "a-bc"),
        (None, "None", "None"),
        (True, "True", "True"),
        (-1e-05, "-1e-05", "-1e-05"),
        (float("inf"), "1e999", "1e999"),
        ({"a": 1}, "{'a': 1}", "a-1"),
        ([BETA], "[@BetaVAE]", "BetaVAE"),
    ],
)
def test_every_value_of_gin_has_a_text_and_a_name(value, text, name):
    [run, _] = plan.plan({"A.x": (value, 77)}, 1)
    assert run.bindings == {"A.x": text}
    assert run.name == f"000_A.x={name}_seed=0"


def test_scopes_are_part_of_a_name_and_packages_are_not():
    assert names({"big/A.x": (1, 2)})[0] == "000_big-A.x=1_seed=0"
    assert names({"package.A.x": (1, 2)})[0] == "000_A.x=1_seed=0"


def test_a_long_name_is_cut_and_stays_different_from_others():
    first, second = names({"A.x": ("a" * 200 + "1", "a" * 200 + "2")})
    assert len(first) == 120
    assert first.startswith("000_A.x=aaa")
    assert first.endswith("_seed=0")
    assert first[4:] != second[4:]


def test_a_macro_stands_for_the_grid_or_for_the_values_of_a_setting():
    grid = {"A.x": Macro("weights")}
    assert names(Macro("all"), all=grid, weights=(1, 2)) == ["000_A.x=1_seed=0", "001_A.x=2_seed=0"]
    assert names([Macro("all")], all=grid, weights=(3,)) == ["000_A.x=3_seed=0"]


def test_the_parameters_of_a_run_are_gin_statements():
    [run] = plan.plan({"train.model": (BETA,), "BetaVAE.beta": (4,)}, (7,))
    assert run.parameters == ("train.model = @BetaVAE", "BetaVAE.beta = 4", "train.seed = 7")


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ({}, "must be a dict of settings"),
        ([], "must be a dict of settings"),
        (3, "must be a dict of settings"),
        ([{"A.x": (1,)}, 3], "got 3"),
        ({3: (1,)}, "must name settings as texts"),
        ({"A.x = 1\nA.y": (1,)}, "must name settings as texts"),
        ({"A.x": 4}, "a tuple of values"),
        ({"A.x": "abc"}, "a tuple of values"),
        ({"A.x": ()}, "a tuple of values"),
        ({"A.x": (1, 2, 1)}, "the value 1 twice"),
        ({"train.seed": (1, 2)}, "use `study.seeds`"),
        ({"study.seeds": (1, 2)}, "not a setting of one run"),
        ({"A.x": tuple(range(10_001))}, "more than 10,000 runs"),
        ({"A.x": Macro("missing")}, "%missing has no value"),
    ],
)
def test_a_grid_of_another_kind_is_refused(grid, said):
    assert said in refused(grid)


@pytest.mark.parametrize("seeds", [0, -1, True, "3", (), (1, 1), (1.5,), (-1,), 20_000])
def test_seeds_of_another_kind_are_refused(seeds):
    assert "study.seeds" in refused({"A.x": (1,)}, seeds)
