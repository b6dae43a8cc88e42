"""The names of weights: where each is in its model, whatever the process made before."""

import keras
import pytest

from tests.fixtures import numpy_vae
from vaeflow.errors import ConfigurationError
from vaeflow.layers import Layer
from vaeflow.models import VAE
from vaeflow.models.weight_names import matching, named_weights, summary

NAMES = ["encoder/blocks/1/kernel", "encoder/blocks/1/bias", "posterior/mean/kernel", "decoder/kernel"]


class Nested(Layer):
    """Holds layers in every way that Keras knows, and one of them twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.by_name = {"one": keras.layers.Dense(2)}
        self.again = self.by_name["one"]
        self.chain = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(2)])
        self._hidden = (keras.layers.Dense(2, use_bias=False),)

    def build(self, input_shape):
        for layer in (self.again, self.chain, *self._hidden):
            layer.build(input_shape)
        for _ in range(2):
            self.add_weight(shape=(), name="scale")

    def call(self, features):
        return features


class Holder(VAE):
    """A model with such a layer."""

    def build(self, input_shape):
        super().build(input_shape)
        self.nested = Nested()
        self.nested.build((None, 2))


def built(model_class=VAE):
    model = model_class(num_latents=3, **numpy_vae.blocks())
    model.build((None, 4, 3, 2))
    return model


def test_each_variable_has_a_name_that_says_where_it_is():
    named = named_weights(built(Holder))
    assert [name for name in named if name.startswith("nested/")] == [
        "nested/scale",
        "nested/scale_1",
        "nested/by_name/one/kernel",
        "nested/by_name/one/bias",
        "nested/chain/layers/0/kernel",
        "nested/chain/layers/0/bias",
        "nested/chain/layers/1/kernel",
        "nested/chain/layers/1/bias",
        "nested/hidden/0/kernel",
    ]


def test_the_names_are_in_the_order_of_the_variables_and_those_of_an_equal_model_are_equal():
    """Keras' own names number layers by what was made before."""
    one, other = built(), built()
    assert list(named_weights(one).values()) == one.variables
    assert list(named_weights(one)) == list(named_weights(other))
    assert "posterior/mean/kernel" in named_weights(one)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("encoder",), NAMES[:2]),
        (("encoder/*",), NAMES[:2]),
        (("*/kernel",), [NAMES[0], *NAMES[2:]]),
        (("encoder/blocks/?/bias", "decoder/kernel"), [NAMES[1], NAMES[3]]),
        ((), []),
    ],
)
def test_a_pattern_or_a_block_chooses(patterns, expected):
    assert matching(NAMES, patterns, "train.frozen") == set(expected)


def test_a_pattern_that_matches_nothing_is_refused_with_the_blocks_there_are():
    with pytest.raises(ConfigurationError) as refused:
        matching(NAMES, ["encoder", "encode/*"], "train.frozen")
    message = str(refused.value)
    assert message.startswith("`train.frozen` has the pattern 'encode/*', which matches no weight")
    assert message.endswith("those here are encoder/*, posterior/*, decoder/*")


def test_a_summary_counts_and_names_the_blocks():
    assert summary([]) == "none"
    assert summary(NAMES) == "4 (encoder/blocks/1, posterior/mean, decoder)"
    assert summary(NAMES, most=1) == "4 (encoder/blocks/1, and 2 more)"
