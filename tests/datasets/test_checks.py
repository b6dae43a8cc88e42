"""What is checked of data before a model takes them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.image_folders import load_split, save_image
from vaeflow.datasets import InMemorySplit, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.checks import check_labels, check_reads
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.layers import CategoricalLikelihood, GaussianLikelihood, PoissonLikelihood
from vaeflow.models import VAE
from vaeflow.models.base import Model

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 3, 2, 1)).astype(np.uint8)
TRAIN = InMemorySplit(IMAGES, np.arange(6) % 3, ["kind"])


def check(split):
    check_labels(split, TRAIN.factor_names, TRAIN.factor_sizes)


def test_an_evaluation_may_have_fewer_labels():
    check(TRAIN)
    check(InMemorySplit(IMAGES, np.zeros(6, int), ["kind"]))
    check(CachedSplit(InMemorySplit(IMAGES, np.zeros(6, int), ["kind"], factor_sizes=[3])))
    check_labels(InMemorySplit(IMAGES), (), ())


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (
            np.arange(6),
            ["kind"],
            "has labels 'kind' from 0 to 5, those of training are 0 to 2; remove the others",
        ),
        (
            np.arange(6) % 3,
            ["class"],
            r"has the factors \(class\) of sizes \(3,\), those of training are \(kind\)",
        ),
        (np.zeros((6, 2)), ["kind", "size"], r"has the factors \(kind, size\) of sizes \(1, 1\), those of"),
        (None, [], r"has the factors \(\) of sizes \(\), those of training are \(kind\) of sizes \(3,\)"),
    ],
)
def test_labels_that_training_cannot_have_are_refused(labels, names, message):
    with pytest.raises(DataError, match=f"InMemorySplit {message}"):
        check(InMemorySplit(IMAGES, labels, names))


def test_a_folder_without_training_images_is_named(tmp_path):
    for folder in ("train/b", "test/a"):
        save_image(tmp_path / folder / "1.png")
    train, evaluation = load_split(tmp_path), load_split(tmp_path, "evaluation")
    check_labels(train, train.factor_names, train.factor_sizes)
    with pytest.raises(DataError, match=r"^\S*test/a/1.png has a label that training lacks"):
        check_labels(evaluation, train.factor_names, train.factor_sizes)


class OwnLabels(Split):
    """A split of a user, whose labels come from a function."""

    def __init__(self, read, sizes=(3,)):
        super().__init__(len(IMAGES), IMAGES.shape[1:], "uint8")
        self.factor_names = ("kind",)
        self.factor_sizes = sizes
        self._read = read

    def examples(self, indices):
        return tf.gather(IMAGES, indices)

    def labels(self, indices):
        return self._read(indices)


class OwnFactors(InMemorySplit):
    """A split of a user, whose factors are counted with other code that fails."""

    def factors(self, indices):
        return {}["kind"]


def test_own_labels_that_are_right_pass():
    check(OwnLabels(lambda indices: indices[:, None] % 3))


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda i: i % 3,
            r"must return an int64 tensor of the shape \(3, 1\) for 3 indices; it returned .* \(3,\)",
        ),
        (lambda i: tf.cast(i[:, None], tf.int32), r"must return an int64 tensor .* and int32"),
        (lambda i: i[:, None] + 1, "returns 3 for 'kind' of example 2; expected 0 to 2"),
        (lambda i: i[:, None] - 1, "returns -1 for 'kind' of example 0; expected 0 to 2"),
        (lambda i: {}["kind"], "fails: KeyError: 'kind'"),
    ],
)
def test_own_labels_that_are_wrong_are_described(read, message):
    with pytest.raises(DataError, match=f"`OwnLabels.labels` {message}"):
        check(OwnLabels(read))


def test_own_factors_that_fail_are_described():
    with pytest.raises(DataError, match=r"`OwnFactors.labels` fails: KeyError: 'kind'"):
        check(OwnFactors(IMAGES, np.arange(6) % 3, ["kind"]))


class CodeSplit(Split):
    """Codes that a tokenizer could have made."""

    def __init__(self):
        super().__init__(2, (1, 1, 1), "int32", "codes")
        self.code_sizes = (512,)

    def examples(self, indices):
        return tf.fill((tf.shape(indices)[0], 1, 1, 1), 300)


class OfCodes(Model):
    """A model of codes."""

    takes = "codes"


def test_codes_stay_the_integers_that_they_are():
    codes = CodeSplit().to_floats(CodeSplit().examples(tf.constant([0])), "float32")
    assert codes.dtype == tf.int32
    assert codes.numpy().tolist() == [[[[300]]]]
    assert CodeSplit().fingerprint() == "2 codes of 1 x 1 x 1, int32"


def test_a_model_takes_data_of_its_own_kind_only():
    check_reads(OfCodes(), CodeSplit())
    with pytest.raises(ConfigurationError, match=r"OfCodes takes codes, and the data are images; .*@Codes"):
        check_reads(OfCodes(), InMemorySplit(IMAGES))
    with pytest.raises(ConfigurationError, match="Model takes images, and the data are codes"):
        check_reads(Model(), CodeSplit())


def as_floats(values, white):
    return InMemorySplit((np.asarray(values, np.float64) / white).astype(np.float32))


DIGITS = IMAGES // 16  # 0 to 15.
GREY = np.random.RandomState(1).random((6, 3, 2, 1)).astype(np.float32)


class Streamed(Split):
    """Float images that are not in memory."""

    def __init__(self, images):
        super().__init__(len(images), images.shape[1:], "float32")
        self.images = tf.constant(images)

    def examples(self, indices):
        return tf.gather(self.images, indices)


@pytest.mark.parametrize(
    ("likelihood", "split"),
    [
        (CategoricalLikelihood(), InMemorySplit(IMAGES)),
        (CategoricalLikelihood(), as_floats(IMAGES, 255)),
        (CategoricalLikelihood(16), as_floats(DIGITS, 15)),
        (CategoricalLikelihood(), InMemorySplit(IMAGES, binarization="dynamic")),
        (CategoricalLikelihood(2), InMemorySplit(255 * (IMAGES > 99).astype(np.uint8))),
        (PoissonLikelihood(), InMemorySplit(IMAGES)),
        (PoissonLikelihood(4000), as_floats(IMAGES * 15.0 + 7, 4000)),
        (PoissonLikelihood(2**20 - 1), as_floats(np.floor(IMAGES * 4000.7), 2**20 - 1)),
        (PoissonLikelihood(1), InMemorySplit(IMAGES, binarization="static")),
        (GaussianLikelihood(), Streamed(GREY)),
    ],
)
def test_pixels_that_a_likelihood_is_for_pass(likelihood, split):
    check_reads(VAE(2, likelihood=likelihood), split)


@pytest.mark.parametrize(
    ("likelihood", "split", "message"),
    [
        (
            CategoricalLikelihood(),
            as_floats(GREY, 1),
            r"example \d is 0\.\d+; .*`Arrays.pixel_range = \(0, N\)` and `Categorical.*num_levels = N \+ 1`",
        ),
        (CategoricalLikelihood(), Streamed(GREY), "whole multiples of 1/255, and one of example"),
        (CategoricalLikelihood(), as_floats(DIGITS, 16), "whole multiples of 1/255, and one of example"),
        (CategoricalLikelihood(16), InMemorySplit(IMAGES), "whole multiples of 1/15, and one of example"),
        (
            PoissonLikelihood(),
            as_floats(GREY, 1),
            "PoissonLikelihood needs .*`PoissonLikelihood.max_count = N`",
        ),
        (
            PoissonLikelihood(),
            InMemorySplit(IMAGES, binarization="static"),
            "counts of 0 to 255, and .*binarized",
        ),
    ],
)
def test_pixels_that_a_likelihood_is_not_for_are_refused(likelihood, split, message):
    with pytest.raises(ConfigurationError, match=message):
        check_reads(VAE(2, likelihood=likelihood), split)
