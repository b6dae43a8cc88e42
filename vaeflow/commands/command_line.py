"""The flags of the commands in `launch/`, their help, and what becomes of an exception.

    def run(flags):
        ...

    if __name__ == "__main__":
        sys.exit(command_line.main(run, __doc__))

is all that a file in `launch/` needs.
"""

import atexit
import os
import pathlib
import signal
import sys
import textwrap

from absl import flags, logging

from vaeflow import config, registry
from vaeflow.errors import ConfigurationError, Preempted, RunError

_HELP_WIDTH = 100

# The flags of training, and of the commands that use what was trained.
TRAIN_FLAGS = (
    "gin_file",
    "gin_param",
    "gin_bindings",
    "plugin",
    "workdir",
    "virtual_devices",
    "allow_config_change",
)
TRAINED_FLAGS = (
    "workdir",
    "checkpoint",
    "gin_file",
    "gin_param",
    "gin_bindings",
    "plugin",
    "virtual_devices",
)


def define_flags(*names):
    """Defines the flags that commands share.

    Args:
      *names: those wanted; all of them where none is named.

    Returns:
      An `absl.flags.FlagValues`; a command may define more on it.
    """
    values = flags.FlagValues()
    for name, define in _FLAGS.items():
        if name in names or not names:
            define(name, flag_values=values)
    return values


def main(run, documentation, values=None, arguments=(), argv=None, package="launch"):
    """Parses the command line, runs a command, and turns what stops it into an exit code.

    Args:
      run: called with the parsed flags, then the arguments that are no flags.
      documentation: what `--help` prints above the flags.
      values: what `define_flags` returned; None for all flags.
      arguments: names of the optional arguments that are no flags.
      argv: the command line; None for this process's.
      package: of the command, for its name in messages.

    Returns:
      The exit code: what `run` returned, or 0. Exceptions other than `RunError` are
      defects, and pass.
    """
    argv = sys.argv if argv is None else argv
    program = f"{package}.{pathlib.Path(argv[0]).stem}"
    values = define_flags() if values is None else values
    if {"-h", "--help", "--helpfull", "-help", "--helpshort"} & set(argv[1:]):
        print(_help(program, documentation, values, arguments))
        return 0
    # TensorFlow's greetings would bury the one message that counts.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.use_absl_handler()
    flags.FLAGS.mark_as_parsed()  # Else absl's logging complains; the flags are in `values`.
    logging.set_verbosity(logging.WARNING)
    try:
        return run(values, *_parse(argv, values, arguments)) or 0
    except RunError as error:
        kind = "preempted" if isinstance(error, Preempted) else "error"
        print(f"{program}: {kind}: {config.explain(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        # Before a run listens for signals, there is nothing to save.
        return 128 + signal.SIGINT


def run_and_exit(*arguments):
    """Runs `main` and ends the process with its exit code, without the destructors.

    What was registered with `atexit` is called. Destructors are not, because that of a
    `tf.data` iterator waits for a thread that sleeps for up to a minute: a run that had
    saved its state after 4 s ended after 100.
    """
    codes = []

    def end():
        if codes:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(codes[0])

    atexit.register(end)  # What is registered first is called last.
    codes.append(main(*arguments))
    sys.exit(codes[0])


def load(root, values):
    """Loads the configuration that the flags name; see `config.load`."""
    return config.load(root, values.gin_file, values.gin_param, values.plugin)


def load_trained(root, values):
    """Loads the configuration of the work folder that the flags name; see `config.load_trained`.

    Returns:
      The folder: `--workdir`, or the one that holds `--checkpoint`.

    Raises:
      ConfigurationError: neither names a work folder.
    """
    folder = values.workdir
    if not folder:
        path = pathlib.Path(values.checkpoint)
        if path.parent.name != "checkpoints":
            raise ConfigurationError("give --workdir=<the folder of a run>, e.g. --workdir=runs/vae")
        folder = str(path.parent.parent)
    config.load_trained(root, folder, values.gin_file, values.gin_param, values.plugin)
    return folder


def call(root, values, **arguments):
    """Splits the devices if the flags ask for it, and calls a command; see `config.call`."""
    if values.virtual_devices:
        from vaeflow.devices import strategies  # Imports TensorFlow, which `--help` must not.

        strategies.split_devices(values.virtual_devices)
    config.call(root, **arguments)


def workdir(values, prefix=""):
    """Returns `--workdir`, or `runs/<prefix><stem of the first gin file>`.

    Raises:
      ConfigurationError: neither is given.
    """
    if values.workdir:
        return values.workdir
    if not values.gin_file:
        raise ConfigurationError("give --gin_file=configs/vae.gin or another file, or --workdir=<folder>")
    return str(pathlib.Path("runs") / f"{prefix}{pathlib.Path(values.gin_file[0]).stem}")


def _parse(argv, values, arguments):
    try:
        rest = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        near = registry.did_you_mean(error.flagname, list(values))
        near = near or "; --help lists the flags"
        raise ConfigurationError(f"unknown flag --{error.flagname}{near}") from error
    except flags.Error as error:
        raise ConfigurationError(f"{error}; --help describes the flags") from error
    if len(rest) > len(arguments):
        extra = rest[len(arguments)]
        raise ConfigurationError(f"{extra!r} is not a flag; write --gin_file=… or --gin_param='…'")
    return rest


def _help(program, documentation, values, arguments):
    usage = " ".join(["usage: python -m", program, *(f"[{name}]" for name in arguments), "[flags]"])
    return "\n\n".join([usage, documentation.strip(), "flags:\n" + "\n".join(_describe(values))])


def _describe(values):
    for name in values:
        flag = values[name]
        yield f"  --{name}" if flag.boolean else f"  --{name}=…"
        description = " ".join(flag.help.partition(";\n")[0].split())
        yield textwrap.fill(description, _HELP_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _multiple(description):
    def define(name, flag_values):
        flags.DEFINE_multi_string(name, [], description, flag_values=flag_values)

    return define


_FLAGS = {
    "gin_file": _multiple(
        "A gin file: a path, or the name of one of vaeflow's own, e.g. configs/vae.gin. May be repeated; "
        "later files override earlier ones."
    ),
    "gin_param": _multiple(
        "A gin statement that overrides the files, e.g. --gin_param='train.num_steps = 1000'. May be "
        "repeated."
    ),
    "gin_bindings": lambda name, flag_values: flags.DEFINE_alias(name, "gin_param", flag_values=flag_values),
    "plugin": _multiple(
        "A Python module whose classes gin files may name, e.g. my_package.blocks. Naming it here says that "
        "you trust its code. Packages may also announce modules through the entry point group "
        f"{registry.ENTRY_POINT_GROUP}. May be repeated."
    ),
    "workdir": lambda name, flag_values: flags.DEFINE_string(
        name,
        None,
        "The folder of the run. Training: the same command in the same folder resumes; default: runs/<name "
        "of the gin file>, of a benchmark runs/benchmark-<name>.",
        flag_values=flag_values,
    ),
    "checkpoint": lambda name, flag_values: flags.DEFINE_string(
        name,
        "best",
        "Which checkpoint of the work folder: best (the lowest negative ELBO in the evaluations of the "
        "training), last, a step, or the path of a checkpoint, <workdir>/checkpoints/step-….",
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
        "Resume although the configuration differs from the one in the work folder.",
        flag_values=flag_values,
    ),
}
