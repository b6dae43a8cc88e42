"""All checks of a model, one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

from vaeflow.testing.faults import Check
from vaeflow.testing.lifecycle import check_fit, check_resume, check_saving
from vaeflow.testing.noise import check_latents, check_noise, check_samples
from vaeflow.testing.objective import check_gradients, check_parts, check_side_effects, check_terms
from vaeflow.testing.replicas import check_replicas, importable

CHECKS: Sequence[Check] = (
    check_terms,
    check_gradients,
    check_side_effects,
    check_parts,
    check_noise,
    check_samples,
    check_latents,
    check_saving,
    check_fit,
    check_resume,
)


def check_model(
    factory: Callable[[], Any], image_shape: Sequence[int] = (8, 8, 1), tell: Callable[[str], Any] = print
) -> None:
    """Puts a model through everything that training, saving and resuming rely on.

    It takes about a minute, on the CPU, half of it in a second process with two
    replicas, and says what it is doing. A model with `scope="replica"` differs between one and
    two by intention and does not pass.

    Args:
      factory: makes the model, unbuilt, when called without arguments: its class, or a
        function. It must be importable by its name, not made within a function or a
        notebook, since the second process imports it.
      image_shape: `(H, W, C)` of the images to use; small ones are quicker.
      tell: is called with a line for each check.

    Raises:
      AssertionError: something is broken; the message lists all faults that were found, and
        says what to do about each.
    """
    importable(factory)
    faults = []
    every = (*CHECKS, check_replicas)
    for number, check in enumerate(every, 1):
        tell(f"check {number} of {len(every)}: {getattr(check, 'doing', check.__name__)}")
        try:
            check(factory, tuple(image_shape))
        except AssertionError as error:
            faults += str(error).splitlines()
    # One fault may show in several checks.
    if faults := list(dict.fromkeys(faults)):
        listed = "\n".join(f"  {number}. {fault}" for number, fault in enumerate(faults, 1))
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise AssertionError(f"{factory.__name__} has {count}:\n{listed}")
