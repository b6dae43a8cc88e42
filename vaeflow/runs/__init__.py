"""A run on disk, and what may end it."""
