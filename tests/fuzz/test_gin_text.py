"""Random gin texts: a configuration, or one message that says what is wrong, and never code that runs."""

import random
import time

import pytest

from tests.fixtures.mutations import mutated
from vaeflow import config
from vaeflow.config import files
from vaeflow.errors import ConfigurationError

TOYS = """
rehearse.data = @far/ToyGrid()
far/ToyGrid.width = 3
ToyGrid:
    height = %size
size = 4  # A comment.
rehearse.options = {'a': (1, 2.5, [True, None]), "b": @ToyCorner(), 'c': %size}
ToyCorner.radius = 1
rehearse.num_steps = \\
    1000
"""
COUNTS = [pytest.param(300), pytest.param(20_000, marks=pytest.mark.fuzz)]
_MOST_SECONDS = 8


def loaded(name, parameters=()):
    """Loads a file; returns the text of the configuration, or None if it is refused as it should be."""
    started, text, refusal = time.monotonic(), None, "-"
    try:
        text = config.load("rehearse", [name], parameters).text
    except ConfigurationError as error:
        refusal = str(error)
    assert 0 < len(refusal) < 20_000
    assert time.monotonic() - started < _MOST_SECONDS
    return text


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
def test_a_file_that_is_read_reads_back_as_it_was_written(toys, count):
    draw = random.Random(0)
    (toys / "x").write_text(TOYS)
    num_read = 0
    for _ in range(count):
        (toys / "x.gin").write_bytes(mutated(TOYS, draw).encode(errors="surrogatepass"))
        text = loaded("x.gin")
        if text is not None:
            (toys / "written.gin").write_text(text, encoding="utf-8")
            assert loaded("written.gin") == text
            num_read += 1
    assert num_read > count / 50


@pytest.mark.slow
@pytest.mark.parametrize("count", COUNTS)
def test_parameters(toys, count):
    (toys / "x.gin").write_text(TOYS)
    draw = random.Random(1)
    statements = [line for line in TOYS.splitlines() if " = " in line]
    for _ in range(count):
        loaded("x.gin", [mutated(draw.choice(statements), draw) for _ in range(draw.randint(1, 3))])


@pytest.mark.parametrize("count", COUNTS)
def test_words_of_the_shipped_files_in_random_order(toys, count):
    draw = random.Random(2)
    paths = sorted(files.configs_folder().glob("*.gin"))
    words = [word for path in paths for word in path.read_text(encoding="utf-8").split(" ")]
    for _ in range(count):
        text = " ".join(draw.choices(words, k=draw.randint(1, 60)))
        (toys / "x.gin").write_text(text, encoding="utf-8")
        loaded("x.gin")
