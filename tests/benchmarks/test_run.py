"""The command `python -m benchmarks.run`: its options; what it measures is tested beside."""

import json
import os
import sys

import pytest

from benchmarks import load, run
from benchmarks.environments import machine


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--workloads=dense_12", "no workload is called 'dense_12'; did you mean 'dense_"),
        ("--rounds=0", "argument --rounds: expected a number above 0, got '0'"),
        ("--rounds=1.5", "argument --rounds: expected a number above 0, got '1.5'"),
        ("--seconds=nan", "argument --seconds: expected a number above 0, got 'nan'"),
        ("--peers_python=nowhere", "expected a Python interpreter, got 'nowhere'"),
        ("--round=1", "unrecognized arguments: --round=1"),
    ],
)
def test_a_wrong_option_is_one_message(option, said, capsys, monkeypatch):
    monkeypatch.setattr(run, "run", lambda options: pytest.fail("it began to measure"))
    assert run.main([option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmarks.run: error: ")
    assert said in line
    assert line.endswith("--help describes the options")


def test_the_defaults():
    options = run._parse([])
    assert (options.rounds, options.seconds) == (5, 3.0)
    assert options.results.name == "benchmarks"
    assert len(options.workloads) == 7


def test_a_quick_look_leaves_the_results_alone():
    options = run._parse(["--quick", "--workloads=conv64_64,dense_128"])
    assert (options.rounds, options.seconds) == (1, 1.0)
    assert options.results.name == "quick"
    assert options.workloads == ["conv64_64", "dense_128"]
    assert run._parse(["--quick", "--rounds=2"]).rounds == 2


def test_it_writes_both_tables_after_each_workload(tmp_path, monkeypatch):
    def measure(name, settings):
        written.append((tmp_path / "results.json").exists())
        return {"parameters": 1, "lines": [failed_line()], "matrix_product": None}

    def failed_line():
        return {
            "name": "vaeflow", "tuned_allocator": False, "failure": "it broke", "windows": [],
            "start_seconds": None, "resume_seconds": None, "resume_failure": None, "peak_mebibytes": None,
        }  # fmt: skip

    written = []
    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setattr(run, "_draw_sprites", lambda: None)
    monkeypatch.setattr(run.environments, "versions", lambda *pythons: {"keras": "9.9"})
    names = "dense_128,conv64_64"
    arguments = [f"--workloads={names}", f"--results={tmp_path}", f"--peers_python={sys.executable}"]
    assert run.main(arguments) == 0
    assert written == [False, True]
    assert list(json.loads((tmp_path / "results.json").read_text())["workloads"]) == names.split(",")
    assert "failed: it broke" in (tmp_path / "results.md").read_text()


def test_the_machine_is_described():
    assert int(machine()["cores"]) > 0
    assert machine()["memory"].endswith("GiB")


def test_the_seconds_of_a_process_and_of_the_machine_grow_with_work():
    own, all_cores = load.cpu_seconds_of_process(os.getpid()), load.cpu_seconds_of_machine()
    while load.cpu_seconds_of_process(os.getpid()) < own + 0.05:
        sum(range(10_000))
    # To a tick: the two are counted apart.
    assert load.cpu_seconds_of_machine() >= all_cores + 0.03


def test_what_others_used_is_the_median_of_the_windows():
    windows = [{"others_cores": value} for value in (0.1, 0.4, 2.0)]
    assert load.by_others(windows, 4) == 0.1
    assert load.by_others([], 4) is None
