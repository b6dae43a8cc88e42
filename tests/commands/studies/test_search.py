"""Searches by Optuna: the same seed proposes the same settings, and a search resumes after a kill."""

import json

import pytest

from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.search.optuna_search import OptunaSearch
from vaeflow.commands.studies.search.space import parse
from vaeflow.errors import ConfigurationError, EnvironmentFailure

pytest.importorskip("optuna")

SPACE = {
    "BetaVAE.beta": ("log", 1.0, 16.0),
    "ConvVAE.num_latents": ("int", 4, 20),
    "Adam.learning_rate": ("choice", (1e-3, 1e-4)),
}
METRIC = "evaluation/negative_elbo"


class Study:
    """A study whose runs end at once: what a run measures is a function of its settings.

    Args:
      folder: its folder.
      seeds: of each trial.
      **settings: of `OptunaSearch`.
    """

    def __init__(self, folder, seeds=(0,), space=SPACE, **settings):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        settings = {"metric": METRIC, "num_trials": 6, "storage": "journal"} | settings
        self.search = OptunaSearch(**settings).begin(folder, parse(space), seeds)
        self.started = []

    def work_folder(self, run):
        """The work folder of a run."""
        return self.folder / "runs" / run.name

    def log(self, run, values):
        """Writes values of the metric, step -> value, as a training does."""
        folder = self.work_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"step": step, METRIC: value}) for step, value in values.items()]
        (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))

    def end(self, run, state="done", value=None, code=0):
        """Tells the search the outcome of a run; returns it as the search has it."""
        record = {"metrics": {METRIC: loss(run) if value is None else value}} if state == "done" else None
        return self.search.settle(Outcome(run, state, record, exit_code=code), self.work_folder(run))

    def carry_out(self, most=None):
        """Carries out runs, of which all finish; returns their names."""
        names = []
        for run in self.search.runs():
            names.append(run.name)
            if len(names) == most:
                return names  # As if killed.
            self.end(run)
        return names

    def states(self):
        """The states of the trials, as Optuna names them."""
        return {number: state for number, (state, _) in self.search._trials.known().items()}


def loss(run):
    return abs(float(run.bindings["BetaVAE.beta"]) - 4.0) + int(run.bindings["ConvVAE.num_latents"])


@pytest.mark.slow
def test_the_same_seed_proposes_the_same_settings(tmp_path):
    names = Study(tmp_path / "a", num_trials=12).carry_out()
    assert names == Study(tmp_path / "b", num_trials=12).carry_out()
    assert len(set(names)) == 12


def test_another_seed_proposes_others(tmp_path):
    assert Study(tmp_path / "a").carry_out() != Study(tmp_path / "b", seed=1).carry_out()


def test_proposals_keep_to_the_space(tmp_path):
    for run in Study(tmp_path / "a", num_trials=20).search.runs():
        assert 1 <= float(run.bindings["BetaVAE.beta"]) <= 16
        assert int(run.bindings["ConvVAE.num_latents"]) in range(4, 21)
        assert run.bindings["Adam.learning_rate"] in ("0.001", "0.0001")


def test_later_proposals_follow_what_was_measured(tmp_path):
    """TPE begins with ten random trials; there the number of latents alone costs 12 in the mean."""
    study = Study(tmp_path / "a", num_trials=25)
    losses = []
    for run in study.search.runs():
        losses.append(loss(run))
        study.end(run)
    assert sum(losses[15:]) / 10 < sum(losses[:10]) / 10 - 3


def test_a_killed_search_goes_on_with_the_trial_it_was_in_and_the_same_proposals(tmp_path):
    undisturbed = Study(tmp_path / "a", num_trials=12).carry_out()
    first = Study(tmp_path / "b", num_trials=12)
    before = first.carry_out(most=4)
    first.search._open[3].trial.leave()  # The system frees a dead process's locks.
    assert before + Study(tmp_path / "b", num_trials=12).carry_out()[1:] == undisturbed


def test_a_trial_of_a_live_process_is_left_to_it(tmp_path):
    one, other = Study(tmp_path / "a"), Study(tmp_path / "a")
    assert next(one.search.runs()).index == 0
    assert [run.index for run in other.search.runs()] == [1, 2, 3, 4, 5]


def test_more_trials_extend_a_search(tmp_path):
    names = Study(tmp_path / "a", num_trials=9).carry_out()
    first = Study(tmp_path / "b", num_trials=4).carry_out()
    assert first + Study(tmp_path / "b", num_trials=9).carry_out() == names


