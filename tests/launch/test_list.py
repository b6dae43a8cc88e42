"""`python -m launch.list` shows what a gin file can name."""

import pytest

from launch import list as list_command
from vaeflow.commands import command_line


@pytest.fixture
def listed(toys, capsys):
    def run(*arguments):
        flags = command_line.define_flags("plugin")
        code = command_line.main(list_command.run, "", flags, ("kind",), ["launch/list.py", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_everything_is_listed_by_kind(listed):
    code, out, _ = listed()
    assert code == 0
    headings = [line for line in out.splitlines() if line and not line.startswith(" ")]
    assert headings == ["dataset", "callback", "metric", "command"]
    assert "ToyWideGrid" in out
    assert "rehearse" in out


def test_one_kind_with_summaries_modules_and_parameters(listed):
    code, out, _ = listed("dataset")
    assert code == 0
    assert out == (
        "dataset\n"
        "\n"
        "  ToyCorner    A corner of a grid.\n"
        "               from gin_toys\n"
        "               radius=1, inner=None\n"
        "  ToyGrid      A grid.\n"
        "               from gin_toys\n"
        "               width, height=2, corner=None\n"
        "  ToySquare    A grid whose height is its width.\n"
        "               from gin_toys\n"
        "  ToyWideGrid  A stretched grid.\n"
        "               from gin_toys\n"
        "               stretch=2, width, height=2, corner=None\n"
    )


def test_an_unknown_kind_names_the_nearest(listed):
    code, out, error = listed("modle")
    assert (code, out) == (2, "")
    assert "unknown kind 'modle'; did you mean 'model'" in error


def test_a_plugin_is_listed_too(listed, toys, monkeypatch):
    (toys / "listed_plugin.py").write_text(
        "from vaeflow import registry\n\n@registry.strategy\ndef listed_strategy(text='a b', "
        + ", ".join(f"parameter_{i}={i}" for i in range(20))
        + "):\n    'Does it all.'\n"
    )
    monkeypatch.syspath_prepend(toys)
    code, out, _ = listed("strategy", "--plugin=listed_plugin")
    assert code == 0
    assert "listed_strategy  Does it all." in out
    assert "text='a b', parameter_0=0," in out
    assert "parameter_19=19" in out
    assert max(map(len, out.splitlines())) <= 100


def test_too_many_arguments(listed):
    assert listed("model", "layer")[0] == 2
