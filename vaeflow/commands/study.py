"""Runs a study: every point of a grid of settings, with several seeds."""

import contextlib
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vaeflow import config, registry, validation
from vaeflow.commands.studies import comparisons, plan
from vaeflow.commands.studies.configurations import Source, configure_grid
from vaeflow.commands.studies.folder import StudyFolder
from vaeflow.commands.studies.here import Here
from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.place import Place
from vaeflow.commands.studies.progress import described
from vaeflow.commands.studies.report import writing
from vaeflow.commands.studies.report.choices import Choices
from vaeflow.commands.studies.search import OptunaSearch
from vaeflow.commands.studies.search import space as spaces
from vaeflow.commands.studies.search.session import SearchPlan
from vaeflow.commands.studies.session import GridPlan, Session, Way
from vaeflow.devices.slurm_array import Part
from vaeflow.devices.workers import find_workers
from vaeflow.errors import FINISHED, ConfigurationError, Preempted
from vaeflow.metrics.disentanglement import Comparison
from vaeflow.runs import files, record
from vaeflow.runs.escaping import printable

# Commands on a finished run.
AFTER = ("evaluate", "sample", "embed", "encode", "export", "verify")
# Flags that say how one start of a study goes on, and not which study it is.
_ONLY_NOW = ("--part", "--retry", "--table")
_FLAG_ADVICE = {
    "workdir": "use the flag --workdir instead",
    "source": "use the flags --gin_file, --gin_param and --plugin instead",
    "macros": "it comes from the gin files",
    "part": "use the flag --part instead",
    "retry": "use the flag --retry instead",
    "table_only": "use the flag --table instead",
}


@functools.partial(registry.command, refused=_FLAG_ADVICE)
def study(
    workdir: str,
    grid: Any = None,
    space: Any = None,
    seeds: int | Sequence[int] = 1,
    after: Sequence[str] = (),
    results: str | None = None,
    place: Place | None = None,
    cores_each: int | None = None,
    search: OptunaSearch | None = None,
    metric: str | None = None,
    direction: str | None = None,
    columns: Sequence[str] | None = None,
    compare: Sequence[Comparison] = (),
    *,
    source: Source,
    macros: Mapping[str, Any],
    part: Part | None = None,
    retry: bool = False,
    table_only: bool = False,
) -> int:
    """Runs a study, or goes on with one that was stopped: every point of a grid with every seed, or a search.

    Each run is an ordinary work folder, trained by `vaeflow train` in a process of its own. The
    configurations of all runs are checked before the first one starts. A run whose work folder is
    finished, or whose record is there, is not run again; one that was interrupted resumes.

    Args:
      workdir: the folder of the study.
      grid: settings and the values that each takes, every combination a point:
        `{"BetaVAE.beta": (1, 4, 16)}`; the last setting varies fastest. Or a list of such grids, whose
        points follow one another.
      space: of a search, instead of a grid: settings and the values that each may take,
        `("float", 0.1, 0.9)` or `("int", 4, 20)`, both also with a step; `("log", 1.0, 16.0)` or
        `("log_int", 8, 512)`, uniform in the logarithm; `("choice", (@BetaVAE, @FactorVAE))`. Bounds are
        included. A run leaves out what it does not read, such as a setting of the class not chosen.
      seeds: how many seeds each point is run with, from 0; or a tuple of seeds.
      after: commands on each finished run, e.g. `("evaluate", "sample")`.
      results: the folder of the records, one for each run that is done; None for `records` in the
        folder of the study.
      place: where the runs are carried out, in gin `@Here()`, which is the default: this machine.
      cores_each: the CPU cores of each run; None for all cores of a machine, and one run at a time, or
        one on each GPU.
      search: proposes the runs, in gin `@OptunaSearch()`; None for the grid. Several processes, started
        with `--part`, share it.
      metric: the measure by which the report names the best runs, or the part of its name before the
        brackets, e.g. `"mig"`; None for the negative ELBO, or of models without latents the negative
        log-likelihood; of a search for its metric.
      direction: which of its values are better, `"minimize"` or `"maximize"`; None without a `metric`.
      columns: the measures that the report shows, named likewise; None for the scores and the main
        measures.
      compare: scores of each run by the latents of the others, e.g. `[@UDR()]`; they read what
        `embed` in `after` writes, and join the records.
      source: what the user has given.
      macros: name -> value of the macros that the grid may refer to.
      part: the part of the runs that this process carries out; None for all.
      retry: whether runs that failed for good, with code 2, 3 or 5, are run again.
      table_only: whether to run nothing, and only write what the runs so far have measured.

    Returns:
      The exit code: 0 if all runs are done; 42 if a signal stopped the study; else the code of the first
      run that failed for good (2, 3 or 5), or of the first that failed, or 42 if a run was stopped.

    Raises:
      ConfigurationError: a setting is wrong, or a run would not read it; nothing was run.
      EnvironmentFailure: the disk failed, or another process runs this study.
    """
    with config.values_checked():
        commands = _checked_after(after)
        planned = _planned(grid, space, seeds, search, macros, source, commands)
        way = Way(_checked_place(place), cores_each, part, retry)
        if cores_each is not None:
            validation.positive_integer("study.cores_each", cores_each)
        chosen = _choices(metric, direction, columns, search)
        compare = _checked_comparisons(compare, commands)
    _refuse_workers()
    folder = StudyFolder(workdir, results)
    folder.refuse_folder_of_a_run()
    report = functools.partial(_write_report, folder, chosen)
    tell = report if part is None else lambda _outcomes: None
    with contextlib.nullcontext() if table_only else folder.claim(part):
        session = planned.session(folder, way, tell)
        _warn(session)
        if table_only:
            _write_table_only(session, folder, compare, report)
            return FINISHED
        code = session.run()
        _print_summary(session.own_outcomes, folder)
        if part is None:
            found = _compared(compare, folder, session)
            report(found, _work_folders(session) if code != Preempted.exit_code else None)
    return code


