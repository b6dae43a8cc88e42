"""Pixels outside 0 to 1 are refused by Keras' loops, in whatever form they come."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from vaeflow.errors import ConfigurationError

pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")


@pytest.fixture
def model():
    made = tiny_runs.model()
    made.build((None, *tiny_runs.SHAPE))
    made.compile(optimizer="sgd", jit_compile=True)
    return made


def floats():
    return (tiny_runs.images(8) / 255.0).astype(np.float32)


def pixels():
    return tiny_runs.images(8)


class Batches(keras.utils.PyDataset):
    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return (self.images,)


FORMS = {
    "array": lambda images: images,
    "tensor": tf.convert_to_tensor,
    "dataset": lambda images: tf.data.Dataset.from_tensor_slices(images).batch(4),
    "dataset of tuples": lambda images: tf.data.Dataset.from_tensors((images, images)),
    "generator": lambda images: (each for each in [(images,)]),
    "PyDataset": Batches,
}
WRONG = {
    "uint8": pixels,
    "0 to 255": lambda: pixels().astype(np.float32),
    "-1 to 1": lambda: 2.0 * floats() - 1.0,
    "not a number": lambda: np.full_like(floats(), np.nan),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loop", ["fit", "evaluate", "predict"])
def test_each_loop_refuses_them_in_each_form(model, loop, form):
    before = [variable.numpy() for variable in model.trainable_variables]
    with pytest.raises(
        ConfigurationError, match=r"^the model takes images with pixels in 0 to 1, got pixels from "
    ):
        getattr(model, loop)(FORMS[form](pixels().astype(np.float32)), verbose=0)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("loop", ["train_on_batch", "test_on_batch", "predict_on_batch", "predict"])
def test_wrong_pixels_are_refused(model, loop, wrong):
    with pytest.raises(ConfigurationError, match="divide pixels of 0 to 255 by 255"):
        getattr(model, loop)(WRONG[wrong]())


def test_validation_images_are_checked_before_the_first_step(model):
    with pytest.raises(ConfigurationError, match="got pixels from 0"):
        model.fit(floats(), validation_data=(pixels(),), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form",
    ["array", *(pytest.param(form, marks=pytest.mark.long) for form in ("dataset of tuples", "PyDataset"))],
)
def test_right_pixels_pass(model, form):
    assert np.isfinite(model.evaluate(FORMS[form](floats()), verbose=0, return_dict=True)["loss"])
