"""Processes for the factors of a score: the same numbers, few imports, and none left over."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.fixtures import factor_codes, parallel_jobs, processes
from vaeflow.metrics.disentanglement import SAP, parallel


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """The processes of a call, which end with the test; its folder hides a library."""
    from joblib.externals import loky

    for name in ("numpy.py", "joblib.py", "sklearn.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the current folder')")
    monkeypatch.chdir(tmp_path)
    yield
    loky.get_reusable_executor().shutdown(wait=True, kill_workers=True)


@pytest.mark.slow
@pytest.mark.processes
def test_processes_compute_what_this_one_does(workers):
    generator = np.random.default_rng(0)
    jobs = [(generator.normal(size=(50, 70)), generator.normal(size=(70, 9))) for _ in range(5)]
    alone, together = (parallel.map_jobs(parallel_jobs.product, jobs, number, "a test") for number in (1, 2))
    np.testing.assert_array_equal(alone, together)
    found = parallel.map_jobs(parallel_jobs.seen, [(number,) for number in range(8)], 2, "a test")
    assert [number for number, *_ in found] == list(range(8))
    assert os.getpid() not in {process for _, process, *_ in found}
    assert not any(knows_tensorflow for *_, knows_tensorflow, _ in found)
    assert {1} >= set().union(*(threads for *_, threads in found))
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_a_score_is_the_same_in_any_number_of_processes(workers):
    factors = factor_codes.random_factors(90)
    codes = factor_codes.noisy(factors)
    pools = [factor_codes.pool(codes, factors, num_processes=number) for number in (1, 2)]
    assert SAP().measure(pools[0], 0) == SAP().measure(pools[1], 0)


def test_one_job_needs_no_process():
    ((_, process, *_),) = parallel.map_jobs(parallel_jobs.seen, [(0,)], 8, "a test")
    assert process == os.getpid()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_they_die_with_the_command(tmp_path):
    command = [sys.executable, "-m", "tests.fixtures.parallel_jobs", str(tmp_path)]
    with subprocess.Popen(command) as parent:
        deadline = time.monotonic() + 60
        while len(noted := [path.read_text() for path in tmp_path.iterdir()]) < 2 or "" in noted:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        parent.kill()
    while any(map(processes.alive, noted)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
