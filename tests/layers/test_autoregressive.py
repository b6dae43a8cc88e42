"""Masked nets: who depends on whom, from Jacobians, and the outputs against a NumPy twin."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows
from vaeflow.layers.autoregressive import MADE, MaskedDense

# Divisible or not, narrower than the variables are many, one layer or more.
WIDTHS = [(6,), (7, 5), (12, 2, 9)]


def made(num_variables, hidden_units, last_first=False):
    """A net, and values and a context for 4 rows."""
    net = MADE(num_variables, hidden_units, last_first=last_first, dtype="float64")
    net.build((None, num_variables))
    numpy_flows.perturb(net)
    generator = np.random.default_rng(0)
    value = tf.constant(generator.normal(size=(4, num_variables)))
    return net, value, tf.constant(generator.normal(size=(4, sum(hidden_units))))


def jacobians(net, value, context):
    """∂output_i / ∂input_j of each row, for each output `[r, D, inputs]`: by the value and by the context."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([value, context])
        outputs = net(value, context)
    return [
        [tape.batch_jacobian(each, inputs, experimental_use_pfor=False).numpy() for each in outputs]
        for inputs in (value, context)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("last_first", "not_before"), [(False, np.triu), (True, np.tril)])
@pytest.mark.parametrize("hidden_units", WIDTHS)
def test_an_output_depends_on_the_variables_before_its_own_in_the_order(hidden_units, last_first, not_before):
    by_value, _ = jacobians(*made(5, hidden_units, last_first))
    for jacobian in by_value:
        np.testing.assert_array_equal(not_before(jacobian), np.zeros_like(jacobian))


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units", [(5,), (7, 11)])
def test_with_a_unit_for_each_variable_it_depends_on_all_of_them(hidden_units):
    by_value, _ = jacobians(*made(5, hidden_units))
    for jacobian in by_value:
        assert np.all(jacobian[(slice(None), *np.tril_indices(5, -1))] != 0)


@pytest.mark.parametrize("num_variables", [1, 3])
def test_every_output_depends_on_the_context(num_variables):
    _, by_context = jacobians(*made(num_variables, (6,)))
    for jacobian in by_context:
        assert np.all(np.any(jacobian != 0, axis=2))


@pytest.mark.parametrize("hidden_units", [(7,), (7, 5)])
@pytest.mark.parametrize("num_variables", [1, 2, 5])
def test_every_variable_is_trained(num_variables, hidden_units):
    net, value, context = made(num_variables, hidden_units)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(net(value, context)))
    for gradient in tape.gradient(loss, [variable.value for variable in net.trainable_variables]):
        assert np.any(gradient != 0)


@pytest.mark.parametrize("last_first", [False, True])
@pytest.mark.parametrize(("num_variables", "hidden_units"), [(1, (6,)), (2, (7, 5)), (5, (12, 2, 9))])
def test_it_computes_what_its_twin_computes(num_variables, hidden_units, last_first):
    net, value, context = made(num_variables, hidden_units, last_first)
    expected = numpy_flows.made(
        net, numpy_flows.ACTIVATIONS["elu"], value.numpy(), context.numpy(), last_first=last_first
    )
    for ours, exact in zip(net(value, context), expected, strict=True):
        np.testing.assert_allclose(ours, exact, atol=1e-13)


def test_a_unit_sees_the_inputs_up_to_its_degree():
    layer = MaskedDense([1, 2, 3], [0, 1, 2, 3], dtype="float64")
    layer.build((None, 3))
    layer.kernel.assign(np.ones((3, 4)))
    np.testing.assert_array_equal(layer(np.array([[1.0, 10.0, 100.0]])), [[0, 1, 11, 111]])


def test_a_layer_that_sees_nothing_has_a_bias_alone():
    layer = MaskedDense([1, 2], [0, 0, 0], dtype="float64")
    layer.build((None, 2))
    layer.bias.assign([1.0, 2.0, 3.0])
    assert [tuple(variable.shape) for variable in layer.variables] == [(3,)]
    np.testing.assert_array_equal(layer(np.ones((2, 2))), [[1, 2, 3], [1, 2, 3]])
