"""Reading gin files without executing them, the text they become, and what constructors complain of."""

import random
import sys

import pytest

from tests.fixtures import own_code
from vaeflow import config, registry
from vaeflow.config import reading, syntax
from vaeflow.errors import ConfigurationError, DataError

GIVEN = "rehearse.data = @ToyGrid()\nToyGrid.width = 3\n"


def load(folder, text, *parameters, plugins=()):
    (folder / "x.gin").write_text(text)
    return config.load("rehearse", ["x.gin"], parameters, plugins)


def message(folder, text, *parameters, plugins=()):
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, *parameters, plugins=plugins)
    return str(caught.value)


def test_later_files_and_then_parameters_win(toys):
    (toys / "a.gin").write_text(GIVEN + "rehearse.num_steps = 1\nToyGrid.height = 1")
    (toys / "b.gin").write_text("rehearse.num_steps = 2\nToyGrid.height = 2")
    configuration = config.load("rehearse", ["a.gin", "b.gin"], ["rehearse.num_steps = 3"])
    settings = config.call("rehearse")
    assert (settings["num_steps"], settings["data"].settings["height"]) == (3, 2)
    assert configuration.gin_files == ("a.gin", "b.gin")


def test_a_statement_after_an_include_overrides_it(toys):
    (toys / "base.gin").write_text("ToyGrid.width = 1")
    load(toys, "include 'base.gin'\n" + GIVEN)
    assert config.call("rehearse")["data"].settings["width"] == 3


def test_arguments_of_the_call_win_over_gin(toys):
    load(toys, GIVEN + "rehearse.num_steps = 4")
    assert config.call("rehearse", num_steps=5)["num_steps"] == 5


def test_a_load_replaces_the_one_before(toys):
    load(toys, GIVEN + "rehearse.num_steps = 4")
    load(toys, GIVEN)
    assert config.call("rehearse")["num_steps"] == 10


def test_text_does_not_depend_on_how_the_files_are_written(toys):
    rest = "lr = 0.001\nrehearse.options = {'b': %lr, 'a': (1,)}\nrehearse.num_steps = 5"
    one = load(toys, GIVEN + rest).text
    (toys / "base.gin").write_text("gin_toys.ToyGrid:\n  # a comment\n  width = 2 # another\n")
    two = load(
        toys,
        """
        include "base.gin"
        rehearse.num_steps = 0x5
        rehearse.options = {"a": (1,),
                            "b": %lr}
        rehearse.data = @gin_toys.ToyGrid()
        lr = 1.0
        """,
        "ToyGrid.width = 3",
        "lr = 1e-3",
    ).text
    assert one == two
    assert one == (
        "lr = 0.001\n\n"
        "rehearse.data = @ToyGrid()\nrehearse.num_steps = 5\nrehearse.options = {'a': (1,), 'b': %lr}\n\n"
        "ToyGrid.width = 3\n"
    )


def test_text_differs_where_the_meaning_does(toys):
    assert load(toys, GIVEN).text != load(toys, GIVEN + "rehearse.num_steps = 10").text


def random_value(generator, depth=3):
    simple = [
        lambda: generator.choice([None, True, False, float("inf"), -float("inf"), -0.0, 1e-30, b"\x00'"]),
        lambda: generator.randint(-(10**12), 10**12),
        lambda: generator.random() * 10 ** generator.randint(-9, 9),
        lambda: "".join(generator.choice("ab '\"\\\n\tß%@#") for _ in range(generator.randint(0, 200))),
        lambda: generator.choice([syntax.Macro("m"), syntax.Macro("s/m")]),
        lambda: syntax.Reference(("s", "t"), "ToyCorner", generator.random() < 0.5),
    ]
    nested = [
        lambda: [random_value(generator, depth - 1) for _ in range(generator.randint(0, 6))],
        lambda: tuple(random_value(generator, depth - 1) for _ in range(generator.randint(0, 3))),
        lambda: {str(k): random_value(generator, depth - 1) for k in range(generator.randint(0, 4))},
    ]
    return generator.choice(simple + (nested if depth else []))()


