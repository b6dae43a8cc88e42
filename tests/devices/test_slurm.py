"""The workers of a run that Slurm's `srun` started."""

import json
import time

import pytest

from vaeflow.devices.slurm import expand_counts, expand_hosts
from vaeflow.devices.workers import Workers, find_workers
from vaeflow.errors import ConfigurationError


def slurm(**changes):
    """The variables that srun sets for the fourth of five tasks on three hosts."""
    variables = {
        "JOB_ID": "1234",
        "STEP_ID": "0",
        "STEP_NUM_TASKS": "5",
        "STEP_NODELIST": "gpu[09-10],login1",
        "STEP_TASKS_PER_NODE": "2(x2),1",
        "PROCID": "3",
        "LOCALID": "1",
    } | changes
    return {f"SLURM_{name}": value for name, value in variables.items() if value is not None}


def test_tasks_of_slurm():
    found = find_workers(slurm())
    hosts = [address.partition(":")[0] for address in found.addresses]
    ports = [int(address.partition(":")[2]) for address in found.addresses]
    assert hosts == ["gpu09", "gpu09", "gpu10", "gpu10", "login1"]
    assert found.index == 3
    assert [port - ports[0] for port in ports] == [0, 1, 0, 1, 0]
    assert ports[0] >= 20000
    assert ports[0] + 16 <= 32768
    for rank, local in enumerate("01010"):
        one = find_workers(slurm(PROCID=str(rank), LOCALID=local))
        assert one == Workers(found.addresses, rank)


def test_steps_and_jobs_that_follow_one_another_share_no_port():
    def ports(**changes):
        addresses = find_workers(slurm(**changes)).addresses
        return {int(address.partition(":")[2]) for address in addresses}

    first = ports()
    assert not first & ports(STEP_ID="1")
    assert not first & ports(JOB_ID="1235")
    assert first == ports()


def test_variables_of_the_step_come_before_those_of_the_job():
    job = {"NTASKS": "40", "JOB_NODELIST": "other", "TASKS_PER_NODE": "40"}
    assert find_workers(slurm(**job)) == find_workers(slurm())
    of_job = slurm(
        STEP_NUM_TASKS=None, STEP_NODELIST=None, STEP_TASKS_PER_NODE=None, LOCALID=None, NTASKS="5",
        JOB_NODELIST="gpu[09-10],login1", TASKS_PER_NODE="2(x2),1",
    )  # fmt: skip
    assert find_workers(of_job) == find_workers(slurm())


def test_tf_config_comes_before_slurm():
    content = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    assert find_workers(slurm() | {"TF_CONFIG": json.dumps(content)}) == Workers(("a:1", "b:2"), 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"STEP_ID": None, "STEP_NUM_TASKS": None, "NTASKS": "5", "PROCID": "0"},  # A batch script.
        {
            "STEP_ID": "4294967291",
            "STEP_NUM_TASKS": None,
            "NTASKS": "5",
            "PROCID": "0",
        },  # Slurm's own number for it.
        {"STEP_ID": "4294967290", "STEP_NUM_TASKS": "1", "NTASKS": "5", "PROCID": "0"},  # salloc's shell.
        {"STEP_NUM_TASKS": "1", "NTASKS": "5"},  # srun --ntasks=1 in an allocation for five.
    ],
)
def test_what_is_no_step_of_several_is_one_process(changes):
    assert find_workers(slurm(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"STEP_NUM_TASKS": "6"}, r"3 hosts \(gpu09, gpu10, login1\), \[2, 2, 1\] tasks on them, 6 tasks"),
        ({"STEP_NODELIST": "gpu[09-10]"}, "2 hosts"),
        ({"PROCID": "5"}, "this is number 5"),
        ({"PROCID": None}, "SLURM_STEP_ID is set, but SLURM_PROCID is not; start the workers with `srun"),
        ({"PROCID": "x"}, "SLURM_PROCID is 'x'"),
        ({"STEP_NODELIST": None}, "SLURM_STEP_NODELIST is not"),
        ({"STEP_NODELIST": "gpu[09-10"}, "SLURM_STEP_NODELIST is 'gpu"),
        ({"STEP_TASKS_PER_NODE": "2(x2)1"}, r"SLURM_STEP_TASKS_PER_NODE is '2\(x2\)1'"),
        # Tasks dealt out one host after the other: number 3 would be the second on gpu09.
        ({"PROCID": "1", "LOCALID": "0"}, "use `srun --distribution=block`"),
    ],
)
def test_a_contradictory_slurm_environment_is_refused(changes, expected):
    with pytest.raises(ConfigurationError, match=expected):
        find_workers(slurm(**changes))


