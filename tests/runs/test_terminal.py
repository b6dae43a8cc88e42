"""Only text reaches a terminal, and nothing that the terminal obeys."""

import io
import logging

import pytest

from vaeflow.runs.terminal import printable, printable_record


@pytest.mark.parametrize(
    "text", ["", "a plain message", "two\nlines\tand a tab", "é ü 漢字 █░ × − σ", "C:\\folder", "🙂"]
)
def test_ordinary_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\033[31mred", r"\x1b[31mred"),
        ("\r\b\a\0", r"\r\x08\x07\x00"),
        ("\x9b31m", r"\x9b31m"),  # The same as ESC [, in one character.
        ("abc\u202edef", r"abc\u202edef"),  # Would show what follows from right to left.
        ("name\udcff.png", r"name\udcff.png"),  # A file's name that is not UTF-8.
        ("\u2028", r"\u2028"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_a_terminal_obeys_or_cannot_show_is_written_out(text, shown):
    assert printable(text) == shown


def test_what_is_printable_can_be_encoded():
    printable("".join(map(chr, range(0x110000)))).encode()


def test_a_logged_message_is_escaped_with_its_arguments():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(printable_record)
    record = logging.LogRecord("absl", logging.WARNING, "", 1, "cannot read %s", ("\033[2Jx.png",), None)
    handler.handle(record)
    assert stream.getvalue() == "cannot read \\x1b[2Jx.png\n"
