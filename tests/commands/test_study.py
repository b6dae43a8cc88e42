"""`vaeflow study`, its runs trained in this process: what is run, what is not run again, what is said."""

import json
import shutil

import pytest

from tests.fixtures import study_places, tiny_runs
from tests.fixtures.study_places import names_taken, start
from vaeflow import config
from vaeflow.commands import command_line
from vaeflow.commands.programs import study

pytestmark = pytest.mark.slow  # The study that all of them look at takes some seconds.

SETTINGS = """
study.place = @InThisProcess()
study.seeds = 2
study.grid = {"VAE.num_latents": %sizes}
sizes = (2, 3)
"""
NAMES = [f"00{index}_VAE.num_latents={index + 2}_seed={seed}" for seed in (0, 1) for index in (0, 1)]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with a gin file, and a study of two points and two seeds that is done, and what it said."""
    folder = tmp_path_factory.mktemp("study")
    study_places.write(folder, SETTINGS)
    assert start(folder) == 0
    assert names_taken() == NAMES
    return folder


@pytest.fixture
def done(original, tmp_path):
    """A copy of that folder."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return tmp_path


def ends(**codes):
    """Says how runs end: `first=3` for the first point."""
    points = {"first": NAMES[0], "second": NAMES[1], "third": "002_VAE.num_latents=4"}
    listed = {points[name].partition("_seed")[0]: (code, "as told") for name, code in codes.items()}
    return f"--gin_param=InThisProcess.ends = {listed}"


def test_each_run_is_a_work_folder_with_a_record(original):
    for name in NAMES:
        record = json.loads((original / "runs" / "records" / f"{name}.json").read_text())
        assert (original / "runs" / "runs" / name / "result.json").exists()
        assert record["seed"] == int(name[-1])
        assert name[4:].partition("_seed")[0].replace("=", " = ") in record["configuration"]
    assert len({record_of(original, name)["weights_sha256"] for name in NAMES}) == 4


def record_of(folder, name):
    return json.loads((folder / "runs" / "records" / f"{name}.json").read_text())


def test_the_study_itself_does_not_stand_in_the_configuration_of_a_run(original):
    text = (original / "runs" / "runs" / NAMES[0] / "config.gin").read_text()
    assert "study." not in text
    assert "sizes" not in text


def test_train_takes_the_same_gin_file_without_a_warning(original):
    with tiny_runs.configuration_of_its_own():
        loaded = config.load(
            "train", [str(original / "s.gin")], ["VAE.num_latents = 2"], study_places.PLUGINS
        )
    assert loaded.warnings == ()


def test_the_table_has_all_runs(original):
    assert len((original / "runs" / "study_runs.csv").read_text().splitlines()) == 5


def test_what_is_done_is_not_run_again(done, capsys):
    assert start(done) == 0
    assert names_taken() == []
    assert "4 of 4 runs are done" in capsys.readouterr().out


def test_records_suffice_in_a_fresh_clone(done):
    shutil.move(done / "runs" / "records", done / "kept")
    assert start(done, f'--gin_param=study.results = "{done}/kept"', workdir="elsewhere") == 0
    assert names_taken() == []


def test_a_grid_that_grows_keeps_the_runs_whatever_their_names(done, capsys):
    """The new value comes first, so that every run of before has another index."""
    told = "--gin_param=InThisProcess.ends = {'000_VAE.num_latents=4': (4, 'no disk')}"
    assert start(done, "--gin_param=study.grid = {'VAE.num_latents': (4, 2, 3)}", told) == 4
    assert names_taken() == [f"000_VAE.num_latents=4_seed={seed}" for seed in (0, 1)]
    assert "000_VAE.num_latents=4_seed=1 failed with code 4 (environment): no disk" in capsys.readouterr().err


def test_runs_that_left_the_plan_are_named_and_left_alone(done, capsys):
    assert start(done, "--gin_param=study.grid = {'VAE.num_latents': (2,)}") == 0
    said = capsys.readouterr().err
    assert f"not in the plan of this study, and left alone: {NAMES[1]}, {NAMES[3]}" in said
    assert (done / "runs" / "runs" / NAMES[1] / "result.json").exists()


