"""Runs with a frozen block: what is saved, compared and refused."""

import json

import numpy as np
import pytest
import tensorflow as tf

import vaeflow
from tests.fixtures import frozen_nets, tiny_runs
from tests.fixtures.trained_runs import write_data
from vaeflow.commands import command_line
from vaeflow.commands.programs import train
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.models import frozen_blocks
from vaeflow.runs import checkpoint_files
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.frozen_files import FrozenFile

SETTINGS = """
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 4
train.batch_size = 8
train.steps_per_loop = 2
train.compile_mode = 'none'
train.ema_decay = 0.9
train.callbacks = [@Evaluation(), @Checkpoints()]
Arrays.key = 'images'
Arrays.train = '{folder}/data/train.npz'
Arrays.evaluation = '{folder}/data/evaluation.npz'
VAE.encoder = @FrozenNet()
VAE.decoder = @DenseDecoder()
DenseDecoder.units = (8,)
FrozenNet.file = '{folder}/net.keras'
Evaluation.every_steps = 2
Checkpoints.every_steps = 2
"""


@pytest.fixture
def net(tmp_path):
    return frozen_nets.save(tmp_path / "net.keras")


def run(folder, num_steps=4, name="run"):
    """Trains with the real command in this process; returns its exit code."""
    (folder / "tiny.gin").write_text(SETTINGS.format(folder=folder))
    arguments = [f"--gin_file={folder}/tiny.gin", f"--workdir={folder / name}", "--allow_config_change"]
    arguments += [f"--gin_param=train.num_steps = {num_steps}"]
    with tiny_runs.configuration_of_its_own(), tiny_runs.untraced():
        return command_line.main(train.COMMAND, arguments)


def loaded(folder):
    with tiny_runs.configuration_of_its_own():
        return vaeflow.load(folder / "run", "last")


@pytest.mark.slow
def test_a_run_saves_the_digest_of_the_file_in_place_of_its_weights(tmp_path, net):
    write_data(tmp_path / "data")
    assert run(tmp_path) == 0
    folder = tmp_path / "run" / "checkpoints" / "step-00000004"
    model = loaded(tmp_path)
    own = frozen_blocks.without(model, model.variables)

    with checkpoint_files.reader(folder) as reader:
        names = reader.get_variable_to_shape_map()
        held = [reader.get_tensor(checkpoint_files.key(f"model/{index}")) for index in range(len(own))]
    assert sum(name.startswith("model/") for name in names) == len(own) == 8
    assert sum(name.startswith("averages/") for name in names) == len(model.trainable_variables) == 8
    assert len(model.variables) > len(own)

    (recorded,) = json.loads((folder / "record.json").read_text())["frozen_files"]
    assert recorded == {"file": "net.keras", "sha256": model.encoder.sha256}
    images = tiny_runs.images(5) / np.float32(255)
    np.testing.assert_array_equal(model.encoder(images), net(images, training=False))

    # The digest of the run is that of the trained weights alone.
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["weights_sha256"] == weights_sha256([tf.Variable(value) for value in held])


@pytest.mark.long
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, net):
    write_data(tmp_path / "data")
    assert [run(tmp_path, 2), run(tmp_path, 4), run(tmp_path, 4, "whole")] == [0, 0, 0]
    resumed, whole = (
        json.loads((tmp_path / name / "result.json").read_text())["weights_sha256"]
        for name in ("run", "whole")
    )
    assert resumed == whole


@pytest.mark.long
def test_another_file_is_refused_when_a_run_is_resumed_or_read(tmp_path, net, capsys):
    write_data(tmp_path / "data")
    assert run(tmp_path, 2) == 0
    frozen_nets.save(tmp_path / "net.keras", seed=1)
    capsys.readouterr()
    assert run(tmp_path, 4) == 2
    message = capsys.readouterr().err
    assert "step-00000002 was trained with net.keras (SHA-256 " in message
    assert "put back what it was trained with" in message
    with pytest.raises(
        ConfigurationError, match=r"was trained with net.keras .*, and the model has net.keras"
    ):
        loaded(tmp_path)
    (tmp_path / "net.keras").unlink()
    assert run(tmp_path, 4) == 2
    assert "`FrozenNet.file` must be an existing .keras file" in capsys.readouterr().err


def variables(value=1.0):
    return tf.train.Checkpoint(model=[tf.Variable([value])])


def test_a_checkpoint_without_frozen_blocks_is_refused_by_a_model_with_one_and_the_reverse(tmp_path):
    frozen = CheckpointStore(tmp_path, frozen_files=[FrozenFile("net.keras", "ab")])
    plain = CheckpointStore(tmp_path)
    plain.save(variables(), 1)
    with pytest.raises(
        ConfigurationError, match=r"trained with no frozen block, and the model has net.keras"
    ):
        frozen.restore(variables())
    frozen.save(variables(), 2)
    with pytest.raises(
        ConfigurationError, match=r"net.keras \(SHA-256 ab\), and the model has no frozen block"
    ):
        plain.restore(variables())


def test_the_name_of_the_file_may_change(tmp_path):
    CheckpointStore(tmp_path, frozen_files=[FrozenFile("net.keras", "ab")]).save(variables(3.0), 1)
    found = variables()
    assert (
        CheckpointStore(tmp_path, frozen_files=[FrozenFile("moved.keras", "ab")]).restore(found)["step"] == 1
    )
    assert float(found.model[0][0]) == 3.0


@pytest.mark.parametrize(
    "damaged", ["net.keras", [["net.keras", "ab"]], [{"file": "net.keras"}], [{"file": 1}]]
)
def test_a_damaged_record_of_the_files_counts_as_a_damaged_checkpoint(tmp_path, damaged):
    store = CheckpointStore(tmp_path)
    store.save(variables(), 1)
    path = tmp_path / "step-00000001" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frozen_files": damaged}))
    assert "must be a list of files with their SHA-256" in store.problem_with(1)
    with pytest.raises(EnvironmentFailure, match="none of the 1 checkpoints"):
        store.restore(variables())
