"""Mean and standard deviation of latents, in float64, from shards that are seen one at a time.

The sums of a shard depend on its numbers alone, and shards are joined in their order, so the
result does not depend on how many replicas or workers made them, or on how often they were stopped.
"""

import dataclasses
from typing import Any, Self

import numpy as np


@dataclasses.dataclass(frozen=True)
class Moments:
    """The mean of each of C channels, and the squared deviations from it, over some latents.

    Attributes:
      count: how many numbers each channel has: examples times places.
      mean: of each channel, float64 `[C]`.
      squares: Σ (z − mean)² of each channel, float64 `[C]`.
      variances: Σ of the variances of q(z|x), float64 `[C]`; 0 where the latents are no Gaussians.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, log_variance: np.ndarray | None = None) -> Self:
        """Returns the moments of latents `[n, …, C]`, of Gaussians that of their means.

        Args:
          values: the latents.
          log_variance: of Gaussians with these means, of the same shape.
        """
        channels = _by_channel(values)
        mean = channels.mean(axis=1)
        squares = np.square(channels - mean[:, None]).sum(axis=1)
        variances = np.zeros_like(mean)
        if log_variance is not None:
            variances = np.exp(_by_channel(log_variance)).sum(axis=1)
        return cls(channels.shape[1], mean, squares, variances)

    def joined(self, other: Self) -> Self:
        """Returns the moments of both (Chan, Golub & LeVeque 1979, STAN-CS-79-773, Eq. 2.1)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        return type(self)(
            count,
            self.mean + shift * (other.count / count),
            self.squares + other.squares + np.square(shift) * (self.count * other.count / count),
            self.variances + other.variances,
        )

    @property
    def of_all(self) -> Self:
        """The moments of all channels as one, with arrays of one number."""
        mean = self.mean.mean()
        squares = self.squares.sum() + self.count * np.square(self.mean - mean).sum()
        count = self.count * len(self.mean)
        return type(self)(count, mean[None], np.array([squares]), np.array([self.variances.sum()]))

    def statistics(self) -> dict[str, list[float]]:
        """Returns what a manifest holds of each channel; `sample_deviation` for Gaussians only."""
        numbers = {"mean": self.mean, "deviation": self.deviation}
        if self.variances.any():
            numbers["sample_deviation"] = self.sample_deviation
        return {name: values.tolist() for name, values in numbers.items()}

    @property
    def deviation(self) -> np.ndarray:
        """√(Σ (z − mean)² / count), float64 `[C]`."""
        return np.sqrt(self.squares / self.count)

    @property
    def sample_deviation(self) -> np.ndarray:
        """The standard deviation of z ~ q(z|x): of the means, and of the Gaussians around them."""
        return np.sqrt((self.squares + self.variances) / self.count)

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes as JSON holds them, in full precision."""
        lists = {name: getattr(self, name).tolist() for name in ("mean", "squares", "variances")}
        return {"count": self.count} | lists

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Makes it of what `to_json` returned."""
        lists = (np.array(content[name], np.float64) for name in ("mean", "squares", "variances"))
        return cls(content["count"], *lists)

    def may_be_of(self, count: int, channels: int) -> bool:
        """Whether these can be the moments of so many channels with so many numbers each."""
        arrays = (self.mean, self.squares, self.variances)
        return (
            self.count == count
            and all(array.shape == (channels,) for array in arrays)
            and bool((self.squares >= 0).all() and (self.variances >= 0).all())
        )


def _by_channel(values: np.ndarray) -> np.ndarray:
    """Returns float64 `[C, n]`, each channel's numbers in one row, over which NumPy adds pairwise."""
    return np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T, np.float64)