def test_a_name_that_another_configuration_has_taken_is_not_used(done):
    assert start(done, "--gin_param=train.batch_size = 4", ends(first=4, second=4)) == 4
    assert names_taken() != NAMES
    assert [name.rpartition("_")[0] for name in names_taken()] == NAMES


def test_a_failure_does_not_stop_the_others_and_a_final_one_decides(done, capsys):
    for name in ("runs", "records"):
        shutil.rmtree(done / "runs" / name)
    assert start(done, ends(first=4, second=3)) == 3
    assert names_taken() == NAMES
    said = capsys.readouterr().out
    assert f"{NAMES[0]} failed with code 4 (environment): as told" in said
    assert f"{NAMES[1]} failed with code 3 (diverged): as told" in said
    assert "0 of 4 runs are done" in said


def test_a_failure_of_the_environment_is_tried_again_and_a_final_one_if_asked(done, capsys):
    for name in ("runs", "records"):
        shutil.rmtree(done / "runs" / name)
    start(done, ends(first=4, second=3))
    assert start(done, ends(first=4, second=3)) == 3
    assert names_taken() == [NAMES[0], NAMES[2]]
    assert f"{NAMES[1]} failed with code 3 (diverged): as told" in capsys.readouterr().out
    assert start(done, ends(first=4, second=4), "--retry") == 4
    assert names_taken() == NAMES


def test_a_signal_ends_the_study_with_42_after_the_runs_under_way(done, capsys):
    for name in ("runs", "records"):
        shutil.rmtree(done / "runs" / name)
    signal = f"--gin_param=InThisProcess.signal_after = '{NAMES[1]}'"
    assert start(done, signal, ends(first=42, second=143)) == 42
    assert names_taken() == NAMES[:2]
    said = capsys.readouterr().out
    assert f"{NAMES[0]} stopped with code 42 (preempted)" in said
    assert f"{NAMES[1]} stopped with code 143 (terminated)" in said


def test_a_study_that_is_stopped_before_any_record_says_so_whatever_the_folder_of_records(done):
    flags = [ends(first=42, second=42), f'--gin_param=study.results = "{done}/of/records"']
    assert start(done, *flags, workdir="new") == 42
    assert (done / "of" / "records" / "study.csv").exists()


def test_a_run_that_was_stopped_is_no_failure_and_the_code_says_so(done):
    for name in ("runs", "records"):
        shutil.rmtree(done / "runs" / name)
    assert start(done, ends(first=42, second=42)) == 42
    assert names_taken() == NAMES


