"""A gin file that holds a study too: what its runs read of it, and what they need not."""

import pytest

from vaeflow import config, registry
from vaeflow.errors import ConfigurationError

GIVEN = "rehearse.data = @ToyGrid()\nToyGrid.width = 3\n"
STUDY = "study.grid = {'rehearse.data': (@ToyGrid(), @ToyWideGrid())}\nstudy.seeds = 3\n"


@pytest.fixture(autouse=True)
def folder(toys, monkeypatch):
    """The toys, with a command that plans runs; gin, which cannot forget a name, need not know it."""

    def study(grid=None, seeds=1):
        """Plans."""

    monkeypatch.setitem(registry._entries, "study", registry.Entry("command", "study", study, "toys", "", {}))
    return toys


def read(folder, text, *parameters, root="rehearse", shared=()):
    (folder / "x.gin").write_text(text)
    return config.read(root, ["x.gin"], parameters, (), shared)


def test_a_run_reads_nothing_of_the_study_and_is_not_warned_of_it(folder):
    plain, studied = read(folder, GIVEN), read(folder, GIVEN + STUDY)
    assert studied.text == plain.text
    assert studied.warnings == ()


def test_settings_of_other_points_need_not_be_read(folder):
    studied = read(folder, GIVEN + STUDY + "ToyWideGrid.stretch = 5\n")
    assert "stretch" not in studied.text
    assert studied.warnings == ()


def test_without_the_study_they_would_be_refused(folder):
    with pytest.raises(ConfigurationError, match="this run does not read it"):
        read(folder, GIVEN + "ToyWideGrid.stretch = 5\n")


def test_a_macro_of_the_grid_alone_need_not_be_read(folder):
    studied = read(folder, GIVEN + "study.grid = {'ToyGrid.height': %heights}\nheights = (1, 2)\n")
    assert "heights" not in studied.text
    assert studied.warnings == ()


def test_a_setting_of_a_point_must_be_read(folder):
    with pytest.raises(ConfigurationError, match=r"'ToyWideGrid.stretch = 5': this run does not read it"):
        read(folder, GIVEN + STUDY, "ToyWideGrid.stretch = 5")


def test_a_study_is_no_setting_of_a_run(folder):
    with pytest.raises(ConfigurationError, match=r"'study.seeds = 5': this run does not read it"):
        read(folder, GIVEN + STUDY, "study.seeds = 5")


def test_what_a_study_is_given_goes_to_the_runs_that_read_it(folder):
    shared = ("ToyGrid.height = 7", "ToyWideGrid.stretch = 5", "study.seeds = 5")
    first = read(folder, GIVEN + STUDY, shared=shared)
    assert first.shared == ("ToyGrid.height = 7",)
    second = read(
        folder, GIVEN + STUDY, "rehearse.data = @ToyWideGrid()", "ToyWideGrid.width = 1", shared=shared
    )
    assert second.shared == ("ToyWideGrid.stretch = 5",)


def test_a_setting_of_a_point_wins_over_what_the_study_is_given(folder):
    made = read(folder, GIVEN + STUDY, "ToyGrid.height = 8", shared=("ToyGrid.height = 7",))
    assert "ToyGrid.height = 8" in made.text
    assert made.shared == ()


def test_what_neither_a_run_nor_the_study_reads_is_refused(folder):
    with pytest.raises(ConfigurationError, match=r"'ToyCorner.radius = 5': this run does not read it"):
        read(folder, GIVEN + STUDY, shared=("ToyCorner.radius = 5",))


def test_a_grid_may_name_what_lacks_a_setting_that_its_points_give(folder):
    """`ToyGrid.width` has no default."""
    text = "study.grid = {'rehearse.data': (@ToyGrid(),), 'ToyGrid.width': (1, 2)}\n"
    assert read(folder, text, root="study").warnings == ()
    assert read(folder, f"grid = {text.partition(' = ')[2]}study.grid = %grid", root="study").warnings == ()
    assert read(folder, text + "ToyGrid.width = %gin.REQUIRED", root="study").warnings == ()


def test_the_own_text_of_a_command_leaves_out_what_others_read(folder):
    made = read(folder, GIVEN + "review.limit = 2\n")
    assert "review.limit = 2" in made.text
    assert "review" not in made.own_text
    assert "ToyGrid.width = 3" in made.own_text


def test_reading_leaves_the_configuration_in_force_alone(folder):
    (folder / "y.gin").write_text(GIVEN)
    config.load("rehearse", ["y.gin"])
    read(folder, GIVEN.replace("3", "4"))
    assert "ToyGrid.width = 3" in config.text_in_force()
