"""Which run of a plan a work folder or a record is of: by its configuration, whatever its name."""

import json
import pathlib

import pytest

from vaeflow.commands.studies import earlier
from vaeflow.commands.studies.configurations import Configured
from vaeflow.commands.studies.earlier import Earlier
from vaeflow.commands.studies.folder import StudyFolder
from vaeflow.commands.studies.plan import PlannedRun
from vaeflow.errors import ConfigurationError

FIRST, SECOND = "Arrays.train = '/a/train.npz'\n", "Arrays.train = '/b/train.npz'\n"
OF_OTHER_COMMANDS = "evaluate.seed = 3\n"


@pytest.fixture(autouse=True)
def reading(monkeypatch):
    """Reads a configuration that is none of the plan: here all but its first line is for other commands."""

    def trained_text(files, texts, plugins):
        text = texts[0] if texts else pathlib.Path(files[0]).read_text()
        if "unknown" in text:
            raise ConfigurationError("of another version")
        return text.splitlines()[0] + "\n"

    monkeypatch.setattr(earlier, "trained_text", trained_text)


def planned(*trained):
    return [
        Configured(PlannedRun(index, f"00{index}_seed=0", {}, 0), text + OF_OTHER_COMMANDS, text, {}, {})
        for index, text in enumerate(trained)
    ]


def add_run(folder, name, text):
    (folder / "runs" / name).mkdir(parents=True)
    (folder / "runs" / name / "config.gin").write_text(text)


def add_record(folder, name, text, **others):
    (folder / "records").mkdir(exist_ok=True)
    content = {"configuration": text.splitlines(), "metrics": {}, "seconds": 1.0} | others
    (folder / "records" / f"{name}.json").write_text(json.dumps(content))


def look(folder, runs):
    found = Earlier(StudyFolder(str(folder)), runs, ())
    return found, [found.of(run) for run in runs]


def test_there_is_nothing_at_first(tmp_path):
    found, [first] = look(tmp_path, planned(FIRST))
    assert (first.folder, first.record, first.is_finished) == (None, None, False)
    assert found.others == []


def test_a_work_folder_is_found_under_any_name(tmp_path):
    add_run(tmp_path, "007_seed=0", FIRST + OF_OTHER_COMMANDS)
    found, [first, second] = look(tmp_path, planned(FIRST, SECOND))
    assert first.folder == tmp_path / "runs" / "007_seed=0"
    assert first.as_planned
    assert second.folder is None
    assert found.others == []


def test_settings_of_other_commands_do_not_count(tmp_path):
    add_run(tmp_path, "000_seed=0", FIRST + "evaluate.seed = 4\n")
    _, [first] = look(tmp_path, planned(FIRST))
    assert first.folder == tmp_path / "runs" / "000_seed=0"
    assert not first.as_planned


def test_paths_may_be_those_of_another_machine(tmp_path):
    add_run(tmp_path, "000_seed=0", FIRST.replace("/a/", "/c/"))
    _, [first] = look(tmp_path, planned(FIRST))
    assert first.folder == tmp_path / "runs" / "000_seed=0"


def test_runs_that_differ_in_a_path_alone_are_told_apart(tmp_path):
    """A record has no paths of the machine: its name says of which of them it is."""
    add_run(tmp_path, "001_seed=0", SECOND + OF_OTHER_COMMANDS)
    add_record(tmp_path, "000_seed=0", "Arrays.train = 'train.npz'\n" + OF_OTHER_COMMANDS)
    _, [first, second] = look(tmp_path, planned(FIRST, SECOND))
    assert first.folder is None
    assert first.record is not None
    assert second.folder == tmp_path / "runs" / "001_seed=0"
    assert second.record is None


def test_a_name_that_something_else_has_is_not_used_for_a_run(tmp_path):
    add_run(tmp_path, "000_seed=0", "VAE.num_latents = 3\n")
    add_record(tmp_path, "001_seed=0", "unknown = 3\n")
    found, _ = look(tmp_path, planned(FIRST, SECOND))
    assert found.others == ["000_seed=0", "001_seed=0"]
    assert [run.name[:11] for run in found.runs] == ["000_seed=0_", "001_seed=0_"]
    assert found.runs[0].name[11:] != found.runs[1].name[11:]
    add_run(tmp_path, found.runs[0].name, FIRST + OF_OTHER_COMMANDS)
    again, [first, _] = look(tmp_path, planned(FIRST, SECOND))
    assert first.folder == tmp_path / "runs" / found.runs[0].name
    assert again.runs[0].name == found.runs[0].name


def test_files_of_another_kind_are_passed_over(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "study.json").write_text("{}")
    (tmp_path / "records" / "broken.json").write_text("{")
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    found, _ = look(tmp_path, planned(FIRST))
    assert found.others == []
    assert found.runs[0].name == "000_seed=0"


@pytest.mark.parametrize(
    "others",
    [
        {"machine": [1]},
        {"machine": {"gpus": 5}},
        {"versions": "x"},
        {"evaluation": [1]},
        {"evaluation": {"metrics": [1]}},
        {"compared": [1]},
        {"after": "x"},
    ],
)
def test_what_is_no_record_counts_as_none(tmp_path, others):
    """The tables would end in a traceback, when all runs are done."""
    (run,) = planned(FIRST)
    add_record(tmp_path, run.name, FIRST)
    _, [found] = look(tmp_path, [run])
    assert found.record is not None
    add_record(tmp_path, run.name, FIRST, **others)
    _, [found] = look(tmp_path, [run])
    assert found.record is None
