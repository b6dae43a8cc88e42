"""What the commands of this folder read from their command lines."""

import argparse
from collections.abc import Callable, Collection


def names_of(known: Collection[str], noun: str) -> Callable[[str], list[str]]:
    """Returns a reader of a list such as `a,b`, for `argparse`, which refuses unknown names.

    Args:
      known: the names there are.
      noun: what they name, for the message.
    """

    def read(text):
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(
                f"no {noun} {', '.join(sorted(unknown))}; there are {', '.join(known)}"
            )
        return names

    return read


def numbers(text: str) -> list[int]:
    """Reads a list such as `0,1`, for `argparse`."""
    return list(map(int, text.split(",")))
