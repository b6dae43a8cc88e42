"""Starts the workers of a run, on this machine or through Ray."""
