"""The progress line: rewritten in a terminal, plain lines elsewhere."""

import errno
import os
import sys

import pytest

from tests.fixtures.terminals import screens, terminal
from vaeflow.runs.progress_line import ProgressLine

PARTS = ["step 5/20", "12,345 images/s", "0:03 left", "loss 123.45", "negative elbo (evaluation) 678.90"]


def test_a_terminal_shows_the_newest_state_only(monkeypatch):
    with terminal(monkeypatch) as written, ProgressLine() as line:
        line.update(["step 5/20", "loss 9.00"], 0.25)
        line.update(["step 10/20", "loss 8.00"], 0.5)
    assert screens(written())[-1] == ["█" * 10 + "░" * 10 + "  step 10/20  loss 8.00"]


def test_what_comes_next_starts_on_a_row_of_its_own(monkeypatch):
    with terminal(monkeypatch) as written, ProgressLine() as line:
        line.update(["step 5/20"])
        line.close()
        print("the prompt", file=sys.stderr)
    assert screens(written())[-1] == ["step 5/20", "the prompt"]


def test_an_error_while_the_line_is_shown_starts_on_a_row_of_its_own(monkeypatch):
    with terminal(monkeypatch) as written:
        line = ProgressLine()
        line.update(["step 5/20"])
        print("launch.train: error: out of memory", file=sys.stderr)
    assert screens(written())[-1] == ["step 5/20", "launch.train: error: out of memory"]


def test_the_cursor_stays_visible_for_a_run_that_is_killed(monkeypatch):
    with terminal(monkeypatch) as written:
        ProgressLine().update(["step 5/20"])
    assert written().rfind("\033[?25h") > written().rfind("\033[?25l")


@pytest.mark.parametrize("columns", [20, 30, 60, 79, 80, 81, 120])
def test_no_number_is_cut_in_a_narrow_terminal(monkeypatch, columns):
    with terminal(monkeypatch, columns) as written, ProgressLine() as line:
        line.update(["step 4/20", *PARTS[1:]], 0.2)
        line.update(PARTS, 0.25)
    rows = screens(written())[-1]
    assert max(map(len, rows)) <= columns
    for number in ("5/20", "12,345", "0:03", "123.45", "678.90"):
        assert any(number in row for row in rows), number


def test_a_line_that_is_printed_meanwhile_stays_above(monkeypatch):
    with terminal(monkeypatch, 60) as written, ProgressLine() as line:
        line.update(["step 5/20"])
        line.print_parts(["evaluation at step 5", "negative_elbo 352.91"])
        line.update(["step 10/20"])
    assert screens(written())[-1] == ["evaluation at step 5  negative_elbo 352.91", "step 10/20"]


def test_a_terminal_that_was_closed_stops_nothing(monkeypatch):
    with terminal(monkeypatch), ProgressLine() as line:
        line.update(["step 5/20"])
        monkeypatch.setattr(os, "get_terminal_size", lose_terminal)
        line.update(["step 10/20"])


def lose_terminal(descriptor):
    raise OSError(errno.EIO, "Input/output error")


def test_a_line_that_does_not_stay_is_cleared(monkeypatch):
    with terminal(monkeypatch, 40) as written, ProgressLine(stays=False) as line:
        line.update(PARTS, 0.25)
        line.close()
        print("the result", file=sys.stderr)
    assert screens(written())[-1] == ["the result"]


def test_a_terminal_that_cannot_rewrite_gets_plain_lines(monkeypatch):
    with terminal(monkeypatch) as written:
        monkeypatch.setenv("TERM", "dumb")
        ProgressLine().update(PARTS, 0.25)
    assert written() == "  ".join(PARTS) + "\n"


def test_plain_lines_have_no_bar_and_are_not_cut_at_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ProgressLine().update(PARTS, 0.25)
    assert len("  ".join(PARTS)) > 80
    assert capsys.readouterr().err == "  ".join(PARTS) + "\n"


def test_a_forced_colour_makes_no_terminal_of_a_file(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    ProgressLine().update(PARTS, 0.25)
    assert "\033" not in capsys.readouterr().err


def test_plain_lines_come_no_more_often_than_asked_but_for_the_last(capsys):
    with ProgressLine(every_seconds=1000) as line:
        for step in range(1, 5):
            line.update([f"step {step}"], last=step == 4)
    assert capsys.readouterr().err == "step 1\nstep 4\n"


def test_a_line_that_does_not_stay_leaves_no_plain_line_of_a_short_wait(capsys):
    with ProgressLine(every_seconds=1000, stays=False) as line:
        line.update(["50 %"], 0.5)
    assert capsys.readouterr().err == ""


def test_unprintable_characters_are_written_out(capsys):
    ProgressLine().print("data  \033[31mred\033[0m")
    assert capsys.readouterr().err == "data  \\x1b[31mred\\x1b[0m\n"


def test_unprintable_characters_in_a_part_do_not_move_the_cursor(monkeypatch):
    with terminal(monkeypatch) as written, ProgressLine() as line:
        line.update(["\033[5Astep 1"])
    assert screens(written())[-1] == ["\\x1b[5Astep 1"]
