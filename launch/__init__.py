"""The commands of a clone, each run as `python -m launch.<name>`; see `vaeflow.commands.programs`."""
