"""How far a repetition that rounds differently may be from the log, and how that follows.

A repetition in another precision, on other replicas or on another machine rounds differently. How far it
then gets away from the run depends on the run: most intervals keep rounding small, and some, such as
those in which latents come into use, multiply it by 100,000. So the tolerance of a value is the larger of

- `BASE`, for each 100 steps. Over 20 and 100 steps of the tests' tiny models (VAEs with Gaussian latents,
  flows, two levels and codes, WAE, β-TC-VAE, FactorVAE; after 20 and after 220 steps of training),
  float32 was at most 5.9e-6 from float64 in any metric, 6.5e-7 in the loss and 1.0e-6 in the weights. In
  50 steps of `conv_vae.gin` it was 6.8e-6, 4.2e-7 and 3.5e-5: where a gradient is nearly 0, rounding
  chooses the direction of Adam's step. So weights are given `FOR_WEIGHTS` times as much;
- `FACTOR` times what one rounding does to it: the distance, in float64, between the interval and
  the same from weights that are moved by up to half a unit in the last place of the run's precision. On
  the tiny models it was at most 1.2e-7, so the first rule held; float32 rounds in every operation of
  every step, hence the factor.

A deviation is relative to the recorded value, or to `FLOOR` of the loss where that is larger: small terms
are differences of large ones.
"""

from collections.abc import Mapping, Sequence

from vaeflow.commands.verification.checks import Value
from vaeflow.commands.verification.repeating import Repeated

BASE = {"float32": 1e-4, "mixed_bfloat16": 2e-2, "float64": 1e-9}
FOR_WEIGHTS = 10.0
FACTOR = 100.0
FLOOR = 1e-3
# Half a unit in the last place.
ROUNDING = {"float32": 2.0**-24, "mixed_bfloat16": 2.0**-9}
# A value that rounding alone may move so far is not judged.
MEANINGLESS = 0.1

_LOSS = "train/loss"
_STEPS = 100
# What is counted changes by whole units.
_COUNTED = frozenset({"active_units", "dead", "perplexity", "restarted", "skipped", "usage"})


class Tolerances:
    """The tolerances of the values of one interval.

    Args:
      precision: that of the run.
      num_steps: the length of the interval.
      doubled: the repetition in float64, also from moved weights; None if there is none.

    Attributes:
      of_weights: the tolerance of the weights at the end.
    """

    def __init__(self, precision: str, num_steps: int, doubled: Repeated | None = None) -> None:
        self._base = BASE[precision] * max(1.0, num_steps / _STEPS)
        self._plain = _by_step(doubled.lines if doubled else [])
        self._moved = _by_step(doubled.moved_lines if doubled else [])
        self.of_weights = max(FOR_WEIGHTS * self._base, FACTOR * doubled.moved_weights if doubled else 0.0)

    def value(self, step: int, name: str, recorded: float | None, found: float | None, loss: float) -> Value:
        """Returns a value of the line of a step, with its tolerance."""
        scale = FLOOR * abs(loss)
        one, other = (lines.get(step, {}).get(name) for lines in (self._plain, self._moved))
        rounding = Value(name, one, other, scale=scale).deviation or 0.0
        return Value(name, recorded, found, max(self._base, FACTOR * rounding), scale)


def is_counted(name: str) -> bool:
    """Whether a metric counts something, so that rounding moves it by whole units or not at all."""
    return not _COUNTED.isdisjoint(name.partition("[")[0].split("/"))


def loss_of(line: Mapping[str, float]) -> float:
    """Returns the size of the loss in a line of the log."""
    return line.get(_LOSS, 0.0)


def _by_step(lines: Sequence[Mapping[str, float]]) -> dict[int, Mapping[str, float]]:
    return {int(line["step"]): line for line in lines}
