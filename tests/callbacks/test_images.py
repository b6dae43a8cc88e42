"""The pictures: their sizes, their content, and the same in TensorBoard and as PNG files."""

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Images
from vaeflow.datasets import RenderedSprites

NAMES = ("reconstructions", "samples", "traversals")


def png(path):
    return tf.io.decode_png(path.read_bytes()).numpy()


def cells(picture, size, factor=1, margin=0):
    """Cuts a grid into rows of cells, `[rows, columns, size, size, C]`, without margin and gaps of 2.

    Args:
      picture: of images of `size` pixels, enlarged by `factor`, right of a margin.
    """
    enlarged = _cells(picture[:, margin:], factor * size)
    assert (enlarged == enlarged[:, :, ::factor, ::factor].repeat(factor, 2).repeat(factor, 3)).all()
    return enlarged[:, :, ::factor, ::factor]


def _cells(picture, size):
    step = size + 2
    rows, columns = (picture.shape[0] - 2) // step, (picture.shape[1] - 2) // step
    return np.array(
        [[picture[2 + r * step :, 2 + c * step :][:size, :size] for c in range(columns)] for r in range(rows)]
    )


@pytest.mark.slow
def test_sizes_steps_and_content(tmp_path):
    kept = []

    class Keep(Callback):
        def on_train_begin(self, run):
            kept.append(run.trainer.model)

    callbacks = [Images(5, num_examples=11), Keep()]
    tiny_runs.train(tmp_path, num_steps=12, callbacks=callbacks, model=lambda: tiny_runs.model(3))
    found = {path.name for path in (tmp_path / "images").iterdir()}
    assert found == {f"{name}-{step:08d}.png" for name in NAMES for step in (5, 10, 12)}
    reconstructions, samples, traversals = (
        png(tmp_path / "images" / f"{name}-00000012.png") for name in NAMES
    )
    # Cells of 8 pixels, enlarged to 96, with gaps of 2, eight in a row: 11 inputs make two rows, each
    # above its outputs; 11 samples two; three latents three. Rows with a caption have a margin of 152.
    assert reconstructions.shape == (4 * 98 + 2, 152 + 8 * 98 + 2, 1)
    assert samples.shape == (2 * 98 + 2, 8 * 98 + 2, 1)
    assert traversals.shape == (3 * 98 + 2, 152 + 8 * 98 + 2, 1)

    inputs = tiny_runs.images(11, seed=1)
    rows = cells(reconstructions, 8, 12, 152)
    np.testing.assert_array_equal(np.concatenate([rows[0], rows[2][:3]]), inputs)
    outputs = np.round(kept[0](inputs / np.float32(255)).numpy() * 255)
    assert np.max(np.abs(np.concatenate([rows[1], rows[3][:3]]).astype(int) - outputs)) <= 1
    assert (rows[2:, 3:] == 255).all()  # The places left over are white.
    # Each row of a traversal moves.
    assert all(np.any(row[0] != row[-1]) for row in cells(traversals, 8, 12, 152))
    # The captions of images are equal, those of images and outputs are not, nor those of two latents.
    captions = [reconstructions[98 * row : 98 * (row + 1), :152] for row in range(4)]
    assert [np.array_equal(captions[0], each) for each in captions] == [True, False, True, False]
    assert np.any(traversals[:98, :152] != traversals[98:196, :152])


@pytest.mark.slow
def test_tensorboard_shows_the_same_pictures(tmp_path):
    tiny_runs.train(tmp_path, num_steps=10, callbacks=[Images(5, num_examples=8)])
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    for name in NAMES:
        shown = events.Tensors(name)
        assert [event.step for event in shown] == [5, 10]
        picture = tf.io.decode_png(shown[-1].tensor_proto.string_val[2]).numpy()
        np.testing.assert_array_equal(picture, png(tmp_path / "images" / f"{name}-00000010.png"))


@pytest.mark.long
def test_sprites_and_a_limit_on_traversals(tmp_path):
    tiny_runs.train(
        tmp_path,
        dataset=RenderedSprites(image_size=16, num_evaluation=5),
        num_steps=2,
        callbacks=[Images(2, num_examples=32, max_traversals=2)],
        model=lambda: tiny_runs.model(4),
    )
    pictures = {path.name.split("-")[0]: png(path) for path in (tmp_path / "images").iterdir()}
    # The split has five examples only; samples there are as many as one likes.
    assert {name: picture.shape for name, picture in pictures.items()} == {
        "reconstructions": (2 * 98 + 2, 152 + 8 * 98 + 2, 1),
        "samples": (4 * 98 + 2, 8 * 98 + 2, 1),
        "traversals": (2 * 98 + 2, 152 + 8 * 98 + 2, 1),
    }


@pytest.mark.long
def test_it_does_not_change_the_training(tmp_path):
    with_images = tiny_runs.train(tmp_path / "one", callbacks=[Images(5)])
    assert with_images["weights_sha256"] == tiny_runs.train(tmp_path / "other")["weights_sha256"]


@pytest.mark.parametrize("setting", ["num_examples", "max_traversals"])
def test_settings_are_checked(setting):
    with pytest.raises(ValueError, match=f"`Images.{setting}` must be a positive integer, got 0"):
        Images(**{setting: 0})
