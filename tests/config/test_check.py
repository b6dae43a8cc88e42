"""Unknown names, missing values and unread bindings, found before anything is built."""

import gin
import pytest

from vaeflow import config
from vaeflow.config import check
from vaeflow.errors import ConfigurationError

GIVEN = "rehearse.data = @ToyGrid()\nToyGrid.width = 3\n"


def load(folder, text, *parameters):
    (folder / "x.gin").write_text(text)
    return config.load("rehearse", ["x.gin"], parameters)


def message(folder, text, *parameters):
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, *parameters)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ToyGird.width = 1", "nothing is registered as 'ToyGird'; did you mean 'ToyGrid'"),
        ("rehearse.callbacks = [{'a': (@ToyRecoder(), 1)}]", "'ToyRecoder'; did you mean 'ToyRecorder'"),
        ("ToyGrid.widht = 1", "`ToyGrid` has no parameter 'widht'; did you mean 'width'"),
        ("ToyGrid.zzz = 1", "its parameters are: width, height, corner"),
        ("ToyWideGrid.hieght = 1", "`ToyWideGrid` has no parameter 'hieght'; did you mean 'height'"),
        ("ToySquare.width = 1", "`ToySquare.width` cannot be set here: set `ToyGrid.width` instead"),
        ("other.ToyGrid.height = 1", "'ToyGrid' is from 'gin_toys', not 'other'"),
        ("rehearse.num_steps = %stepz", "%stepz has no value: add `stepz = …`"),
        ("x/macro.value = 3", "nothing is registered as 'macro'"),
    ],
)
def test_unknown_names(toys, line, expected):
    found = message(toys, GIVEN + line)
    assert found.startswith(f"x.gin:3: `{line}`: ")
    assert expected in found


def test_unbound_macro_names_the_nearest(toys):
    found = message(toys, GIVEN + "steps = 4\nrehearse.num_steps = %step")
    assert "did you mean 'steps'" in found


def test_command_line_is_shown_as_typed(toys):
    found = message(toys, GIVEN, "ToyGird.width = 1")
    assert found.startswith("--gin_param='ToyGird.width = 1': nothing is registered")


def test_several_problems_are_told_at_once_and_the_rest_counted(toys):
    found = message(toys, GIVEN + "".join(f"ToyGrid.bad{i} = 1\n" for i in range(8)))
    assert "bad0" in found
    assert "bad4" in found
    assert "bad5" not in found
    assert "3 more" in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rehearse.num_steps = 3", "`rehearse.data` must be given: add --gin_param='rehearse.data = …'"),
        ("rehearse.data = @ToyGrid()", "x.gin:1: `rehearse.data = @ToyGrid()`: `ToyGrid.width` must"),
        ("rehearse.data = @ToyWideGrid()", "`ToyWideGrid.width` must be given"),
        (GIVEN + "rehearse.data_factory = @ToyWideGrid", "x.gin:3: `rehearse.data_factory = @ToyWideGrid`"),
        (GIVEN + "ToyGrid.width = %gin.REQUIRED", "x.gin:3: `ToyGrid.width = %gin.REQUIRED`: `ToyGrid"),
        (GIVEN + "n = %REQUIRED\nToyGrid.width = %n", "add --gin_param='n = …'"),
        (GIVEN + "rehearse.options = {'a': [%gin.REQUIRED]}", "`rehearse.options` must be given"),
        ("a/ToyGrid.width = 3\nrehearse.data = @a/ToyWideGrid()", "`ToyWideGrid.width` must be given"),
    ],
)
def test_missing_values(toys, text, expected):
    assert expected in message(toys, text)


def test_a_value_given_on_the_command_line_satisfies_required(toys):
    load(toys, GIVEN + "n = %gin.REQUIRED\nToyGrid.width = %n", "n = 7")
    assert config.call("rehearse")["data"].settings["width"] == 7


def test_a_function_handed_over_uncalled_gets_its_arguments_from_its_caller(toys):
    load(toys, GIVEN + "rehearse.metrics = [@toy_error_rate]\ntoy_error_rate.threshold = 0.1")
    found = message(toys, GIVEN + "rehearse.options = @toy_error_rate()")
    assert "`toy_error_rate.model` must be given" in found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("a = %b\nb = %a\nrehearse.num_steps = %a", "is defined by itself"),
        ("ToyGrid.corner = @ToyCorner()\nToyCorner.inner = @ToyCorner()", "@ToyCorner() refers to itself"),
        ("m = @ToyCorner()\nToyGrid.corner = %m\nToyCorner.inner = %m", "@ToyCorner() refers to itself"),
    ],
)
def test_circles(toys, lines, expected):
    assert expected in message(toys, GIVEN + lines)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "ToyWideGrid.height = 4",
            (
                "nothing that `rehearse` uses refers to @ToyWideGrid; its dataset is ToyGrid; did you mean "
                "'ToyGrid.height'"
            ),
        ),
        ("ToyRecorder.every = 4", "Did you forget to add @ToyRecorder() to `rehearse.callbacks`"),
        ("speed = 4", "nothing that `rehearse` uses refers to %speed"),
        ("a/ToyGrid.height = 4", "@ToyGrid is used, but without a scope"),
        ("ToyRecorder.text = %speed\nspeed = 4", "refers to %speed"),
    ],
)
def test_unread_bindings(toys, lines, expected):
    found = message(toys, GIVEN + lines)
    assert f"x.gin:3: `{lines.splitlines()[0]}`: this run does not read it" in found
    assert expected in found


