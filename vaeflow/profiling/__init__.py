"""Measures how fast a run trains, each configuration in a process of its own."""
