"""Random variables of TF_CONFIG and Slurm: some workers, one process, or one line that says what is wrong."""

import json
import random

import pytest

from tests.fixtures.mutations import mutated
from vaeflow.devices.workers import find_workers
from vaeflow.errors import ConfigurationError

TF_CONFIGS = [
    {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}},
    {"cluster": {"chief": ["[fe80::1]:22"], "worker": ["a:1"]}, "task": {"type": "chief", "index": "0"}},
    {"cluster": {}, "task": {"type": "worker", "index": 0}, "environment": "cloud"},
]
SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_NTASKS": "5",
    "SLURM_STEP_NODELIST": "gpu[09-10],login1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}
COUNTS = [pytest.param(1_000), pytest.param(100_000, marks=pytest.mark.fuzz)]


def is_answered(environment):
    """Whether the environment names workers, none, or is refused in one line."""
    try:
        found = find_workers(environment)
    except ConfigurationError as error:
        return "\n" not in str(error) and len(str(error)) < 2000
    return found is None or 0 <= found.index < found.size


@pytest.mark.parametrize("count", COUNTS)
def test_tf_config(count):
    draw = random.Random(0)
    for _ in range(count):
        environment = {"TF_CONFIG": mutated(json.dumps(draw.choice(TF_CONFIGS)), draw)}
        assert is_answered(environment), environment


@pytest.mark.parametrize("count", COUNTS)
def test_slurm(count):
    draw = random.Random(1)
    for _ in range(count):
        environment = dict(SLURM)
        for name in draw.sample(sorted(SLURM), draw.randint(1, 3)):
            environment[name] = mutated(environment[name], draw)
            if draw.random() < 0.1:
                del environment[name]
        assert is_answered(environment), environment
