"""A SavedModel that a configuration names is a program: it runs only with the user's consent."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.commands import Command

pytestmark = [pytest.mark.processes, pytest.mark.slow]

GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 2
train.batch_size = 8
train.callbacks = [@Checkpoints()]
Arrays.train = 'images.npy'
Arrays.evaluation = 'held_out.npy'
VAE.num_latents = 2
VAE.encoder = @FrozenNet()
VAE.decoder = @DenseDecoder()
FrozenNet.file = 'net'
"""


class Program(tf.Module):
    """Writes a file when it is called, as TensorFlow's operations can."""

    def __init__(self, marker):
        super().__init__()
        self.marker = str(marker)

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 1))])
    def features(self, images):
        written = tf.io.write_file(self.marker, "written")
        with tf.control_dependencies([written]):
            return {"features": tf.reshape(images, (-1, 16))}


@pytest.fixture
def folder(tmp_path):
    """The current folder of the commands."""
    program = Program(tmp_path / "marker")
    tf.saved_model.save(program, str(tmp_path / "net"), {"serving_default": program.features})
    images = np.random.default_rng(0).integers(0, 256, (24, 4, 4), np.uint8)
    np.save(tmp_path / "images.npy", images[:16])
    np.save(tmp_path / "held_out.npy", images[16:])
    (tmp_path / "run.gin").write_text(GIN)
    return tmp_path


def test_it_runs_only_if_the_command_names_it(folder):
    marker = folder / "marker"
    commands = (
        ("launch.train", "--gin_file=run.gin", "--workdir=run"),
        ("launch.evaluate", "--workdir=run"),
        ("launch.sample", "--workdir=run"),
    )
    for module, *arguments in commands:
        refused = Command(module, arguments, folder).finish()
        assert refused.code == 2
        assert "net is a SavedModel, a program, " in refused.error
        assert "--plugin=net if you trust it" in refused.error
        assert "Traceback" not in refused.error
        assert not marker.exists()
        # That it could have been written, and is with consent.
        trusted = Command(module, [*arguments, "--plugin=net"], folder).finish()
        assert trusted.code == 0, trusted.error
        if module != "launch.sample":  # It calls no encoder.
            assert marker.exists()
        marker.unlink(missing_ok=True)


def test_a_keras_file_of_an_export_would_not_hold_it(folder):
    """A SavedModel of the model holds it; a `.keras` file would not."""
    trained = Command("launch.train", ["--gin_file=run.gin", "--workdir=run", "--plugin=net"], folder)
    assert trained.finish().code == 0
    refused = Command("launch.export", ["--workdir=run", "--plugin=net"], folder).finish()
    assert refused.code == 2
    assert "a .keras file would not hold the SavedModel 'net' that is part of this VAE" in refused.error
    assert not (folder / "run" / "export").exists()
    formats = "--gin_param=export.formats = ('saved_model',)"
    exported = Command("launch.export", ["--workdir=run", "--plugin=net", formats], folder).finish()
    assert exported.code == 0, exported.error
    assert (folder / "run" / "export" / "saved_model" / "saved_model.pb").exists()
