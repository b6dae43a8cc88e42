"""The search of a study: Optuna proposes the settings of its runs, and ends bad runs early."""
