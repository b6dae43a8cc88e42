"""The command `python -m benchmarks.run`: its options; what it measures is tested beside."""

import contextlib
import json
import os
import sys
import time

import pytest

from benchmarks import environments, lines, load, run
from benchmarks.environments import machine
from tests.fixtures.compared_lines import line


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
    assert (options.rounds, options.seconds) == (3, 1.5)
    assert not options.everything
    assert not options.fresh
    assert options.results.name == "benchmarks"
    assert len(options.workloads) == 7


def test_a_quick_look_leaves_the_results_alone():
    options = run._parse(["--quick", "--workloads=conv64_64,dense_128"])
    assert (options.rounds, options.seconds) == (1, 1.0)
    assert options.results.name == "quick"
    assert options.workloads == ["conv64_64", "dense_128"]
    assert options.fresh
    assert run._parse(["--quick", "--rounds=2"]).rounds == 2


class Cut(BaseException):
    """Ends a run as a power cut would: nobody catches it."""


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Compares three made-up programs on two workloads.

    Returns what was measured, and what had been written before each. `cut` ends the run before that
    measurement; `broken` names programs that fail, `disturbed` those beside which others take the cores.
    """

    def compare(*options, cut=None, broken=(), disturbed=(), sources="1"):
        def measure(name, settings, done, keep):
            for program in (lines.VAEFLOW, lines.PYTHAE, lines.JAX_SCAN):
                tuned = program != lines.VAEFLOW
                if (program, tuned) in done:
                    continue
                if (name, program) == cut:
                    raise Cut
                before.append(results() if path.exists() else None)
                measured.append((name, program))
                failure = "it broke" if program in broken else None
                made = line(program, [1], beside=[2], tuned_allocator=tuned, failure=failure)
                if program in disturbed:
                    made["beside"][0]["others_cores"] = 99.0
                keep(made)

        measured, before = [], []
        monkeypatch.setattr(run, "measure", measure)
        monkeypatch.setattr(run, "_draw_sprites", lambda: None)
        monkeypatch.setattr(run.environments, "versions", lambda *pythons: {"keras": "9.9"})
        monkeypatch.setattr(run.environments, "digest_of_sources", lambda: sources)
        arguments = ["--workloads=dense_128,conv64_64", f"--results={tmp_path}"]
        arguments.append(f"--peers_python={sys.executable}")
        with contextlib.suppress(Cut):
            assert run.main([*arguments, *options]) == 0
        return measured, before

    def results():
        return {
            (name, each["name"], each["failure"])
            for name, measured in json.loads(path.read_text())["workloads"].items()
            for each in measured["lines"]
        }

    path = tmp_path / "results.json"
    compare.results = results
    return compare


EVERY = [
    (name, program)
    for name in ("dense_128", "conv64_64")
    for program in (lines.VAEFLOW, lines.PYTHAE, lines.JAX_SCAN)
]


def test_both_tables_are_written_as_each_program_ends(compare, tmp_path):
    measured, before = compare()
    assert measured == EVERY
    assert before[0] is None
    for number, written in enumerate(before[1:], 1):
        assert written == {(*each, None) for each in EVERY[:number]}
    text = (tmp_path / "results.md").read_text()
    assert "| JAX, scan, tuned allocator | 1 (1–1) | 2.00 |" in text
    assert "| conv64_64 | at least 1.4 times the best peer (pythae, tuned allocator) | 2.00 times |" in text


def test_a_run_that_was_cut_goes_on_where_it_was(compare, capsys):
    first, _ = compare(cut=("conv64_64", lines.PYTHAE))
    assert first == EVERY[:4]
    assert "going on" not in capsys.readouterr().err
    second, _ = compare()
    assert second == EVERY[4:]
    assert "going on with" in capsys.readouterr().err
    assert compare.results() == {(*each, None) for each in EVERY}
    assert compare()[0] == []


def test_what_failed_is_measured_again(compare):
    compare(broken=[lines.PYTHAE])
    assert ("dense_128", lines.PYTHAE, "it broke") in compare.results()
    assert compare()[0] == [each for each in EVERY if each[1] == lines.PYTHAE]
    assert compare.results() == {(*each, None) for each in EVERY}


def test_what_others_have_disturbed_is_measured_again(compare):
    compare(disturbed=[lines.JAX_SCAN])
    assert compare()[0] == [each for each in EVERY if each[1] == lines.JAX_SCAN]
    assert compare()[0] == []


def test_workloads_stand_in_their_own_order(compare, tmp_path):
    compare("--workloads=conv64_64")
    compare()
    text = (tmp_path / "results.md").read_text()
    assert text.index("## dense_128") < text.index("## conv64_64")


@pytest.mark.parametrize("options", [("--rounds=2",), ("--seconds=1",), ("--fresh",)])
def test_other_settings_begin_anew(compare, options):
    compare()
    assert compare(*options)[0] == EVERY


def test_other_sources_begin_anew(compare):
    compare(cut=("conv64_64", lines.PYTHAE))
    assert compare(sources="2")[0] == EVERY


def test_results_that_cannot_be_read_are_left_alone(compare, tmp_path, capsys):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(AssertionError):
        compare()
    assert "results.json cannot be read: " in capsys.readouterr().err
    assert (tmp_path / "results.json").read_text() == "{"


def test_the_digest_is_that_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "REPOSITORY", tmp_path)
    for name in ("vaeflow/a.py", "benchmarks/b.gin", "benchmarks/.venv/c.py", "benchmarks/results.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    first = environments.digest_of_sources()
    for name in ("benchmarks/.venv/c.py", "benchmarks/results.md"):
        (tmp_path / name).write_text("2")
    assert environments.digest_of_sources() == first
    for name in ("vaeflow/a.py", "benchmarks/b.gin"):
        (tmp_path / name).write_text("2")
        assert environments.digest_of_sources() != first
        (tmp_path / name).write_text("1")
    (tmp_path / "vaeflow/a.py").rename(tmp_path / "vaeflow/d.py")
    assert environments.digest_of_sources() != first


def test_the_machine_is_described():
    assert int(machine()["cores"]) > 0
    assert machine()["memory"].endswith("GiB")


def test_the_seconds_of_a_session_and_of_the_machine_grow_with_work():
    session = os.getsid(0)
    own, all_cores = load.cpu_seconds_of_session(session), load.cpu_seconds_of_machine()
    deadline = time.monotonic() + 30
    # The kernel counts the two apart, and each when it comes to it.
    while not (
        load.cpu_seconds_of_session(session) >= own + 0.05
        and load.cpu_seconds_of_machine() >= all_cores + 0.05
    ):
        assert time.monotonic() < deadline
        sum(range(10_000))


def test_what_others_used_is_the_median_of_the_windows():
    windows = [{"others_cores": value} for value in (0.1, 0.4, 2.0)]
    assert load.by_others(windows, 4) == 0.1
    assert load.by_others([], 4) is None
