"""An encoding that is killed in the middle, or made on several replicas, holds the same as any other."""

import json
import signal

import numpy as np
import pytest

from tests.fixtures import trained_runs
from tests.fixtures.commands import Command

pytestmark = [pytest.mark.processes, pytest.mark.slow]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained_runs.trained_folder(tmp_path_factory.mktemp("run"), "Arrays.labels_key = 'labels'")


def start(folder, encoded, *flags):
    plugin = f"--plugin={trained_runs.PLUGIN}"
    arguments = [f"--workdir={folder}", f"--encoded={encoded}", plugin, *flags]
    return Command("launch.encode", arguments, folder.parent)


def contents(encoded):
    """The bytes of every file but the lock."""
    return {
        str(path.relative_to(encoded)): path.read_bytes()
        for path in encoded.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


OTHERS = [pytest.param(name, marks=pytest.mark.families) for name in ("tfrecord", "array_record")]


@pytest.mark.long
@pytest.mark.parametrize("file_format", ["npz", *OTHERS])
def test_after_a_kill_the_repeated_command_writes_what_an_unbroken_one_does(folder, tmp_path, file_format):
    flags = [
        "--gin_param=encode.examples_per_shard = 1",
        "--gin_param=encode.latents = 'sample'",
        f"--gin_param=encode.file_format = '{file_format}'",
    ]
    encoded = tmp_path / "killed"
    killed = start(folder, encoded, *flags)
    killed.wait_until(lambda: len(list(encoded.glob(f"train/*.{file_format}"))) >= 5)
    killed.kill()
    assert killed.finish().code == -signal.SIGKILL
    written = {path.name: path.stat().st_mtime_ns for path in encoded.glob("train/*.json")}
    assert 4 <= len(written) < 40
    assert not (encoded / "manifest.json").exists()

    assert start(folder, encoded, *flags).finish().code == 0
    # What was there is not written again.
    assert {name: (encoded / "train" / name).stat().st_mtime_ns for name in written} == written
    assert start(folder, tmp_path / "unbroken", *flags).finish().code == 0
    assert contents(encoded) == contents(tmp_path / "unbroken")


@pytest.mark.long
def test_two_replicas_write_what_one_does(folder, tmp_path):
    for name, flags in (("one", []), ("two", ["--virtual_devices=2"])):
        finished = start(folder, tmp_path / name, "--gin_param=encode.latents = 'sample'", *flags).finish()
        assert finished.code == 0, finished
    with (
        np.load(tmp_path / "one/train/00000-of-00001.npz") as one,
        np.load(tmp_path / "two/train/00000-of-00001.npz") as two,
    ):
        np.testing.assert_allclose(one["latents"], two["latents"], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(one["labels"], two["labels"])
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("one", "two")]
    one, two = (each["splits"]["train"]["statistics"]["z"]["all"] for each in manifests)
    np.testing.assert_allclose(one["deviation"], two["deviation"], rtol=1e-6)
