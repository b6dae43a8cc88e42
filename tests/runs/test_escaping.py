"""Text of others means nothing where it is written: on a terminal, in Markdown, in a table."""

import io
import logging

import pytest

from vaeflow.runs import escaping
from vaeflow.runs.escaping import printable, printable_record


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sftp://me:secret@host/runs", "sftp://me:***@host/runs"),
        ("in 'a://b:c%40@d' and a://:e@f:80/g", "in 'a://b:***@d' and a://:***@f:80/g"),
        ("gs://bucket/a:b@c sftp://me@host:22/x", "gs://bucket/a:b@c sftp://me@host:22/x"),
        ("https://host:80/a b:c@d", "https://host:80/a b:c@d"),
    ],
)
def test_the_password_of_a_url_is_left_out(text, shown):
    assert escaping.without_passwords(text) == shown
    assert printable(text) == shown


@pytest.mark.slow
def test_what_is_printable_can_be_encoded():
    printable("".join(map(chr, range(0x110000)))).encode()


def test_a_logged_message_is_escaped_with_its_arguments():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(printable_record)
    record = logging.LogRecord("absl", logging.WARNING, "", 1, "cannot read %s", ("\033[2Jx.png",), None)
    handler.handle(record)
    assert stream.getvalue() == "cannot read \\x1b[2Jx.png\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n# Title <b>bold</b>", "a # Title &lt;b&gt;bold&lt;/b&gt;"),
        ("# Title", r"\# Title"),
        ("one | two", r"one \| two"),
        ("[click](http://a) ![x](y) `code` *b* _i_", r"[click\](http://a) ![x\](y) \`code\` \*b\* \_i\_"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("&lt;", "&amp;lt;"),
        ("a\\", "a\\\\"),
        ("\x1b[31m", r"\\x1b[31m"),
        ("evaluation/negative_elbo[none]", "evaluation/negative_elbo[none]"),
        ("-1.5", "-1.5"),
        ("0.002", "0.002"),
        ("Arrays, 1,234 images of 8 x 8", "Arrays, 1,234 images of 8 x 8"),
    ],
)
def test_markdown_shows_the_text_as_it_is(text, expected):
    assert escaping.markdown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mig[n=5]", "`mig[n=5]`"),
        ("a`b", "``a`b``"),
        ("`a", "`` `a ``"),
        ("a\n# b\x1b", r"`a # b\x1b`"),
        ("", "``"),
    ],
)
def test_nothing_ends_code_in_a_line(text, expected):
    assert escaping.code(text) == expected


@pytest.mark.parametrize("text", ["a = 1", "```\n# out", "a ```` b"])
def test_no_line_ends_a_block_of_code(text):
    fence, *lines, last = escaping.code_block(text).splitlines()
    assert fence == last
    assert "\n".join(lines) == text
    assert fence not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc", "a b c"),
        ("=1+1", "'=1+1"),
        ("\t@x", "'@x"),
        ("-1", "'-1"),
        ('say "x"', "say 'x'"),
        ("é", "é"),
    ],
)
def test_a_cell_ends_no_line_and_is_no_formula(text, expected):
    assert escaping.cell(text, "\t") == expected
