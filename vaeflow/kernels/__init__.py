"""Faster versions of plain computations.

Each module computes the same numbers, up to rounding, as a Keras layer, a Keras optimizer
or the textbook formula, and says how much sooner. Read the plain version for the
mathematics; the tests in `tests/kernels` compare the two. Everything here can be replaced
by the plain version without another change.
"""
