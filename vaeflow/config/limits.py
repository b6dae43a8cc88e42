"""How large a configuration may be, so that reading it takes a moment whatever it says.

The largest of vaeflow's own has 150 words. A text within these limits cannot keep the reader,
the check or gin busy: their time grows with the words, and no faster.
"""

import contextlib
import dataclasses
import io
import tokenize
from collections.abc import Callable, Iterable

from vaeflow.config import syntax
from vaeflow.errors import ConfigurationError

MOST_FILES = 200
MOST_WORDS = 20_000
DEEPEST_BRACKETS = 20
LONGEST_NAME = 500
LONGEST_NUMBER = 100
# Of the pieces that Python joins to one string: gin reads them again for each piece.
LONGEST_STRING = 10_000
MOST_PIECES = 1_000
MOST_SCOPES = 16
# With every macro written out and every object made; gin makes an object for each mention.
LARGEST_VALUE = 20_000
LONGEST_CHAIN = 40
_SHOWN = 120


def count_words(text: str, place: Callable[[int, str], str], before: int = 0) -> int:
    """Counts the words of a gin text, strings and brackets included.

    Args:
      text: gin statements; what Python cannot split into words is left to gin's parser.
      place: describes a line, given its number and its text, for messages.
      before: the words of the texts before this one.

    Returns:
      The number, with those before.

    Raises:
      ConfigurationError: the text, or one of its words, is beyond a limit.
    """
    depth = pieces = characters = 0
    # What cannot be split is left to gin's parser, which says why.
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for count, token in enumerate(tokenize.generate_tokens(io.StringIO(text).readline), before + 1):
            depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
            if token.type == tokenize.STRING:
                pieces, characters = pieces + 1, characters + len(token.string)
            elif token.type not in (tokenize.NL, tokenize.COMMENT):
                pieces = characters = 0
            problem = _problem(token, count, depth, pieces, characters)
            if problem:
                where = place(token.start[0], token.line)
                raise ConfigurationError(f"{where}: {problem}, which no configuration needs")
            before = count
    return before


def _problem(token, count, depth, pieces, characters):
    """Returns which limit a word exceeds, or None."""
    if count > MOST_WORDS:
        return f"there are more than {MOST_WORDS:,} words"
    if depth > DEEPEST_BRACKETS:
        return f"brackets are nested more than {DEEPEST_BRACKETS} deep"
    if pieces > MOST_PIECES:
        return f"a string has more than {MOST_PIECES:,} pieces"
    if characters > LONGEST_STRING:
        return f"a string has more than {LONGEST_STRING:,} characters"
    if token.type == tokenize.NUMBER and len(token.string) > LONGEST_NUMBER:
        return f"a number has more than {LONGEST_NUMBER} digits"
    if token.type == tokenize.NAME and len(token.string) > LONGEST_NAME:
        return f"a name has more than {LONGEST_NAME} letters"
    return None


def check_scopes(scopes: Iterable[str], place: str) -> None:
    """Refuses a scope `a/b/…` of too many parts."""
    if len(tuple(scopes)) > MOST_SCOPES:
        raise ConfigurationError(f"{place}: a scope has more than {MOST_SCOPES} parts")


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much a value is once its macros and objects are written out.

    Attributes:
      size: the number of its parts.
      height: the length of its longest chain of macros and objects.
    """

    size: int = 0
    height: int = 0

    def holding(self, part: "Extent") -> "Extent":
        """Returns the extent with that of a macro or an object in it."""
        return Extent(self.size + part.size, max(self.height, part.height + 1))


def check_macros(bindings: Iterable[syntax.Binding]) -> None:
    """Refuses macros that stand for too large a value, or for one another in too long a chain.

    Raises:
      ConfigurationError: names the macro.
    """
    macros = {binding.label: binding for binding in bindings if binding.is_macro}
    extents: dict[str, Extent] = {}
    under_way: list[str] = []

    def extent_of(name: str) -> Extent:
        # A macro without a value, and a circle, are found later, with better words.
        if name not in macros or name in under_way:
            return Extent(1)
        if name not in extents:
            binding = macros[name]
            extent = Extent(syntax.size(binding.value))
            refuse(Extent(height=len(under_way)), binding)
            under_way.append(name)
            for leaf in syntax.leaves(binding.value):
                if isinstance(leaf, syntax.Macro):
                    extent = extent.holding(extent_of(leaf.name))
                    refuse(extent, binding)
            extents[under_way.pop()] = extent
        return extents[name]

    for name in macros:
        extent_of(name)


def refuse(extent: Extent, binding: syntax.Binding) -> None:
    """Refuses the value of a binding that holds too much, or stands at the end of too long a chain.

    Raises:
      ConfigurationError: the extent is beyond a limit.
    """
    if extent.height > LONGEST_CHAIN:
        raise ConfigurationError(
            f"{binding.location}: macros and objects refer to one another in a chain of more than "
            f"{LONGEST_CHAIN}; write the value itself"
        )
    if extent.size > LARGEST_VALUE:
        raise ConfigurationError(
            f"{binding.location}: with its macros and objects written out, the value has more than "
            f"{LARGEST_VALUE:,} parts"
        )


def shortened(text: str) -> str:
    """Returns a text for a message, without its end if it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
