"""Computations that are written twice: the same numbers as Keras' or the plain formula's, sooner."""
