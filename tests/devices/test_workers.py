"""The workers, read from TF_CONFIG and from Slurm's variables."""

import json
import re

import pytest

from vaeflow.devices.workers import Workers, expand_counts, expand_hosts, find_workers, to_tf_config
from vaeflow.errors import ConfigurationError

TWO = ("a:1", "b:2")


def from_tf_config(content):
    text = content if isinstance(content, str) else json.dumps(content)
    return find_workers({"TF_CONFIG": text})


def tf_config(index=0, kind="worker", **jobs):
    return {"cluster": jobs or {"worker": list(TWO)}, "task": {"type": kind, "index": index}}


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


def test_without_a_cluster_there_is_one_process():
    assert find_workers({}) is None
    assert find_workers({"TF_CONFIG": "", "PATH": "/bin"}) is None
    assert from_tf_config(tf_config(worker=["a:1"])) is None
    assert from_tf_config(tf_config(kind="chief", chief=["a:1"])) is None


def test_it_reads_the_environment_of_the_process(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(tf_config(index=1)))
    assert find_workers() == Workers(TWO, 1)


def test_workers_of_tf_config():
    found = from_tf_config(tf_config(index=1))
    assert found == Workers(TWO, 1)
    assert found.size == 2
    assert not found.is_chief
    assert found.describe(1) == "worker 1 (b:2)"
    assert from_tf_config(tf_config(index=0)).is_chief
    # As platforms write it: more keys, the index as a string.
    assert from_tf_config(tf_config(index="1") | {"environment": "cloud"}) == found


def test_a_chief_comes_first():
    jobs = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    assert from_tf_config(tf_config(kind="chief", **jobs)) == Workers(("c:3", "a:1", "b:2"), 0)
    assert from_tf_config(tf_config(index=1, **jobs)) == Workers(("c:3", "a:1", "b:2"), 2)


@pytest.mark.parametrize("address", ["10.0.0.1:22", "my-host.domain_1:65535", "[fe80::1]:2222"])
def test_good_addresses(address):
    assert from_tf_config(tf_config(worker=["a:1", address])).addresses == ("a:1", address)


@pytest.mark.parametrize(
    "address", ["a", "a:", ":1", "a:0", "a:65536", "a:x", "grpc://a:1", "::1:2222", "a b:1", 7, None, "a:1\n"]
)
def test_bad_addresses(address):
    with pytest.raises(ConfigurationError, match='"worker" must be a list of "host:port"'):
        from_tf_config(tf_config(worker=["a:1", address]))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{'cluster': 1}", "it is not JSON"),
        ("[1]", 'it has no "cluster"'),
        ("{}", 'it has no "cluster"'),
        ({"cluster": ["a:1"]}, 'it has no "cluster"'),
        ({"cluster": {"worker": list(TWO)}}, 'it has no "task"'),
        ({"cluster": {"worker": list(TWO)}, "task": {"type": "worker"}}, 'it has no "task"'),
        ({"cluster": {"worker": list(TWO)}, "task": 0}, 'it has no "task"'),
        (tf_config(kind="chief"), 'type is "chief", which the cluster does not have'),
        (tf_config(kind=["worker"]), r'type is \["worker"\], which'),
        (tf_config(index=2), "index must be 0 to 1, got 2"),
        (tf_config(index=-1), "index must be 0 to 1, got -1"),
        (tf_config(index=True), "index must be 0 to 1, got true"),
        (tf_config(index=None), "index must be 0 to 1, got null"),
        (tf_config(worker=["a:1", "b:2", "a:1"]), "several workers have the address a:1$"),
        (tf_config(worker=["a:1"], chief=["a:1"]), "several workers have the address a:1$"),
        (tf_config(worker=[]), r'must be a list of "host:port", got \[\]'),
        (tf_config(worker="a:1"), 'must be a list of "host:port", got "a:1"'),
        (tf_config(worker=["a:1"], ps=["b:2"]), "tasks of type ps; only"),
        (tf_config(kind="evaluator", worker=["a:1"], evaluator=["b:2"]), "tasks of type evaluator; only"),
    ],
)
def test_an_error_about_tf_config_shows_a_valid_one(content, expected):
    with pytest.raises(ConfigurationError) as caught:
        from_tf_config(content)
    problem, advice = str(caught.value).split("; a valid one: ")
    said, arrived = problem.split(". It is ")
    assert re.search(expected, said)
    assert arrived == repr(content if isinstance(content, str) else json.dumps(content))
    example = advice.partition("; for one process")[0]
    assert from_tf_config(example) == Workers(("host0:2222", "host1:2222"), 0)


def test_tensorflow_reads_what_is_written(monkeypatch):
    import tensorflow as tf

    written = to_tf_config(Workers(("a:1", "b:2", "c:3"), 2))
    assert from_tf_config(written) == Workers(("a:1", "b:2", "c:3"), 2)
    monkeypatch.setenv("TF_CONFIG", written)
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    assert resolver.cluster_spec().as_dict() == {"worker": ["a:1", "b:2", "c:3"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 2)


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
    both = slurm() | {"TF_CONFIG": json.dumps(tf_config())}
    assert find_workers(both) == Workers(TWO, 0)


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