def test_text_reads_back_as_the_same_values(toys):
    generator = random.Random(0)
    location = syntax.Location("here", "", "given")
    for _ in range(300):
        value = random_value(generator)
        binding = syntax.Binding(("s",), "ToyGrid", "corner", value, location)
        reader = reading.Reader()
        text = syntax.format_statements([], [binding])
        reader.read_parameter(text)
        (read,) = reader.bindings
        assert repr(read.value) == repr(value)
        assert read.key == binding.key
        assert syntax.format_statements([], [read]) == text


def test_the_part_of_the_text_that_a_command_reads_itself(toys):
    others = "review.data = @ToyCorner()\nreview.limit = 2\nToyCorner.radius = 4\n"
    load(toys, GIVEN + others)
    assert (
        config.text_of("review") == "review.data = @ToyCorner()\nreview.limit = 2\n\nToyCorner.radius = 4\n"
    )
    assert config.text_of("rehearse") == "rehearse.data = @ToyGrid()\n\nToyGrid.width = 3\n"


def test_text_is_a_configuration_of_its_own(toys):
    (toys / "base.gin").write_text("ToyWideGrid.width = 1\nspeed = 2")
    first = load(
        toys,
        "include 'base.gin'\n" + GIVEN + "s/m = @ToyCorner()\nToyGrid.corner = %s/m\ns/ToyCorner.radius = 3\n"
        "review.limit = 4\nrehearse.callbacks = [@a/ToyRecorder(), @ToyRecorder()]\na/ToyRecorder.text = "
        + repr("long " * 50),
    )
    second = load(toys, first.text)
    assert first.warnings
    assert not second.warnings
    assert second.text == first.text
    assert max(map(len, first.text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ToyGrid.width = = 3", "x.gin:1: `ToyGrid.width = = 3`: Unable to parse value."),
        ("\nToyGrid.width = wide", "x.gin:2: `ToyGrid.width = wide`: `wide` is not a value; write text"),
        ("ToyGrid.width = [1,\n2", "is a bracket or quote left open?"),
        ("ToyGrid.width = 'a", "x.gin:1: `ToyGrid.width = 'a`: Unable to parse value."),
        ("ToyGrid.width = {[1]: 2}", "x.gin:1: `ToyGrid.width = {[1]: 2}`: unhashable type: 'list'"),
        ("ToyGrid.width", "x.gin:1: `ToyGrid.width`: Couldn't parse statement, expected ':' or '='."),
        ("include x", "x.gin:1: `include x`: `x` is not a value"),
        ("ToyGrid:\n    width = 3\n  height = 4", "x.gin:3"),
    ],
)
def test_syntax_errors(toys, monkeypatch, text, expected):
    monkeypatch.setattr(registry, "load_builtins", lambda: pytest.fail("syntax errors must be told at once"))
    assert expected in message(toys, text)


def test_syntax_error_on_the_command_line(toys):
    assert message(toys, GIVEN, "ToyGrid.width").startswith("--gin_param='ToyGrid.width': Couldn't parse")


def test_unknown_root(toys):
    with pytest.raises(ConfigurationError, match="did you mean 'rehearse'"):
        config.load("rehearze")


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import os", "os"),
        ("import gin_canary", "gin_canary"),
        ("import gin_canary as toys", "gin_canary"),
        ("from gin_canary import anything", "gin_canary.anything"),
    ],
)
def test_imports_without_consent_are_refused(toys, monkeypatch, statement, module):
    monkeypatch.setattr(registry, "load_builtins", lambda: pytest.fail("nothing may be imported"))
    (toys / "y.gin").write_text(statement)
    for text, place in ((f"{GIVEN}{statement}", "x.gin:3"), ("include 'y.gin'", "y.gin:1")):
        assert message(toys, text, plugins=["trusted"]) == (
            f"`{statement}` ({place}) is refused: an import could run any code; name the module "
            f"with --plugin={module} if you trust it"
        )
    assert f"(--gin_param='{statement}')" in message(toys, GIVEN, statement)
    assert "gin_canary" not in sys.modules
    assert not (toys / "canary").exists()


def test_dynamic_registration_is_refused_whatever_is_trusted(toys):
    statement = "from __gin__ import dynamic_registration"
    found = message(toys, statement, plugins=["__gin__", "__gin__.dynamic_registration"])
    assert found.startswith(f"`{statement}` (x.gin:1) is refused")


