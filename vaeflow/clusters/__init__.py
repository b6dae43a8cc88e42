"""Starts the workers of a run: on this machine, or with a cluster's own means."""
