"""The commands of vaeflow, each run as `python -m launch.<name>`."""