def test_a_part_of_a_job_array_runs_its_own_runs(done, monkeypatch, capsys):
    for name in ("runs", "records"):
        shutil.rmtree(done / "runs" / name)
    for name, value in {"ID": 5, "COUNT": 2, "MIN": 3, "MAX": 5, "STEP": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    assert start(done, ends(first=4, second=4)) == 4
    assert names_taken() == [NAMES[1], NAMES[3]]
    assert "0 of 2 runs are done" in capsys.readouterr().out
    assert start(done, ends(first=4, second=4), "--part=0/4") == 4
    assert names_taken() == [NAMES[0]]


def test_a_table_is_made_without_running_anything(done, capsys):
    (done / "runs" / "study_runs.csv").unlink()
    (done / "runs" / "records" / f"{NAMES[0]}.json").unlink()
    assert start(done, "--table") == 0
    assert names_taken() == []
    assert len((done / "runs" / "study_runs.csv").read_text().splitlines()) == 5


def test_the_table_of_a_fresh_clone_is_made_of_the_records_alone(done):
    shutil.move(done / "runs" / "records", done / "kept")
    assert start(done, f'--gin_param=study.results = "{done}/kept"', "--table", workdir="new/folder") == 0
    for folder in (done / "new" / "folder", done / "kept"):
        assert len((folder / "study_runs.csv").read_text().splitlines()) == 5


def test_before_the_first_run_there_is_no_table_and_it_says_so(done, capsys):
    assert start(done, "--table", workdir="elsewhere") == 0
    assert "no run of this study has begun in" in capsys.readouterr().err
    assert not (done / "elsewhere").exists()


def test_a_record_that_is_missing_is_written_again(done):
    record = done / "runs" / "records" / f"{NAMES[0]}.json"
    before = record.read_bytes()
    record.unlink()
    assert start(done) == 0
    assert names_taken() == []
    assert record.read_bytes() == before


@pytest.mark.long
def test_commands_after_a_run_come_again_if_their_settings_change(done):
    settings = ["--gin_param=sizes = (2,)", "--gin_param=study.seeds = (0,)"]
    few = [*settings, '--gin_param=study.after = ("evaluate",)']
    few += ["--gin_param=evaluate.num_samples = []", "--gin_param=evaluate.num_examples = 2"]
    assert start(done, *few) == 0
    assert [[name for name, *_ in job.commands] for job in study_places.taken] == [["evaluate"]]
    assert record_of(done, NAMES[0])["evaluation"]["num_examples"] == 2
    assert start(done, *few) == 0
    assert names_taken() == []
    more = [*few, '--gin_param=study.after = ("evaluate", "sample")']
    assert start(done, *more, ends(first=4)) == 4
    assert [[name for name, *_ in job.commands] for job in study_places.taken] == [["sample"]]
    assert start(done, *few, "--gin_param=evaluate.num_examples = 3", ends(first=4)) == 4
    assert [[name for name, *_ in job.commands] for job in study_places.taken] == [["evaluate"]]


def test_the_runs_of_a_point_are_compared_by_their_latents(done):
    """Of three latents each: what `embed` wrote is what was compared."""
    settings = (
        "study.grid = {'VAE.num_latents': (3,)}",
        "study.after = ('embed',)",
        "study.compare = [@UDR()]",
    )
    assert start(done, *(f"--gin_param={setting}" for setting in settings)) == 0
    names = names_taken()
    assert len(names) == 2
    first, second = (record_of(done, name)["compared"] for name in names)
    assert list(first) == list(second) == ["udr[none,seeds,runs=2,n=4,lasso]"]


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        (
            "study.grid = [{'VAE.num_latents': (2, 3)}, {'BetaVAE.beta': (1,)}]",
            "the run 002_BetaVAE.beta=1_seed=0: --gin_param='BetaVAE.beta = 1': this run does not read it",
        ),
        ("study.grid = {'VAE.num_latent': (2, 3)}", "no parameter 'num_latent'; did you mean 'num_latents'"),
        ("study.grid = {'evaluate.seed': (2, 3)}", "would be the same: their trainings read the same"),
        ("study.after = ('evaluat',)", "`study.after` must be one of 'evaluate'"),
        ("study.after = 3", "must be a list of commands"),
        ("study.compare = [@UDR()]", 'add "embed" to `study.after`, got ()'),
        ("study.compare = [@MIG()]", "`study.compare` must be a list of Comparisons"),
        ("study.place = 3", "must be a place such as @Here()"),
        ("study.cores_each = 0", "must be a positive integer"),
        ("study.workdir = 'x'", "use the flag --workdir instead"),
        ("study.metric = 'mig'", "study.direction"),
    ],
)
def test_a_mistake_is_told_before_any_run_starts(done, capsys, parameter, said):
    assert start(done, f"--gin_param={parameter}", workdir="new") == 2
    assert said in capsys.readouterr().err
    assert names_taken() == []
    assert not (done / "new").exists()


def test_workers_are_refused(done, capsys, monkeypatch):
    workers = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    assert start(done) == 2
    assert "unset TF_CONFIG" in capsys.readouterr().err


def test_the_folder_of_a_run_is_refused(done, capsys):
    assert start(done, workdir=f"runs/runs/{NAMES[0]}") == 2
    assert "is the work folder of a run" in capsys.readouterr().err


def test_a_gin_file_is_asked_for(capsys):
    assert command_line.main(study.COMMAND, ["--workdir=runs/x"]) == 2
    assert "give --gin_file=<the gin file of a study>" in capsys.readouterr().err