def test_the_runs_of_a_trial_share_its_number_and_settings(tmp_path):
    runs = list(Study(tmp_path / "a", seeds=(0, 7), num_trials=2).search.runs())
    assert [(run.index, run.seed) for run in runs] == [(0, 0), (0, 7), (1, 0), (1, 7)]
    assert runs[0].bindings == runs[1].bindings


def test_the_value_of_a_trial_is_the_mean_over_its_seeds(tmp_path):
    study = Study(tmp_path / "a", seeds=(0, 1), num_trials=1)
    for run, value in zip(study.search.runs(), (1.0, 4.0)):
        study.end(run, value=value)
    assert study.search._trials._study.best_value == 2.5


def test_a_figure_of_the_evaluation_can_be_the_metric(tmp_path):
    study = Study(tmp_path / "a", num_trials=1, metric="mig[pool]", direction="maximize")
    run = next(study.search.runs())
    record = {"metrics": {METRIC: 3.0}, "evaluation": {"metrics": {"mig[pool]": 0.25}}}
    study.search.settle(Outcome(run, "done", record), study.work_folder(run))
    assert study.search._trials._study.best_value == 0.25


@pytest.mark.parametrize(("code", "state"), [(2, "fail"), (3, "fail"), (4, "running"), (137, "running")])
def test_what_a_restart_would_repeat_ends_a_trial_and_anything_else_is_tried_again(tmp_path, code, state):
    study = Study(tmp_path / "a", num_trials=1)
    assert [study.end(run, "failed", code=code).state for run in study.search.runs()] == ["failed"]
    assert study.states() == {0: state}
    again = Study(tmp_path / "a", num_trials=1).search.runs()
    assert [run.index for run in again] == ([] if state == "fail" else [0])


def test_a_stopped_run_leaves_its_trial_open(tmp_path):
    study = Study(tmp_path / "a", num_trials=1)
    run = next(study.search.runs())
    assert study.end(run, "stopped", code=42).state == "stopped"
    assert study.states() == {0: "running"}
    assert next(Study(tmp_path / "a", num_trials=1).search.runs()) == run


def pruned_study(folder, **settings):
    """A search with five good trials, which prunes the sixth at once if it is bad."""
    study = Study(folder, **settings)
    runs = study.search.runs()
    for _ in range(5):
        run = next(runs)
        study.log(run, {10: 5.0, 20: 4.0})
        study.end(run, value=4.0)
    return study, runs


def test_a_bad_run_is_abandoned_and_a_good_one_is_not(tmp_path):
    study, runs = pruned_study(tmp_path / "a", num_trials=7)
    bad = next(runs)
    assert not study.search.is_abandoned(bad, study.work_folder(bad))
    study.log(bad, {10: 9.0})
    assert study.search.is_abandoned(bad, study.work_folder(bad))
    good = next(runs)
    study.log(good, {10: 1.0})
    assert not study.search.is_abandoned(good, study.work_folder(good))
    assert study.end(bad, "stopped", code=42).state == "abandoned"
    assert study.states() == {**dict.fromkeys(range(5), "complete"), 5: "pruned", 6: "running"}


def test_without_a_pruner_no_run_is_abandoned(tmp_path):
    study, runs = pruned_study(tmp_path / "a", pruner=None)
    bad = next(runs)
    study.log(bad, {10: 9.0})
    assert not study.search.is_abandoned(bad, study.work_folder(bad))


def test_the_further_seeds_of_an_abandoned_trial_are_not_run(tmp_path):
    threshold = {"pruner": "ThresholdPruner", "pruner_settings": {"upper": 8.0}}
    study = Study(tmp_path / "b", seeds=(0, 1), num_trials=2, **threshold)
    runs = study.search.runs()
    bad = next(runs)
    study.log(bad, {10: 9.0})
    assert study.search.is_abandoned(bad, study.work_folder(bad))
    study.end(bad, "stopped", code=42)
    assert [(run.index, run.seed) for run in runs] == [(1, 0), (1, 1)]
    assert study.states()[0] == "pruned"


def test_a_trial_that_was_to_be_abandoned_when_the_search_was_killed_is_not_run_again(tmp_path):
    study, runs = pruned_study(tmp_path / "a", num_trials=6)
    bad = next(runs)
    study.log(bad, {10: 9.0})
    assert study.search.is_abandoned(bad, study.work_folder(bad))
    study.search._open[5].trial.leave()
    again = Study(tmp_path / "a", num_trials=6)
    assert list(again.search.runs()) == []
    assert again.states()[5] == "pruned"


