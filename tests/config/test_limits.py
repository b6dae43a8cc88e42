"""A configuration that would take for ever, or more memory than there is, is refused in a moment."""

import os

import pytest

from vaeflow import config
from vaeflow.config import limits
from vaeflow.errors import ConfigurationError

GIVEN = "rehearse.data = @ToyGrid()\nToyGrid.width = 3\n"


def numbered(line, count):
    return "".join(line.format(i, i + 1) for i in range(count))


def refusal(folder, text):
    (folder / "x.gin").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        config.load("rehearse", ["x.gin"])
    return str(caught.value)


# Each takes more than a minute, or ends in a RecursionError, without the limits.
TEXTS = {
    "a tuple of macros that doubles": (
        "m0 = (1,)\n" + numbered("m{1} = (%m{0}, %m{0})\n", 26) + "rehearse.options = %m26\n",
        "the value has more than 20,000 parts",
    ),
    "objects that double": (
        numbered("s{0}/ToyCorner.inner = (@s{1}/ToyCorner(), @s{1}/ToyCorner())\n", 26)
        + "rehearse.options = @s0/ToyCorner()\n",
        "the value has more than 20,000 parts",
    ),
    "a chain of macros, the first one first": (
        "m0 = 1\n" + numbered("m{1} = %m{0}\n", 2000) + "rehearse.options = %m2000\n",
        "in a chain of more than 40",
    ),
    "a chain of macros, the last one first": (
        numbered("m{0} = %m{1}\n", 2000) + "m2000 = 1\nrehearse.options = %m0\n",
        "in a chain of more than 40",
    ),
    "a chain of objects": (
        numbered("s{0}/ToyCorner.inner = @s{1}/ToyCorner()\n", 1500) + "rehearse.options = @s0/ToyCorner()\n",
        "in a chain of more than 40",
    ),
    "a chain of classes": (
        numbered("s{0}/ToyCorner.inner = @s{1}/ToyCorner\n", 1500) + "rehearse.options = @s0/ToyCorner\n",
        "in a chain of more than 40",
    ),
    "chained strings": ("rehearse.options = " + "'a' " * 50_000, "more than 1,000 pieces"),
    "a long string": (f"rehearse.options = '{'a' * 20_000}'", "more than 10,000 characters"),
    "brackets": ("rehearse.options = " + "[" * 3000, "nested more than 20 deep"),
    "hexadecimal digits": ("rehearse.options = 0x" + "f" * 6000, "more than 100 digits"),
    "digits": ("rehearse.options = " + "9" * 6000, "more than 100 digits"),
    "a long name": ("rehearse." + "x" * 4000 + " = 1", "more than 500 letters"),
    "scopes": ("a/" * 1000 + "ToyGrid.height = 1", "a scope has more than 16 parts"),
    "scopes of a reference": ("rehearse.options = @" + "a/" * 1000 + "ToyCorner()", "more than 16 parts"),
    "bindings": (numbered("m{0} = 1\n", 30_000), "more than 20,000 words"),
    "unknown macros": (f"rehearse.options = [{numbered('%m{0}, ', 4400)}]", "%m0 has no value"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_would_take_too_long_is_refused(toys, name):
    text, expected = TEXTS[name]
    assert expected in refusal(toys, GIVEN + text)


def test_a_refusal_names_the_line(toys):
    assert refusal(toys, GIVEN + "\nrehearse.options = " + "9" * 6000).startswith("x.gin:4: a number")


@pytest.mark.parametrize("times", [1, 2])
def test_includes_without_end(toys, times):
    for number in range(250):
        (toys / f"i{number}.gin").write_text(f"include 'i{number + 1}.gin'\n" * times)
    (toys / "i250.gin").write_text(GIVEN)
    assert "include more than 200 files" in refusal(toys, "include 'i0.gin'")


def test_the_words_of_all_files_count_together(toys):
    (toys / "part.gin").write_text(numbered("m{0} = 1\n", 900))
    assert "part.gin:" in (found := refusal(toys, "include 'part.gin'\n" * 10))
    assert "more than 20,000 words" in found


@pytest.mark.slow
def test_a_value_within_the_limits_is_read(toys):
    chain = numbered("m{0} = %m{1}\n", limits.LONGEST_CHAIN - 2) + f"m{limits.LONGEST_CHAIN - 2} = 1\n"
    (toys / "x.gin").write_text(f"{GIVEN}{chain}rehearse.options = [%m0, {'1,' * 5000}]\n")
    config.load("rehearse", ["x.gin"])
    assert config.call("rehearse")["options"][0] == 1


def test_only_a_regular_file_is_read(toys):
    os.mkfifo(toys / "fifo.gin")
    (toys / "folder.gin").mkdir()
    (toys / "link.gin").symlink_to("nowhere.gin")
    for name, expected in {
        "fifo.gin": "fifo.gin is not a regular file",
        "/dev/zero": "/dev/zero is not a regular file",
        "folder.gin": "folder.gin is a folder",
        "link.gin": "the link link.gin leads to no file",
    }.items():
        with pytest.raises(ConfigurationError, match=expected):
            config.load("rehearse", [name])
        assert expected in refusal(toys, f"include '{name}'")


def test_a_large_file_is_not_read_to_its_end(toys):
    with (toys / "large.gin").open("wb") as file:
        file.truncate(10**12)  # Takes no space.
    with pytest.raises(ConfigurationError, match=r"large.gin has more than 1,048,576 bytes"):
        config.load("rehearse", ["large.gin"])
