"""The meaning of arguments, read from docstrings."""

from vaeflow.commands import documentation


class Base:
    """A grid.

    Args:
      width: how wide,
        in pixels: at least 1.
      height: of the base.

    Attributes:
      area: not an argument.
    """


class Derived(Base):
    """A coloured grid.

    Args:
      *colours: one for each cell.
      height, depth: in pixels.
    """


def test_the_items_of_a_class_and_its_bases():
    assert documentation.arguments(Derived) == {
        "colours": "one for each cell.",
        "height": "in pixels.",
        "depth": "in pixels.",
        "width": "how wide, in pixels: at least 1.",
    }


def test_a_function_whose_docstring_uses_the_indentation_of_keras():
    def make(rate, name=None):
        """Makes it.

        Args:
            rate: A float. Note: in Hz.

                Another paragraph.
            name: A string.
        Returns:
            something: else.
        """

    assert documentation.arguments(make) == {
        "rate": "A float. Note: in Hz. Another paragraph.",
        "name": "A string.",
    }


def test_without_a_docstring_nothing_is_known():
    assert documentation.arguments(lambda width: width) == {}
