"""`vaeflow list` shows what a gin file can name."""

import pytest

from vaeflow.commands import command_line
from vaeflow.commands.programs import list as list_command


@pytest.fixture
def listed(toys, capsys):
    def run(*arguments):
        code = command_line.main(list_command.COMMAND, arguments)
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
    assert "'modle' is neither a kind nor a registered name; did you mean 'model'" in error


def test_a_name_is_described_with_the_meaning_of_each_parameter(listed, toys, monkeypatch):
    (toys / "described_plugin.py").write_text(
        "from vaeflow import registry\n\n@registry.dataset\nclass DescribedGrid:\n"
        "    'A grid.\\n\\n    Args:\\n      width: in pixels.\\n      corner: made by whom.\\n    '\n"
        "    def __init__(self, width, corner=print, text='a'):\n        pass\n"
    )
    code, out, _ = listed("DescribedGrid", "--plugin=described_plugin")
    assert code == 0
    assert out == (
        "DescribedGrid (dataset)\n"
        "\n"
        "  A grid.\n"
        "  from described_plugin\n"
        "\n"
        "  DescribedGrid.width, required\n"
        "      in pixels.\n"
        "\n"
        "  DescribedGrid.corner = @print\n"
        "      made by whom.\n"
        "\n"
        "  DescribedGrid.text = 'a'\n"
    )


def test_a_command_is_described_without_what_flags_set(listed):
    code, out, _ = listed("rehearse")
    assert code == 0
    assert out.startswith("rehearse (command)\n")
    assert "rehearse.num_steps" in out


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