def _planned(
    grid: Any, space: Any, seeds: Any, search: Any, macros: Mapping[str, Any], source: Source, commands: Any
) -> GridPlan | SearchPlan:
    """Checks what is to be run, before anything is."""
    if search is None and space is None:
        return GridPlan(configure_grid(plan.plan(grid, seeds, macros), source, commands), source)
    if search is None:
        raise ConfigurationError("`study.space` needs a search: add `study.search = @OptunaSearch()`")
    if not isinstance(search, OptunaSearch):
        raise ConfigurationError(f"`study.search` must be a search such as @OptunaSearch(), got {search!r}")
    if grid is not None:
        raise ConfigurationError("`study.grid` and `study.search` exclude each other; use `study.space`")
    return SearchPlan(search, spaces.parse(space, macros), plan.checked_seeds(seeds), source, commands)


def _choices(metric: Any, direction: Any, columns: Any, search: OptunaSearch | None) -> Choices:
    """Returns what the report shows: of a search without a `metric` of its own, that of the search."""
    if search is not None and metric is None:
        metric, direction = search.metric, search.direction
    return Choices(metric, direction, columns)


def _refuse_workers() -> None:
    if find_workers() is not None:
        raise ConfigurationError(
            "a study starts the processes of its runs itself: unset TF_CONFIG, or leave Slurm's `srun` out"
        )


def _write_table_only(
    session: Session,
    folder: StudyFolder,
    compare: Sequence[Comparison],
    report: Callable[[Sequence[Outcome], Mapping[str, pathlib.Path]], None],
) -> None:
    """Writes the report of what there is; says so if there is nothing yet."""
    if not _has_begun(session.outcomes):
        said = f"no run of this study has begun in {folder.path}, and {folder.results} has no record of one"
        print(printable(f"{said}, so there is no table yet"), file=sys.stderr)
        return
    # In a fresh clone there may be the records alone.
    with files.reported(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    report(_compared(compare, folder, session), _work_folders(session))


def _has_begun(outcomes: Sequence[Outcome]) -> bool:
    return any(outcome.state != "missing" for outcome in outcomes)


def _work_folders(session: Session) -> dict[str, pathlib.Path]:
    """Returns name of a run -> its work folder, which may have been made under another name."""
    return {outcome.run.name: session.folder(outcome.run.name) for outcome in session.outcomes}


def _write_report(
    folder: StudyFolder,
    chosen: Choices,
    outcomes: Sequence[Outcome],
    runs: Mapping[str, pathlib.Path] | None = None,
) -> None:
    """Writes the table, and with the work folders the pictures, which take longer; nothing of no run."""
    if not _has_begun(outcomes):
        return
    folders = [folder.path, *([folder.results] if folder.results.parent != folder.path else [])]
    typed = [each for each in sys.argv if not each.startswith(_ONLY_NOW)]
    arguments = folders, folder.path.resolve().name, outcomes, chosen, record.as_typed(typed)
    if runs is None:
        writing.write_tables(*arguments)
    else:
        writing.write(*arguments, runs=runs)


def _compared(chosen: Sequence[Comparison], folder: StudyFolder, session: Session) -> list[Outcome]:
    """Adds what `study.compare` finds to the records; returns the outcomes with these."""
    return comparisons.compare(chosen, session.outcomes, _work_folders(session), folder.results)


def _checked_place(place: Any) -> Place:
    if place is None:
        return Here()
    if not isinstance(place, Place):
        raise ConfigurationError(f"`study.place` must be a place such as @Here(), got {place!r}")
    return place


def _checked_after(after: Any) -> tuple[str, ...]:
    after = (after,) if isinstance(after, str) else after
    if not isinstance(after, (list, tuple)):
        raise ConfigurationError(
            f'`study.after` must be a list of commands, e.g. ("evaluate",), got {after!r}'
        )
    for command in after:
        validation.one_of("study.after", command, AFTER)
    return tuple(dict.fromkeys(after))


def _checked_comparisons(compare: Any, after: Sequence[str]) -> list[Comparison]:
    chosen = validation.list_of("study.compare", compare, Comparison, "[@UDR()]")
    if chosen and "embed" not in after:
        raise ConfigurationError(
            f'`study.compare` reads the latents that `vaeflow embed` writes; add "embed" to `study.after`, '
            f"got {tuple(after)!r}"
        )
    return chosen


def _warn(session: Session) -> None:
    """Names what is there and not part of the study, or part of it and outdated."""
    lines = [
        f"the record of {name} was made with other settings of the commands in `study.after`, and its work "
        "folder is not here; to run it again, remove the record"
        for name in session.stale()
    ]
    if session.others:
        lines.append(f"not in the plan of this study, and left alone: {', '.join(session.others)}")
    for line in lines:
        print(printable(line), file=sys.stderr)


def _print_summary(outcomes: Sequence[Outcome], folder: StudyFolder) -> None:
    """Prints what became of the runs."""
    num_done = sum(outcome.state == "done" for outcome in outcomes)
    lines = [printable(described(each)) for each in outcomes if each.state in ("failed", "stopped")]
    lines.append(f"{num_done} of {len(outcomes)} runs are done; their records are in {folder.results}")
    print(printable("\n".join(lines)))
