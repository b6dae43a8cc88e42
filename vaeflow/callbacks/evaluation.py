"""Evaluates during training."""

from vaeflow import registry
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.datasets.base import VALIDATION
from vaeflow.errors import TrainingDiverged
from vaeflow.runs.finite import first_not_finite

_SCORE = "selection_score"


@registry.callback
class Evaluation(Callback):
    """Evaluates on the validation split, with the averaged weights if the run keeps them.

    Without a validation split (`validation_fraction` of a dataset), it evaluates on the evaluation
    split; these figures choose no checkpoint.

    Args:
      every_steps: how often; also after the last step.
    """

    takes_long = True

    def __init__(self, every_steps: int = 1000) -> None:
        super().__init__(every_steps)

    def measure(self, run: RunContext) -> dict[str, float]:
        with run.trainer.averaged_weights():
            results = run.evaluator.evaluate()
        if bad := first_not_finite(results.items()):
            raise TrainingDiverged(
                f"training diverged: the evaluation after step {run.step} gives {bad} = {results[bad]}. "
                "Try a lower learning rate or `train.gradient_clip_norm`"
            )
        if run.evaluated == VALIDATION:
            results[_SCORE] = run.trainer.model.selection_score(results)
        return {f"{run.evaluated}/{name}": value for name, value in results.items()}
