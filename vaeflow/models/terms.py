"""What an objective's terms and a model's updates must be, and what each parameter group minimizes."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers.terms import Term
from vaeflow.optimizers import JoinedLoss

# What a step reports besides its terms.
_RESERVED = ("loss", "block_losses")


def losses_by_group(terms: dict[str, Term], means: dict[str, tf.Tensor]) -> dict[str | None, tf.Tensor]:
    """Adds up what each parameter group minimizes.

    Args:
      terms: a dict, name -> `Term`.
      means: a dict, name -> scalar, each term's mean or a part's share of it.

    Returns:
      A dict, group -> scalar, the sum of weight · mean over the group's terms.
    """
    losses = {}
    for name, term in terms.items():
        weighted = term.weight_as(means[name].dtype) * means[name]
        losses[term.group] = losses[term.group] + weighted if term.group in losses else weighted
    return losses


def check_forward(forward: Any, model: Any) -> None:
    """Raises `ConfigurationError` unless `Model.forward` returned what training needs."""
    missing = [name for name in ("images", "training", "block_losses") if not hasattr(forward, name)]
    if missing:
        raise user_code.wrong(
            model,
            "forward",
            "must return an object with the attributes images, training and block_losses, such as a "
            f"vaeflow.models.Forward; it returned {user_code.described(forward)}",
        )


def check_terms(terms: dict[str, Term], num_examples: int | None, model: Any) -> None:
    """Checks what an objective returns.

    Args:
      terms: a dict, name -> `Term`.
      num_examples: how many examples the objective was computed for; None if it is unknown.
      model: whose `objective` returned them.

    Raises:
      ConfigurationError: it is no such dict, or a term is of the wrong shape or dtype.
    """
    if not isinstance(terms, dict) or not terms:
        problem = f"must return a dict, name -> Term, with a term or more; it returned {terms!r}"
        raise user_code.wrong(model, "objective", problem)
    for name, term in terms.items():
        if problem := _fault(name, term, num_examples):
            raise user_code.wrong(model, "objective", problem)


def _fault(name, term, num_examples):
    """Says what is wrong with a term; None for nothing."""
    if not isinstance(name, str) or name in _RESERVED:
        return f"names a term {name!r}; a name is a string other than {' and '.join(map(repr, _RESERVED))}"
    if not isinstance(term, Term):
        return f"gives {name!r} as {user_code.described(term)}; it must be a Term, as in Term(value, weight)"
    if not isinstance(term.value, tf.Tensor) or not term.value.dtype.is_floating:
        given = user_code.described(term.value)
        return f"gives the term {name!r} the value {given}; it must be a tensor of floats"
    shape = term.value.shape
    per_example = shape.rank == 1 and (None in (shape[0], num_examples) or shape[0] == num_examples)
    if shape.rank != 0 and not per_example:
        of = f" of {num_examples}" if num_examples else ""
        return (
            f"gives the term {name!r} the shape {tuple(shape)}; it must be a scalar or have one value for "
            f"each example of the batch{of}: reduce it over all but the first axis"
        )
    if not (isinstance(term.weight, numbers.Real) or getattr(term.weight, "shape", None) == ()):
        given = user_code.described(term.weight)
        return f"gives the term {name!r} the weight {given}; it must be a number or a scalar tensor"
    return None


def check_groups(terms: dict[str, Term], groups: Iterable[str | None], joined: Iterable[str] = ()) -> None:
    """Raises `ConfigurationError` where a term names a group that is not there, or a group has no term.

    Args:
      terms: a dict, name -> `Term`.
      groups: the names of the parameter groups.
      joined: the names of the joined losses, which terms name as they do groups.
    """
    named = {term.group for term in terms.values()}
    groups = [*groups, *joined]
    for name, term in terms.items():
        if term.group not in groups:
            known = ", ".join(repr(group) for group in groups)
            raise ConfigurationError(
                f"the objective's term {name!r} is of the parameter group {term.group!r}, which is none of "
                f"{known}; name it in the model's `parameter_groups`"
            )
        if name in joined:
            raise ConfigurationError(
                f"a term and a joined loss are both named {name!r}, and the log shows the weight of each; "
                "rename one"
            )
    for group in groups:
        if group not in named:
            raise ConfigurationError(
                f"no term of the objective trains the parameter group {group!r}; give one Term(…, group="
                f"{group!r})"
            )


def check_joined(joined: Mapping[str, JoinedLoss], groups: Iterable[str | None]) -> None:
    """Raises `ConfigurationError` unless each joined loss has a name of its own, and a group to join."""
    known = ", ".join(repr(group) for group in groups)
    for name, each in joined.items():
        if name in groups:
            raise ConfigurationError(
                f"a joined loss and a parameter group are both named {name!r}; rename one"
            )
        if each.into not in groups:
            raise ConfigurationError(
                f"the joined loss {name!r} is to be added to the parameter group {each.into!r}, which is "
                f"none of {known}"
            )


def check_updated(pairs: Sequence[tuple[Any, tf.Tensor]], groups: dict[str | None, Any]) -> None:
    """Raises `ConfigurationError` unless each updated variable is changed once, by nothing else.

    Args:
      pairs: of a Keras variable and its new value, from all updates.
      groups: the parameter groups, whose variables optimizers move.
    """
    trained = {id(variable) for group in groups.values() for variable in group.variables}
    changed = [variable for variable, _ in pairs]
    for variable, value in pairs:
        if id(variable) in trained:
            raise ConfigurationError(
                f"an update changes the variable {variable.path}, which an optimizer trains; make it with "
                "trainable=False"
            )
        if sum(each is variable for each in changed) > 1:
            raise ConfigurationError(f"two updates change the variable {variable.path}; make one of them")
        if tuple(value.shape) != tuple(variable.shape):
            raise ConfigurationError(
                f"an update gives the variable {variable.path}, of shape {tuple(variable.shape)}, a value of "
                f"shape {tuple(value.shape)}"
            )


def check_measured(measured: dict[str, Any], others: Sequence[str], model: Any) -> None:
    """Checks what a model's updates log.

    Args:
      measured: a dict, name -> scalar, of all updates.
      others: the names of what a step reports besides.
      model: whose `updates` named them.

    Raises:
      ConfigurationError: one is no scalar, or bears a name that is taken.
    """
    for name, value in measured.items():
        if name in others:
            raise user_code.wrong(
                model, "updates", f"logs {name!r}, which a term or the step itself logs; choose another name"
            )
        if getattr(value, "shape", None) != ():
            given = user_code.described(value)
            raise user_code.wrong(model, "updates", f"logs {name!r} as {given}; it must be a scalar tensor")
