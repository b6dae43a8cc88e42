"""The program from pictures to a tokenizer, to a prior over its codes, and to new pictures."""

import pathlib
import re

import pytest
from PIL import Image

from tests.fixtures import tiny_runs

PROGRAM = pathlib.Path(__file__).parents[1] / "examples/tokenizer/from_pictures.py"


def with_constants(**values):
    """The program with other constants on top."""
    text = PROGRAM.read_text("utf-8")
    for name, value in values.items():
        text, count = re.subn(rf"^{name} = .*", f"{name} = {value!r}", text, flags=re.MULTILINE)
        assert count == 1, name
    return text


@pytest.mark.tokenizers
@pytest.mark.slow
def test_the_program_draws_new_pictures(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    program = with_constants(IMAGE_SIZE=16, NUM_CODES=8, TOKENIZER_STEPS=2, PRIOR_STEPS=2)
    with tiny_runs.configuration_of_its_own():
        exec(compile(program, PROGRAM.name, "exec"), {"__name__": "cells"})
    assert len(list((tmp_path / "pictures").iterdir())) == 400
    with Image.open("runs/from_pictures/drawn.png") as drawn:
        assert drawn.size == (8 * 16, 16)
    bits = re.search(r"bits for each code of held-out pictures: ([\d.]+)", capsys.readouterr().out)
    assert bits
    assert 0 < float(bits[1]) < 6  # log2(8) = 3 for uniform codes.
