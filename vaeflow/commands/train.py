"""The command `train`: what a gin file says becomes the parts of a run."""

import functools

from vaeflow import config, registry, validation
from vaeflow.callbacks import Callback
from vaeflow.commands import assembly, session
from vaeflow.devices import strategies
from vaeflow.devices.workers import find_workers
from vaeflow.optimizers import Adam
from vaeflow.training import making
from vaeflow.training.settings import with_settings

_FLAG_ADVICE = {
    "workdir": "use the flag --workdir instead",
    "allow_config_change": "use the flag --allow_config_change instead",
    "extra_callbacks": "use `train.callbacks` instead",
}


@functools.partial(registry.command, refused=_FLAG_ADVICE)
@with_settings
def train(
    workdir,
    model,
    dataset,
    optimizer=Adam,
    strategy=strategies.automatic,
    precision="float32",
    callbacks=None,
    allow_config_change=False,
    extra_callbacks=(),
    **settings,
):
    """Trains a model, or resumes where the work folder's run was stopped.

    Args:
      workdir: the folder of the run.
      model: makes the model, without arguments: a class, in gin `@BetaVAE`.
      dataset: a `Dataset`, in gin `@RenderedSprites()`.
      optimizer: makes the Keras optimizer, in gin `@Adam`.
      strategy: makes the distribution strategy, in gin `@mirrored`; `automatic` takes
        the workers that `TF_CONFIG` or Slurm names, or this machine's devices; `mirrored`
        takes this machine's devices, also where several processes of one job are runs of
        their own, each with its work folder.
      precision: `"float32"`, `"mixed_bfloat16"` or `"float64"`.
      callbacks: a list of `Callback`s; None for the defaults: progress, evaluation,
        images, summaries, checkpoints.
      allow_config_change: resume although the configuration differs.
      extra_callbacks: extra callbacks added by the launcher; not part of the saved
        configuration.
      **settings: as for `RunSettings` and `TrainingSettings`.

    Returns:
      The content of `result.json`, a dict.

    Raises:
      ConfigurationError: a setting is wrong; nothing was read or written.
      EnvironmentFailure: the disk or the data failed.
      TrainingDiverged: the loss or gradient is not finite.
      Preempted: a signal asked to stop, and the state is saved.
    """
    with config.values_checked():
        making.check_factories(strategy, model, optimizer)  # Before TensorFlow starts its devices.
        plan, training = making.checked({"dataset": dataset, "precision": precision, **settings})
        callbacks = session.default_callbacks() if callbacks is None else _checked_callbacks(callbacks)

    def make_parts():
        return assembly.Parts(*making.make_all(training.seed, precision, strategy, model, optimizer))

    return session.run(
        make_parts,
        dataset,
        session.Folder(
            workdir,
            config.text_in_force(),
            config.operative_text,
            allow_config_change,
            config.plugins_in_force(),
            config.operative_parameters,
        ),
        (plan, training),
        [*callbacks, *extra_callbacks],
        find_workers() if strategies.spans_workers(strategy) else None,
    )


def _checked_callbacks(callbacks):
    return validation.list_of("train.callbacks", callbacks, Callback, "[@Progress(), @Checkpoints()]")