def test_the_values_of_a_finished_run_are_all_reported(tmp_path):
    study = Study(tmp_path / "a", num_trials=1)
    run = next(study.search.runs())
    study.log(run, {10: 3.0, 20: 2.0})
    study.end(run)
    [trial] = study.search._trials._study.trials
    assert trial.intermediate_values == {10: 3.0, 20: 2.0}


def test_a_metric_that_evaluations_do_not_hold_is_found_at_the_first_of_them(tmp_path):
    study = Study(tmp_path / "a", metric="evaluation/negative_elb")
    run = next(study.search.runs())
    study.log(run, {10: 3.0})
    with pytest.raises(ConfigurationError, match=r"holds no .*negative_elb'; did you mean '.*negative_elbo'"):
        study.search.is_abandoned(run, study.work_folder(run))


def test_a_metric_that_the_record_does_not_hold_is_named(tmp_path):
    study = Study(tmp_path / "a", metric="mig")
    run = next(study.search.runs())
    with pytest.raises(ConfigurationError, match=r"the record of 000_.* holds no .*'mig'; it holds eval"):
        study.end(run)


def test_all_runs_of_a_search_are_listed_with_those_that_were_abandoned(tmp_path):
    study, runs = pruned_study(tmp_path / "a", num_trials=6)
    bad = next(runs)
    study.log(bad, {10: 9.0})
    study.search.is_abandoned(bad, study.work_folder(bad))
    study.end(bad, "stopped", code=42)
    listed = Study(tmp_path / "a", num_trials=6).search.all_runs()
    assert [(run.index, abandoned) for run, abandoned in listed] == [(n, n == 5) for n in range(6)]
    assert listed[5][0] == bad


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"space": {"BetaVAE.beta": ("log", 1.0, 8.0)}}, "another space: .*16.0.*8.0"),
        ({"metric": "other"}, "another metric: evaluation/negative_elbo, and now it is other"),
        ({"seeds": (0, 1)}, "another seeds"),
        ({"direction": "maximize"}, "another direction"),
    ],
)
def test_another_search_in_the_same_folder_is_refused(tmp_path, changed, expected):
    Study(tmp_path / "a")
    with pytest.raises(ConfigurationError, match=expected):
        Study(tmp_path / "a", **changed)


@pytest.mark.slow
def test_a_search_in_sqlite_and_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "a[*]?{x}%#"
    names = Study(folder, num_trials=2, storage="sqlite").carry_out()
    assert (folder / "optuna.db").exists()
    assert names + Study(folder, num_trials=3, storage="sqlite").carry_out() == (
        Study(tmp_path / "b", num_trials=3).carry_out()
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"sampler": "TPESample"}, "must be the name of a class in optuna.samplers.*'TPESampler'"),
        ({"sampler_settings": {"n_startup": 3}}, "TPESampler cannot be made with .*n_startup"),
        ({"pruner": "BasePruner2"}, "must be the name of a class in optuna.pruners"),
        ({"pruner_settings": {"n_warmup_steps": -1}}, "MedianPruner cannot be made with .*-1"),
        ({"storage": "nosql://somewhere"}, "`OptunaSearch.storage` = 'nosql://somewhere' cannot be used"),
    ],
)
def test_what_optuna_refuses_is_a_bad_configuration(tmp_path, settings, expected):
    with pytest.raises(ConfigurationError, match=expected):
        Study(tmp_path / "a", **settings)


def test_a_storage_that_fails_is_reported_without_its_password(tmp_path):
    url = f"sqlite:///{tmp_path}/no/such/folder/x.db"
    with pytest.raises(EnvironmentFailure, match=r"`OptunaSearch.storage` = .*unable to open"):
        Study(tmp_path / "a", storage=url)
    with pytest.raises((ConfigurationError, EnvironmentFailure)) as caught:
        Study(tmp_path / "b", storage="nosql://me:secret@host/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"num_trials": 0}, "OptunaSearch.num_trials"),
        ({"direction": "up"}, "OptunaSearch.direction"),
        ({"storage": "redis"}, "OptunaSearch.storage.*URL of a database"),
        ({"sampler_settings": [1]}, "OptunaSearch.sampler_settings"),
        ({"metric": ""}, "OptunaSearch.metric"),
        ({"seed": -1}, "OptunaSearch.seed"),
    ],
)
def test_wrong_settings_are_refused(settings, expected):
    with pytest.raises(ValueError, match=expected):
        OptunaSearch(**{"metric": METRIC, "num_trials": 3} | settings)
