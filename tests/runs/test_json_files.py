"""JSON is written strictly, and read with a check of what it holds."""

import json
import math

import numpy as np
import pytest

from vaeflow.runs import json_files
from vaeflow.runs.json_files import MalformedError, parse

STEP = {"step": json_files.WHOLE}


def test_what_is_not_finite_is_written_as_null(tmp_path):
    content = {"a": math.nan, "b": [math.inf, (1.5, {"c": -math.inf})], "d": np.float64("nan"), "e": "NaN"}
    json_files.write(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": None, "b": [None, [1.5, {"c": None}]], "d": None, "e": "NaN"
    }  # fmt: skip


def test_half_of_a_surrogate_pair_is_written_as_an_escape(tmp_path):
    """As Python gives a byte of a file's name that is no UTF-8."""
    json_files.write(tmp_path / "a.json", {"name": "é\udcff"}, ascii_only=False)
    assert (tmp_path / "a.json").read_bytes() == '{\n "name": "é\\udcff"\n}\n'.encode()


BAD = {
    "": "line 1 is no JSON",
    '{"step": 1,\n\n}': "line 3 is no JSON",
    "[]": r"it holds \[\] where an object is expected",
    "5": "it holds 5 where",
    "null": "it holds null where",
    "{}": "it lacks 'step'",
    '{"step": "1"}': "its 'step' must be a whole number, got \"1\"",
    '{"step": true}': "its 'step' must be a whole number, got true",
    '{"step": 1.0}': "its 'step' must be a whole number",
    '{"step": NaN}': "it holds NaN, which is no JSON",
    '{"step": -Infinity}': "it holds -Infinity",
    '{"step": 1e999}': "the number 1e999 is too large",
    '{"step": ' + "9" * 5000 + "}": "a number of 5000 digits is too large",
    '{"step": 1, "step": 2}': "it holds 'step' twice",
    '{"step": 1, "a": ' + "[" * 60 + "]" * 60 + "}": "it is nested too deep",
    "[" * 100_000: "it is nested too deep",
    '{"step": 1, "a": ' * 50_000: "it is nested too deep",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_refused_in_one_line(text):
    with pytest.raises(MalformedError, match=BAD[text]) as caught:
        parse(text.encode(), STEP)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_byte_that_is_no_utf8_is_named_by_its_line():
    with pytest.raises(MalformedError, match="line 2 is not UTF-8"):
        parse(b'{"step": 1,\n"\xff": 2}', STEP)


def test_further_names_are_accepted():
    assert parse(b'{"step": 1, "mine": [1, 2]}', STEP) == {"step": 1, "mine": [1, 2]}


def test_an_optional_name_may_be_absent_but_not_something_else():
    assert parse(b"{}", {}, STEP) == {}
    with pytest.raises(MalformedError, match="'step' must be"):
        parse(b'{"step": null}', {}, STEP)
