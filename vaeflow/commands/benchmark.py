"""Measures how fast a run would train, and what would make it faster."""

import functools
import time

from vaeflow import config, registry, validation
from vaeflow.analysis.grids import write_png
from vaeflow.devices.workers import find_workers
from vaeflow.errors import ConfigurationError
from vaeflow.profiling import cases, chart, report
from vaeflow.profiling.cases import Case
from vaeflow.profiling.processes import Measurer
from vaeflow.runs import files, temporary_files
from vaeflow.runs.escaping import printable
from vaeflow.runs.progress_line import ProgressLine
from vaeflow.runs.workdir import WorkDir
from vaeflow.training import making

_REPLICAS_ON_CPU = 2
_FLAG_ADVICE = {
    "workdir": "use the flag --workdir instead",
    "plugins": "use the flag --plugin instead",
    "virtual_devices": "use the flag --virtual_devices instead",
}


@functools.partial(registry.command, refused=_FLAG_ADVICE)
def benchmark(
    workdir,
    seconds=3.0,
    rounds=2,
    compile_modes=("none", "step", "loop"),
    steps_per_loop=None,
    replicas=None,
    trace=False,
    plugins=(),
    virtual_devices=None,
):
    """Measures the training that the configuration describes; nothing of what it trains is kept.

    Each configuration is measured in a fresh process, one after the other, in rounds.
    Callbacks (evaluation, pictures, checkpoints) are not part of it.

    Args:
      workdir: the folder to write to, not that of a run.
      seconds: how long each process measures, after compiling and warming up.
      rounds: how often each configuration is measured.
      compile_modes: the modes to compare; `[]` for none.
      steps_per_loop: the numbers of steps per loop to compare; None for 1, 10 and that of
        the run; `[]` for none.
      replicas: the numbers of replicas to compare; None for 1, 2, 4, … up to all GPUs or
        virtual devices, on a CPU 1 and 2; `[]` for none.
      trace: whether a trace of some steps is written for TensorBoard's profiler.
      plugins: modules that the configuration needs.
      virtual_devices: into how many devices the CPU, or the first GPU, is split; None to
        leave it whole.

    Returns:
      The content of `benchmark.json`, a dict.

    Raises:
      ConfigurationError: a setting is wrong.
      EnvironmentFailure: the disk, the data or the memory failed.
    """
    with config.values_checked():
        validation.positive_number("benchmark.seconds", seconds)
        validation.positive_integer("benchmark.rounds", rounds)
        chosen = _check_choices(compile_modes, steps_per_loop, replicas)
        validation.boolean("benchmark.trace", trace)
        values = config.values_of("train")
        making.checked(values)
    if find_workers() is not None:
        raise ConfigurationError("this measures one machine: unset TF_CONFIG, or leave Slurm's `srun` out")
    folder = WorkDir(workdir)
    _refuse_folder_of_a_run(folder.path)
    with folder.claim(), temporary_files.kept_in(folder.path):
        configuration = folder.path / "benchmark.gin"
        files.write_text(configuration, config.text_in_force())
        measurer = Measurer(str(configuration), tuple(plugins), seconds, virtual_devices is not None)
        trace_folder = str(folder.place("trace")) if trace else None
        try:
            found = _measure(measurer, Case(devices=virtual_devices), values, rounds, chosen, trace_folder)
        except BaseException:
            configuration.unlink(missing_ok=True)  # A folder made here goes too, when it is empty.
            raise
        folder.write_json("benchmark.json", found)
        write_png(folder.path / "benchmark.png", chart.draw(found))
    lines = [report.as_text(found), f"\nwritten to {folder.path / 'benchmark.json'} and benchmark.png"]
    if trace:
        lines.append(f"to see the trace: pip install xprof, then tensorboard --logdir {trace_folder}")
    print(printable("\n".join(lines)))
    return found


def _check_choices(modes, steps_per_loop, replicas):
    """Returns what is to be compared, name -> a tuple, or None for the usual."""
    modes = (modes,) if isinstance(modes, str) else modes
    if not isinstance(modes, (list, tuple)):
        raise ConfigurationError(f"`benchmark.compile_modes` must be a list of compile modes, got {modes!r}")
    for mode in modes:
        validation.one_of("benchmark.compile_modes", mode, ("none", "step", "loop"))
    numbers = {"steps_per_loop": steps_per_loop, "replicas": replicas}
    for name, chosen in numbers.items():
        if chosen is not None:
            chosen = (chosen,) if isinstance(chosen, int) else chosen
            numbers[name] = validation.positive_integers(f"benchmark.{name}", chosen)
    return {"compile_modes": tuple(dict.fromkeys(modes)), **numbers}


def _refuse_folder_of_a_run(path):
    if any((path / name).exists() for name in ("config.gin", "metrics.jsonl", "checkpoints")):
        raise ConfigurationError(f"{path} is the work folder of a run; choose another with `--workdir`")


def _measure(measurer, run, values, rounds, chosen, trace):
    """Measures the run, then what is compared with it; returns the report."""
    progress = _Progress()
    progress.show(run)
    first = measurer.measure(run, arithmetic=True, trace=trace)
    comparisons = _plan(run, first, values, chosen, measurer.virtual)
    different = [row.case for rows in comparisons.values() for row in rows if row.case]
    different = list(dict.fromkeys([run, *different]))
    progress.expect(rounds * len(different))

    def measure(case):
        progress.show(case)
        return measurer.measure(case, arithmetic=case == run)

    measured, failed = cases.alternate(measure, different, rounds, {run: [first]})
    progress.end()
    summary = report.with_arithmetic(report.summarize(measured[run]), measured[run])
    compared = {name: report.compare(name, rows, measured, failed) for name, rows in comparisons.items()}
    return {"run": summary, **compared, "rounds": rounds, "seconds": measurer.seconds}


def _plan(run, measured, values, chosen, virtual):
    """Lists what is compared: the name of a comparison -> its rows."""
    counts = chosen["replicas"]
    if counts is None:
        on_cpu = measured["device_kind"] == "CPU" and not virtual
        num_devices = run.devices or measured["num_gpus"]
        counts = cases.numbers_of_replicas(_REPLICAS_ON_CPU if on_cpu else num_devices)
    return {
        "compile_modes": cases.compare_compile_modes(run, measured, chosen["compile_modes"]),
        "steps_per_loop": cases.compare_steps_per_loop(run, measured, chosen["steps_per_loop"]),
        "strong_scaling": cases.compare_replicas(run, measured, counts, values, weak=False),
        "weak_scaling": cases.compare_replicas(run, measured, counts, values, weak=True),
    }


class _Progress:
    """A line on stderr that says what is measured, and how long it will take."""

    def __init__(self):
        self._line = ProgressLine(stays=False)
        self._started = time.monotonic()
        self._begun = 0
        self._expected = None

    def expect(self, number):
        """Says how many processes there will be."""
        self._expected = number

    def show(self, case):
        """Says that the next process begins."""
        text = f"measuring: {case}"
        if self._expected is not None:
            each = (time.monotonic() - self._started) / self._begun
            left = round(each * (self._expected - self._begun))
            text = f"[{self._begun + 1}/{self._expected}] {text}, about {left // 60}:{left % 60:02} left"
        self._begun += 1
        self._line.update([text])

    def end(self):
        """Clears the line of a terminal."""
        self._line.close()
