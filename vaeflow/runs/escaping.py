"""Makes text of others mean nothing where it goes: one function for each place.

Names of files, and what a data set or a work folder says of itself, may hold anything. It is escaped
once, where it is written: on a terminal, in Markdown, in a table of text.
"""

import logging
import re

# What would mean something there: always; at the end of a link's text; around words; at the start of a line.
_MARKDOWN = re.compile(r"[\\`*|~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|^[-+=](?=\s|$)|^#|(?<=^\d)\.(?=\s|$)")
# A spreadsheet would compute what starts with one of these.
_FORMULA = ("=", "+", "-", "@")
# Of a URL, between the user's name and the host.
_PASSWORD = re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]*(?=@)")


def without_passwords(text: str) -> str:
    """Writes `***` in place of the password of each URL in a text, as in `sftp://user:***@host`."""
    return _PASSWORD.sub(r"\1:***", text)


def printable(text: str) -> str:
    r"""Escapes the characters that a terminal would obey or cannot show, and leaves passwords of URLs out.

    An escape sequence would colour the terminal, move its cursor or set its title, and half of a
    surrogate pair cannot be encoded at all. Line breaks and tabs stay.

    Args:
      text: e.g. the message of an error.

    Returns:
      The text with, for example, `\x1b` written out in four characters.
    """
    shown = without_passwords(text)
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in shown)


def printable_record(record: logging.LogRecord) -> bool:
    """Escapes a message of `logging`; a filter for `logging.Handler.addFilter`."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


def markdown(text: str) -> str:
    r"""Escapes text for Markdown, also in the cell of a table: it is shown as it is, in one line.

    Args:
      text: e.g. the name of a folder.

    Returns:
      The text with, for example, `\*` in place of `*`, and `&lt;` in place of `<`.
    """
    line = printable(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\g<0>", line)


def code(text: str) -> str:
    """Makes code in a line of Markdown, which nothing in the text can end.

    Args:
      text: e.g. the name of a measure.
    """
    line = printable(" ".join(text.split()))
    fence = "`" * (1 + _longest_fence(line))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def code_block(text: str) -> str:
    """Makes a block of code in Markdown, which no line of the text can end."""
    fence = "`" * max(3, 1 + _longest_fence(text))
    return f"{fence}\n{printable(text)}\n{fence}"


def cell(text: str, delimiter: str) -> str:
    """Makes text the cell of a table of text: it ends neither the cell nor the line, and is no formula.

    Args:
      text: e.g. the name of a column.
      delimiter: what separates two cells.
    """
    line = printable(" ".join(text.replace(delimiter, " ").replace('"', "'").split()))
    return f"'{line}" if line.startswith(_FORMULA) else line


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _longest_fence(text: str) -> int:
    """Returns how many backticks follow one another at most."""
    return max(map(len, re.findall("`+", text)), default=0)
