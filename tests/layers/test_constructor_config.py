"""Layers are restored from their configuration, nested ones too."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import Layer
from vaeflow.runs.digest import weights_sha256
from vaeflow.schedules import LinearSchedule


@keras.saving.register_keras_serializable(package="tests")
class Holder(Layer):
    """Keeps whatever it is given."""

    def __init__(self, first, second=2, *, third=None, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second, self.third = first, second, third

    def build(self, input_shape):
        """Has no variables."""


def there_and_back(block):
    """Through JSON, as in a `.keras` file."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(block)))
    return keras.saving.deserialize_keras_object(config)


@pytest.mark.parametrize(
    "value", [3, 0.5, "text", None, True, [1, 2], (3, 4), {"a": 1, "b": [2, 3]}, [[1], [2]]], ids=str
)
def test_plain_values(value):
    again = there_and_back(Holder(value, third=value))
    assert isinstance(again, Holder)
    expected = list(value) if isinstance(value, tuple) else value
    for attribute in (again.first, again.third):
        assert (list(attribute) if isinstance(attribute, tuple) else attribute) == expected


def test_positional_arguments_and_defaults_are_recorded():
    config = Holder(1, third="x", name="here").get_config()
    assert (config["first"], config["second"], config["third"], config["name"]) == (1, 2, "x", "here")
    assert Holder(1, 5).get_config()["second"] == 5


def test_name_dtype_and_trainable_come_back():
    block = Holder(1, name="here", dtype="float64", trainable=False)
    again = there_and_back(block)
    assert (again.name, again.dtype_policy.name, again.trainable) == ("here", "float64", False)


@pytest.mark.parametrize(
    ("arrange", "find"),
    [
        (lambda block: block, lambda value: value),
        (lambda block: [1, block], lambda value: value[1]),
        (lambda block: (block, 2), lambda value: value[0]),
        (lambda block: {"part": block, "n": 1}, lambda value: value["part"]),
        (lambda block: {"parts": [{"deep": block}]}, lambda value: value["parts"][0]["deep"]),
    ],
)
def test_nested_blocks(arrange, find):
    again = there_and_back(Holder(arrange(keras.layers.Dense(7, activation="tanh"))))
    dense = find(again.first)
    assert isinstance(dense, keras.layers.Dense)
    assert (dense.units, dense.activation) == (7, keras.activations.tanh)


def test_blocks_in_blocks_and_schedules():
    again = there_and_back(Holder(Holder(Holder(3)), second=LinearSchedule(1.0, 2.0, 9)))
    assert isinstance(again.first, Holder)
    assert again.first.first.first == 3
    assert again.second.get_config() == {"start": 1.0, "end": 2.0, "num_steps": 9}


def test_a_nested_block_is_tracked_once():
    dense = keras.layers.Dense(7)
    dense.build((None, 3))
    block = Holder(dense, second=[dense])
    assert len(block.weights) == 2


def test_the_configuration_does_not_follow_later_changes_of_attributes():
    block = Holder(1)
    block.first = 99
    assert block.get_config()["first"] == 1


def test_wrong_arguments_raise_the_constructors_own_error():
    with pytest.raises(TypeError, match="first"):
        Holder()
    with pytest.raises((TypeError, ValueError), match="secnd"):
        Holder(1, secnd=3)


def test_weights_are_independent_of_the_original():
    dense = keras.layers.Dense(2)
    dense.build((None, 2))
    again = there_and_back(Holder(dense)).first
    again.kernel.assign(np.zeros((2, 2)))
    assert np.any(dense.kernel.numpy())


def test_weights_sha256_depends_on_values_shape_type_and_order():
    def sha(*arrays):
        return weights_sha256([tf.Variable(array) for array in arrays])

    one, two = np.zeros((2, 3), np.float32), np.ones(4, np.float32)
    assert sha(one, two) == sha(one.copy(), two.copy())
    others = [sha(two, one), sha(one.T, two), sha(one.astype(np.int32), two), sha(one, two * (1 + 1e-6))]
    assert len({sha(one, two), sha(one), *others}) == 6
