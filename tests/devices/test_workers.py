"""The workers, read from TF_CONFIG and from Slurm's variables."""

import json
import re

import pytest

from vaeflow.devices.workers import Workers, find_workers, to_tf_config
from vaeflow.errors import ConfigurationError

TWO = ("a:1", "b:2")


def from_tf_config(content):
    text = content if isinstance(content, str) else json.dumps(content)
    return find_workers({"TF_CONFIG": text})


def tf_config(index=0, kind="worker", **jobs):
    return {"cluster": jobs or {"worker": list(TWO)}, "task": {"type": kind, "index": index}}


def test_without_a_cluster_there_is_one_process():
    assert find_workers({}) is None
    assert find_workers({"TF_CONFIG": "", "PATH": "/bin"}) is None
    # As TensorFlow reads them.
    assert from_tf_config({}) is None
    assert from_tf_config({"cluster": {}}) is None
    assert from_tf_config({"cluster": {}, "task": {"type": "worker", "index": 0}}) is None
    assert from_tf_config({"task": {"type": "worker", "index": 0}}) is None
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
        ("null", 'it has no "cluster"'),
        ({"cluster": None}, 'it has no "cluster"'),
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


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"cluster": {"worker": ' + "[" * 900 + "]" * 900 + "}}",
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": ' + '{"type": ' * 900 + "0" + "}" * 901,
        '{"task": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_nested_deep_or_a_number_of_many_digits_is_refused(text):
    with pytest.raises(ConfigurationError) as caught:
        from_tf_config(text)
    assert len(str(caught.value)) < 1000


def test_more_workers_than_any_cluster_has_are_refused():
    with pytest.raises(ConfigurationError, match="names more than 10,000 workers"):
        from_tf_config(tf_config(worker=[f"a{index}:1" for index in range(20_000)]))