@pytest.mark.parametrize(
    ("hostlist", "expected"),
    [
        ("n1", ["n1"]),
        ("my-host-1,other.domain", ["my-host-1", "other.domain"]),
        ("gpu[01-03,7],login1", ["gpu01", "gpu02", "gpu03", "gpu7", "login1"]),
        ("n[1-2],m5,o[3-4,6,7-9]", ["n1", "n2", "m5", "o3", "o4", "o6", "o7", "o8", "o9"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("n[9-11]", ["n9", "n10", "n11"]),
        ("[2-3]", ["2", "3"]),
    ],
)
def test_hostlists_as_tensorflow_reads_them(hostlist, expected):
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

    assert expand_hosts(hostlist) == expected
    assert slurm_cluster_resolver.expand_hostlist(hostlist) == expected


def test_hostlists_that_tensorflow_refuses():
    assert expand_hosts("r[0-1]n[8-9]-ib,x") == ["r0n8-ib", "r0n9-ib", "r1n8-ib", "r1n9-ib", "x"]


@pytest.mark.parametrize(
    "hostlist", ["", ",", "a,,b", "a,", "n[", "n]", "n[]", "n[1-]", "n[3-1]", "n[1-2-3]", "n[a-b]", "n[[1]]"]
)
def test_bad_hostlists(hostlist):
    with pytest.raises(ConfigurationError, match="not of the form"):
        expand_hosts(hostlist)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [("1", [1]), ("3(x2),2,1", [3, 3, 2, 1]), ("2(x3),1", [2, 2, 2, 1]), ("10,4(x1)", [10, 4])],
)
def test_tasks_per_node_as_tensorflow_reads_them(counts, expected):
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

    assert expand_counts(counts) == expected
    assert slurm_cluster_resolver.expand_tasks_per_node(counts) == expected


@pytest.mark.parametrize("counts", ["", "x", "2(x)", "2x3", "1,,2", "-1", "2 (x3)"])
def test_bad_tasks_per_node(counts):
    with pytest.raises(ConfigurationError, match=r"not of the form 2\(x3\),1"):
        expand_counts(counts)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STEP_NODELIST", "g[0-99999999]"),
        ("STEP_NODELIST", "g" + "[0-999]" * 20),
        ("STEP_NODELIST", "g[" + "0-9999," * 15_000 + "1]"),
        ("STEP_NODELIST", "g[0-9]," * 15_000 + "a"),
        ("STEP_NODELIST", "," * 120_000),
        ("STEP_NODELIST", "[" * 120_000),
        ("STEP_NODELIST", f"g[0-{'9' * 5000}]"),
        ("STEP_TASKS_PER_NODE", "1(x999999999)"),
        ("STEP_TASKS_PER_NODE", "999999999"),
        ("STEP_TASKS_PER_NODE", "9" * 5000),
        ("STEP_NUM_TASKS", "9" * 5000),
        ("PROCID", "9" * 5000),
    ],
)
def test_a_short_form_of_too_much_is_refused_in_a_moment(name, value):
    started = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        find_workers(slurm(**{name: value}))
    assert len(str(caught.value)) < 1000
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("hostlist", ["a:1,b", "a/b", "a b", "a\nb"])
def test_a_host_that_is_no_name_is_refused(hostlist):
    with pytest.raises(ConfigurationError, match="SLURM_STEP_NODELIST is"):
        expand_hosts(hostlist)


def test_a_host_that_is_named_twice_is_refused():
    with pytest.raises(ConfigurationError, match="contradicts itself"):
        find_workers(slurm(STEP_NODELIST="gpu09,gpu09,login1"))
