"""The search of a study: Optuna proposes the settings of its runs, and ends bad runs early."""

from vaeflow.commands.studies.search.optuna_search import OptunaSearch

__all__ = ["OptunaSearch"]