def test_bindings_of_other_commands_are_left_alone(toys):
    text = GIVEN + "review.data = @ToyWideGrid()\nToyWideGrid.stretch = 3\nToyWideGrid.width = %n\nn = 1"
    configuration = load(toys, text)
    assert configuration.warnings == ()
    assert "ToyWideGrid.stretch = 3" in configuration.text


def test_unread_bindings_of_an_included_file_are_dropped_with_a_warning(toys):
    (toys / "base.gin").write_text(GIVEN + "ToyGrid.height = 5\nn = 3")
    configuration = load(toys, "include 'base.gin'\nrehearse.data = @ToyWideGrid()\nToyWideGrid.width = 9")
    assert [warning.partition(":")[0] for warning in configuration.warnings] == ["base.gin"] * 3
    assert "ToyGrid.height" not in configuration.text
    assert "\nn = 3" not in configuration.text


def test_what_a_command_line_override_cuts_off_is_a_warning(toys):
    configuration = load(toys, GIVEN, "rehearse.data = @ToyWideGrid()", "ToyWideGrid.width = 9")
    assert len(configuration.warnings) == 1
    assert configuration.warnings[0].startswith("x.gin:2: `ToyGrid.width = 3`")


def test_an_unread_command_line_binding_is_an_error(toys):
    found = message(toys, GIVEN, "ToyWideGrid.width = 9")
    assert found.startswith("--gin_param='ToyWideGrid.width = 9': this run does not read it")
    found = message(toys, GIVEN, "rehearse.data = @ToyCorner()", "ToyGrid.width = 9")
    assert found.startswith("--gin_param='ToyGrid.width = 9': this run does not read it")


def test_a_binding_behind_a_nearer_one_is_kept_with_a_warning(toys):
    configuration = load(toys, "rehearse.data = @a/ToyGrid()\nToyGrid.width = 3\na/ToyGrid.width = 4")
    assert "has no effect" in configuration.warnings[0]
    assert config.call("rehearse")["data"].settings["width"] == 4


@pytest.mark.parametrize(
    "lines",
    [
        "rehearse.data = @a/ToyGrid()\nToyGrid.corner = @ToyCorner()\na/ToyCorner.radius = 2",
        "rehearse.data = @a/b/ToyGrid()\na/ToyGrid.corner = @ToyCorner\nToyCorner.radius = 2",
        "ToyGrid.corner = @c/ToyCorner()\nToyCorner.inner = @ToyRecorder\nc/ToyRecorder.every = 1",
        "ToyGrid.corner = @c/ToyCorner()\nToyCorner.inner = @ToyCorner\nc/ToyCorner.inner = 1",
        "m = @ToyCorner()\nrehearse.data = @a/ToyGrid()\nToyGrid.corner = %m\nm/ToyCorner.radius = 3",
        "m = @ToyCorner\nrehearse.data = @a/ToyGrid()\nToyGrid.corner = %m\na/ToyCorner.radius = 3",
        "m = %n\nn = [@ToyCorner()]\nrehearse.options = {'k': %m}\nn/ToyCorner.radius = 3",
        "s/m = @ToyCorner()\nToyGrid.corner = %s/m\ns/ToyCorner.radius = 3",
        "rehearse.callbacks = [@a/ToyRecorder(), @ToyRecorder()]\na/ToyRecorder.every = 3",
        "rehearse.options = {@a/ToyCorner(): {'k': (@ToyRecorder(),)}}\na/ToyCorner.radius = 3",
    ],
)
def test_what_is_reached_is_what_gin_calls(toys, lines, monkeypatch):
    reaches = []

    class Spy(check.Reach):
        def __init__(self, root, final):
            super().__init__(root, final)
            reaches.append((root, self))

    monkeypatch.setattr(check, "Reach", Spy)
    load(toys, GIVEN + lines)
    config.call("rehearse")
    visited = next(reach for root, reach in reaches if root == "rehearse").visited
    called = {
        (scope, selector.rpartition(".")[2])
        for scope, selector in gin.config._OPERATIVE_CONFIG
        if not selector.startswith("gin.")
    }
    assert {("/".join(scope), name) for name, scopes in visited.items() for scope in scopes} == called