def plugin(folder, monkeypatch, name):
    (folder / f"{name}.py").write_text(
        "from vaeflow import registry\n\n@registry.dataset\n"
        f"class {name.title()}Grid:\n    def __init__(self, width=1):\n        self.width = width\n"
    )
    monkeypatch.syspath_prepend(folder)
    return f"import {name}\nrehearse.data = @{name.title()}Grid()\n{name.title()}Grid.width = 5"


def test_a_plugin_named_by_the_user_is_imported_and_kept_in_the_text(toys, monkeypatch):
    text = plugin(toys, monkeypatch, "named")
    configuration = load(toys, text, plugins=["named"])
    assert config.call("rehearse")["data"].width == 5
    assert configuration.plugins == ("named",)
    assert configuration.text.startswith("import named\n\n")
    assert load(toys, configuration.text, plugins=["named"]).text == configuration.text
    assert "`import named` (x.gin:1) is refused" in message(toys, configuration.text)


def test_a_plugin_announced_by_a_package_is_imported(toys, monkeypatch):
    text = plugin(toys, monkeypatch, "announced")
    monkeypatch.setattr(registry, "announced_plugins", lambda: ["announced"])
    assert load(toys, text).plugins == ("announced",)
    assert config.call("rehearse")["data"].width == 5


def test_a_plugin_that_cannot_be_imported(toys):
    found = message(toys, GIVEN, plugins=["no_such_module"])
    assert "the plug-in 'no_such_module' cannot be imported" in found


def test_a_bad_value_is_told_with_its_line_when_gin_makes_it(toys):
    load(toys, GIVEN + "ToyGrid.width = -3")
    with pytest.raises(ConfigurationError) as caught:
        config.call("rehearse")
    assert str(caught.value) == (
        "x.gin:3: `ToyGrid.width` must be a positive integer, got -3; set `ToyGrid.width` to 1 or more"
    )


def test_a_bad_value_is_told_with_its_line_when_a_factory_is_called(toys):
    load(toys, GIVEN + "rehearse.options = @a/ToyWideGrid\nToyWideGrid.width = -3\na/ToyWideGrid.stretch = 3")
    factory = config.call("rehearse")["options"]
    with pytest.raises(ConfigurationError) as caught, config.values_checked():
        factory()
    assert str(caught.value).startswith("x.gin:4: `ToyWideGrid.width` must be a positive integer")


def test_a_wrong_type_is_told_with_what_was_being_made(toys):
    load(toys, "rehearse.data = @ToyWideGrid()\nToyWideGrid.width = 3\nToyWideGrid.stretch = 'far'")
    with pytest.raises(ConfigurationError) as caught:
        config.call("rehearse")
    found = str(caught.value)
    assert found.startswith('can only concatenate str (not "int") to str (while making `ToyWideGrid`')
    assert "asked for at x.gin:1" in found
    assert "gin_toys.py:" in found
    assert "configurable" not in found


def test_a_missing_argument_is_told_without_gins_additions(toys):
    load(toys, GIVEN + "rehearse.options = @toy_error_rate")
    factory = config.call("rehearse")["options"]
    with pytest.raises(ConfigurationError) as caught, config.values_checked():
        factory()
    assert str(caught.value).splitlines()[0] == (
        "toy_error_rate() missing 1 required positional argument: 'model' (while making `toy_error_rate`, "
        "asked for at x.gin:3)"
    )


def test_defects_of_the_command_keep_their_type(toys):
    load(toys, GIVEN + "rehearse.num_steps = 13")
    with pytest.raises(ValueError, match="a defect") as caught:
        config.call("rehearse")
    assert not isinstance(caught.value, ConfigurationError)


def test_values_checked_leaves_defects_and_run_errors_alone():
    with pytest.raises(TypeError):
        own_code.function("def run(config):\n    with config.values_checked(): len(3)")(config)
    with pytest.raises(DataError, match=r"^file gone$"), config.values_checked():
        raise DataError("file gone")
    with pytest.raises(ConfigurationError, match=r"^too small"), config.values_checked():
        raise ValueError("too small")


def test_operative_text_tells_the_defaults_too(toys):
    load(toys, GIVEN)
    config.call("rehearse")
    assert "ToyGrid.height = 2" in config.operative_text()
