"""How far a repetition that rounds differently may be from the log, and how that follows.

A repetition in another precision, on other replicas or on another machine rounds differently. How far it
then gets away from the run depends on the run: most intervals keep rounding small, and some multiply it, as
one of FactorVAE did by 100,000: a unit of its discriminator was on either side of the kink of its leaky ReLU.
So the tolerance of a value is the larger of

- `BASE`, for each 100 steps. Over 20 and 100 steps of the tests' tiny models (VAEs with Gaussian latents,
  flows, two levels and codes, WAE, β-TC-VAE, and FactorVAE but for that interval; after 20 and after 220
  steps of training), float32 was at most 5.9e-6 from float64 in any metric, 6.5e-7 in the loss and 1.0e-6
  in the weights. In 50 steps of `conv_vae.gin` it was 6.8e-6, 4.2e-7 and 3.5e-5: where a gradient is nearly
  0, rounding chooses the direction of Adam's step. So weights are given more, `OF_WEIGHTS`. In
  mixed_bfloat16 the first three of these models were at most 8.1e-3 off in any metric, 1.4e-2 in weights;
- `FACTOR` times the spread of the repetitions of the interval, which start from one state and differ in
  nothing but rounding, and know nothing of the log.

A deviation is relative to the recorded value, or to `FLOOR` of the loss where that is larger: small terms
are differences of large ones.
"""

from collections.abc import Mapping, Sequence

from vaeflow.commands.verification.checks import Value
from vaeflow.commands.verification.repeating import Repeated

BASE = {"float32": 1e-4, "mixed_bfloat16": 3e-2, "float64": 1e-9}
OF_WEIGHTS = {"float32": 1e-3, "mixed_bfloat16": 5e-2, "float64": 1e-8}
FACTOR = 10.0
FLOOR = 1e-3
# A value whose tolerance is larger is not judged.
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
      repetitions: what each way of repeating it gave.

    Attributes:
      of_weights: the tolerance of the weights at the end.
    """

    def __init__(self, precision: str, num_steps: int, repetitions: Sequence[Repeated] = ()) -> None:
        times = max(1.0, num_steps / _STEPS)
        self._base = BASE[precision] * times
        self._lines = [line for each in repetitions for line in each.lines]
        spread = max((each.from_original for each in repetitions), default=0.0)
        self.of_weights = max(OF_WEIGHTS[precision] * times, FACTOR * spread)

    def value(self, step: int, name: str, recorded: float | None, found: float | None, loss: float) -> Value:
        """Returns a value of the line of a step, with its tolerance."""
        scale = FLOOR * abs(loss)
        values = [line[name] for line in self._lines if line["step"] == step and name in line]
        spread = Value(name, min(values), max(values), scale=scale).deviation if values else None
        return Value(name, recorded, found, max(self._base, FACTOR * (spread or 0.0)), scale)


def is_counted(name: str) -> bool:
    """Whether a metric counts something, so that rounding moves it by whole units or not at all."""
    return not _COUNTED.isdisjoint(name.partition("[")[0].split("/"))


def loss_of(line: Mapping[str, float]) -> float:
    """Returns the size of the loss in a line of the log."""
    return line.get(_LOSS, 0.0)
