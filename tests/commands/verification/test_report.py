"""The report of a verification: what a reviewer reads, on the terminal and in the two files."""

import json

from tests.fixtures.recorded_runs import ENVIRONMENT
from vaeflow.commands.verification import report
from vaeflow.commands.verification.checks import (
    DIFFERENT,
    NOT_VERIFIED,
    VERIFIED,
    Check,
    Value,
    compared,
    verdict_of,
)
from vaeflow.commands.verification.versions import Sides
from vaeflow.runs import json_files

CHECKS = [
    compared("data", "the fingerprints of the data", [Value("train", "40 images", "41 images")]),
    Check("log", "the line of step 25", NOT_VERIFIED, "no digest"),
    Check("steps", "steps 10 to 15, in float64", VERIFIED, "near", (Value("train/loss", 2.0, 2.5, 0.5),)),
]
RUN = ENVIRONMENT | {"model": "VAE | *own*", "command": ["secret"]}


def test_the_terminal_has_a_line_for_each_check():
    assert [report.line(check) for check in CHECKS] == [
        "differs       the fingerprints of the data: train recorded as 40 images, found 41 images",
        "not verified  the line of step 25: no digest",
        "verified      steps 10 to 15, in float64: near",
    ]


def test_the_summary_counts():
    assert report.summary(CHECKS) == "of 3 checks 1 differs, 1 is not verified, 1 is verified"
    assert report.summary(CHECKS[2:] * 2) == "of 2 checks 2 are verified"
    assert (verdict_of(CHECKS), verdict_of(CHECKS[1:])) == (DIFFERENT, VERIFIED)


def test_the_json_has_every_value():
    content = report.as_json(DIFFERENT, CHECKS, Sides(RUN, ENVIRONMENT), {"checkpoint": "all"})
    found = json.loads(json_files.dumps(content))
    assert (found["verdict"], found["settings"]) == ("differs", {"checkpoint": "all"})
    assert found["checks"][2]["values"] == [
        {
            "name": "train/loss", "recorded": 2.0, "found": 2.5, "deviation": 0.25, "tolerance": 0.5,
            "agrees": True,
        }
    ]  # fmt: skip
    assert found["run"]["git_revision"] == "0123abcd"
    assert "command" not in found["run"]


def test_the_page_has_what_differs_first_and_both_sides():
    text = report.as_markdown(
        DIFFERENT, CHECKS, Sides(RUN, ENVIRONMENT), {"checkpoint": "all", "given": None}
    )
    parts = [line for line in text.splitlines() if line.startswith("#")]
    assert parts == [
        "# Verification", "## What differs", "## What is not verified", "## The run, and this verification",
        "## Data", "## Log", "## Repeated steps", "## Values", "### steps 10 to 15, in float64",
    ]  # fmt: skip
    assert "- model: VAE \\| \\*own\\*" in text
    assert "given" not in text
    assert "| numpy | 2.0 | 2.0 |" in text
    assert "| train/loss | 2.0 | 2.5 | 2.5e-01 | 5.0e-01 |" in text


def test_text_of_a_stranger_is_escaped():
    check = Check("files", "a\x1b[31m", VERIFIED, "b")
    assert "\x1b" not in report.line(check)
    assert "\x1b" not in report.as_markdown(VERIFIED, [check], Sides({}, ENVIRONMENT), {})
