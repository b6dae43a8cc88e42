"""The flags that several commands share."""

from collections.abc import Iterable

from absl import flags

from vaeflow import registry

TRAINING = (
    "gin_file",
    "gin_param",
    "gin_bindings",
    "plugin",
    "workdir",
    "virtual_devices",
    "allow_config_change",
)
# Of the commands that use a trained model.
TRAINED = (
    "trained_workdir",
    "checkpoint",
    "gin_file",
    "gin_param",
    "gin_bindings",
    "plugin",
    "virtual_devices",
)


def define(names: Iterable[str], values: flags.FlagValues) -> None:
    """Adds the flags of these names, always in the same order.

    A name that ends in `workdir` adds `--workdir`, which means something else to a study than to a run.
    """
    for name, define_flag in _FLAGS.items():
        if name in names:
            define_flag(name, flag_values=values)


def _multiple(description):
    def define(name, flag_values):
        flags.DEFINE_multi_string(name, [], description, flag_values=flag_values)

    return define


def _workdir(description):
    def define(_name, flag_values):
        flags.DEFINE_string("workdir", None, description, flag_values=flag_values)

    return define


_FLAGS = {
    "gin_file": _multiple(
        "A gin file: a path, or the name of one of vaeflow's own, e.g. vae.gin. May be repeated; "
        "later files override earlier ones."
    ),
    "gin_param": _multiple(
        "A gin statement that overrides the files, e.g. --gin_param='train.num_steps = 1000'. May be "
        "repeated."
    ),
    "gin_bindings": lambda name, flag_values: flags.DEFINE_alias(name, "gin_param", flag_values=flag_values),
    "plugin": _multiple(
        "A Python module whose classes gin files may name, e.g. my_package.blocks, or the folder of a "
        "SavedModel that they name. Naming it here says that you trust its code. Packages may also announce "
        f"modules through the entry point group {registry.ENTRY_POINT_GROUP}. May be repeated."
    ),
    "workdir": _workdir(
        "The work folder of the run: the same command in the same folder resumes; default: runs/<name of the "
        "gin file>."
    ),
    "trained_workdir": _workdir(
        "The work folder of the run; default: the one of the checkpoint, if --checkpoint is a path."
    ),
    "verified_workdir": _workdir("The work folder of the run."),
    "study_workdir": _workdir(
        "The folder of the study: the same command in the same folder goes on; default: runs/<name of the "
        "gin file>."
    ),
    "benchmark_workdir": _workdir(
        "The folder of the report; default: runs/benchmark-<name of the gin file>."
    ),
    "checkpoint": lambda name, flag_values: flags.DEFINE_string(
        name,
        "best",
        "Which checkpoint of the work folder: best (on the validation images; the newest if the run "
        "had none), last, a step, or the path of a checkpoint, <workdir>/checkpoints/step-….",
        flag_values=flag_values,
    ),
    "encoded": lambda name, flag_values: flags.DEFINE_string(
        name,
        None,
        "The folder with the shards and their manifest: encode writes it, and export reads the scale of the "
        "latents there; default: encoded in the work folder.",
        flag_values=flag_values,
    ),
    "tokenizer": lambda name, flag_values: flags.DEFINE_string(
        name,
        None,
        "The work folder of the model that encoded the data of a model of codes or latents; default: the one "
        "that the manifest of the data names.",
        flag_values=flag_values,
    ),
    "virtual_devices": lambda name, flag_values: flags.DEFINE_integer(
        name,
        None,
        "Split the CPU, or the first GPU, into this many devices, to rehearse a run on several.",
        lower_bound=1,
        flag_values=flag_values,
    ),
    "allow_config_change": lambda name, flag_values: flags.DEFINE_bool(
        name,
        False,
        "Resume although the configuration or the data differs from what the work folder was made with.",
        flag_values=flag_values,
    ),
}
