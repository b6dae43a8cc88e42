"""The commands, each run as `python -m launch.<name>`: read a function from top to bottom."""
