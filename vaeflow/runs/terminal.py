"""Makes text safe to print on a terminal."""

import logging


def printable(text: str) -> str:
    r"""Escapes the characters that a terminal would obey or cannot show.

    Names of files and what a data set says of itself may hold anything: an escape sequence would
    colour the terminal, move its cursor or set its title, and half of a surrogate pair cannot be
    encoded at all. Line breaks and tabs stay.

    Args:
      text: e.g. the message of an error.

    Returns:
      The text with, for example, `\x1b` written out in four characters.
    """
    return "".join(char if char.isprintable() or char in "\n\t" else _escaped(char) for char in text)


def printable_record(record: logging.LogRecord) -> bool:
    """Escapes a message of `logging`; a filter for `logging.Handler.addFilter`."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
