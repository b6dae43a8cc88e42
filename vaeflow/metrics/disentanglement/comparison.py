"""The base class of scores that compare the latents of several runs."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vaeflow import validation

AMONG = ("seeds", "all")


@dataclasses.dataclass(frozen=True)
class Latents:
    """The latents that one run gives some images.

    Attributes:
      codes: float64 `[n, D]`, the centers of q(z|x), one row for each image.
      kl: float64 `[D]`, the mean over the images of KL(q(z_d|x) ‖ p(z_d)), in nats.
    """

    codes: np.ndarray
    kl: np.ndarray


class Comparison:
    """Scores each run of a study by the latents that it and others give the same images.

    Args:
      among: `"seeds"` compares a run with those that differ from it in the seed alone; `"all"` with
        every other run of the study.

    Raises:
      ValueError: a setting is out of range.

    Example:
        @registry.score
        class SameNumberOfLatents(Comparison):
            def compare(self, runs):
                used = [int(np.sum(run.kl > 0.01)) for run in runs]
                return [{"as_many_latents": float(used.count(each) / len(used))} for each in used]
    """

    def __init__(self, among: str = "seeds"):
        self.among = validation.one_of(f"{type(self).__name__}.among", among, AMONG)

    def compare(self, runs: Sequence[Latents]) -> list[dict[str, float]]:
        """Scores some runs, in NumPy on the host.

        Args:
          runs: two or more, all of the same images in the same order.

        Returns:
          For each run, in their order, a dict from names to floats.
        """
        raise NotImplementedError

    def conditions(self) -> list[str]:
        """Lists the settings without which figures cannot be compared, for the names of the results.

        Returns:
          E.g. `["spearman"]`; `among`, the number of runs and that of images are there anyway.
        """
        return []
