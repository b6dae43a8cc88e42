"""The separated attribute predictability."""

import numpy as np

from vaeflow import registry
from vaeflow.metrics.disentanglement import parallel
from vaeflow.metrics.disentanglement.base import Score
from vaeflow.metrics.disentanglement.mig import gap_of_two_largest
from vaeflow.metrics.disentanglement.representations import Representations

_STUDY_C = 0.01  # Of Locatello et al. 2019 (arXiv:1811.12359), appendix C.


@registry.score
class SAP(Score):
    """Separated attribute predictability: by how much one latent predicts a factor better than every other.

    Kumar, Sattigeri & Balakrishnan 2018 (arXiv:1711.00848), section 3: a linear support vector machine
    predicts each factor from each latent alone; the score is the mean over the factors of the best
    accuracy minus the second best, on images that trained none of them. As in the study of Locatello et
    al. 2019 (arXiv:1811.12359), the values of a factor are classes, C is 0.01 and the classes have
    equal weight. 0 if two latents predict a factor equally well. Even a perfect code has less than 1: the
    other latents guess one of V equally likely values right, and of the values along a latent, a line
    separates only those at both ends from the rest.

    The machine is solved in the primal, which has one solution and needs no random numbers; the
    study's code solved the dual with a random order that it did not seed.

    On 2,000 noisy rotations of sprites' factors (`tests/fixtures/sprite_codes.py`), a third of them held out,
    that code, whose scikit-learn now takes the primal too, gives 0.0360 and this the same.

    Args:
      **kwargs: see `Score`.
    """

    def measure(self, representations: Representations, seed: int) -> dict[str, float]:
        (codes, factors), (test_codes, test_factors) = representations.train_and_test(self.generator(seed))
        jobs = [
            (codes, factors[:, factor], test_codes, test_factors[:, factor])
            for factor in range(representations.num_factors)
        ]
        accuracies = parallel.map_jobs(_accuracies, jobs, representations.num_processes, "the score SAP")
        return {"sap": float(np.mean(gap_of_two_largest(np.stack(accuracies, axis=1))))}


def _accuracies(
    codes: np.ndarray, labels: np.ndarray, test_codes: np.ndarray, test_labels: np.ndarray
) -> np.ndarray:
    """Returns how often each latent alone predicts a factor, `[D]`."""
    from sklearn.svm import LinearSVC

    if (labels == labels[0]).all():  # No classes to tell apart.
        return np.full(codes.shape[1], np.mean(test_labels == labels[0]))
    machine = LinearSVC(
        C=_STUDY_C,
        class_weight="balanced",
        dual=False,  # pyright: ignore[reportArgumentType] -- or the text "auto"
    )
    pairs = zip(_columns(codes), _columns(test_codes), strict=True)
    return np.array([machine.fit(one, labels).score(other, test_labels) for one, other in pairs])


def _columns(codes: np.ndarray) -> list[np.ndarray]:
    return np.split(codes, codes.shape[1], axis=1)
