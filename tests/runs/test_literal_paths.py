"""Folders whose names TensorFlow would take for patterns."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.literal_paths import literal

NAMES = ["lr[0.1]", "a*b?", "c{d,e}", r"f\g"]


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_comes_back_from_any_folder(tmp_path, name):
    """TensorFlow alone finds no file below `lr[0.1]`."""
    store = CheckpointStore(tmp_path / name)
    store.save(tf.train.Checkpoint(model=[tf.Variable(7.0)]), 1)
    read = tf.train.Checkpoint(model=[tf.Variable(0.0)])
    assert store.restore(read)["step"] == 1
    assert float(read.model[0]) == 7.0
    assert store.read_weights(1)["model"] == [np.float32(7.0)]


def test_a_pattern_does_not_find_the_checkpoint_of_another_folder(tmp_path):
    stores = {name: CheckpointStore(tmp_path / name) for name in ("a*", "ab")}
    stores["ab"].save(tf.train.Checkpoint(model=[tf.Variable(1.0)]), 1)
    stores["a*"].save(tf.train.Checkpoint(model=[tf.Variable(2.0), tf.Variable(3.0)]), 1)
    assert len(stores["a*"].read_weights(1)["model"]) == 2
    with pytest.raises(ConfigurationError, match="holds 2 variables, the model and its optimizer have 1"):
        stores["a*"].restore(tf.train.Checkpoint(model=[tf.Variable(0.0)]))


def test_a_saved_model_is_loaded_from_any_folder(tmp_path):
    folder = tmp_path / NAMES[0]
    folder.mkdir()
    module = tf.Module()
    module.weight = tf.Variable(3.0)
    with literal(folder) as safe:
        tf.saved_model.save(module, str(safe / "model"))
        assert float(tf.saved_model.load(str(safe / "model")).weight) == 3.0
    assert (folder / "model" / "saved_model.pb").exists()


def test_a_writer_of_summaries_takes_no_path_for_a_pattern(tmp_path):
    """The reason why it is given the path as it is."""
    for name in NAMES:
        writer = tf.summary.create_file_writer(str(tmp_path / name))
        with writer.as_default(step=0):
            tf.summary.scalar("loss", 1.0)
        writer.close()
        assert len(list((tmp_path / name).iterdir())) == 1


def test_a_plain_path_stays_as_it_is(tmp_path):
    with literal(tmp_path) as safe:
        assert safe == tmp_path
