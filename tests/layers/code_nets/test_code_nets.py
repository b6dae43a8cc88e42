"""The nets over codes: what each output depends on, and a transformer written out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import erf

from tests.fixtures import small_code_priors
from tests.fixtures.small_code_priors import NETS, random_codes
from vaeflow.errors import ConfigurationError
from vaeflow.layers import CausalTransformer, PixelCNN

SHAPE, SIZES = (2, 3, 2), (4, 3)
LABEL_SIZES = (2, 3)


def sequence_of(logits):
    """Logits of each code in their order, padded to one width: `[r, N, K]`."""
    padded = [np.pad(each, [(0, 0)] * 3 + [(0, SIZES[0] - each.shape[-1])]) for each in logits]
    return np.stack(padded, axis=3).reshape(len(padded[0]), -1, SIZES[0])


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_an_output_depends_on_each_code_before_it_and_on_no_other(net):
    """By changing one code at a time, which is exact: what it does not reach has the same bits."""
    made = small_code_priors.made(net, SHAPE, SIZES).net
    codes = random_codes(1, SHAPE, SIZES)

    def output(changed=None):
        flat = codes.flatten()
        if changed is not None:
            flat[changed] = (flat[changed] + 1) % SIZES[changed % 2]
        return sequence_of(made(flat.reshape(codes.shape)))[0]

    base, changed = output(), [output(position) for position in range(12)]
    reached = np.array([np.abs(each - base).max(axis=-1) for each in changed])
    after = np.triu(np.ones((12, 12), bool), 1)
    np.testing.assert_array_equal(reached[~after], 0.0)
    assert reached[after].min() > 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_the_first_output_depends_on_each_label(net):
    made = small_code_priors.made(net, SHAPE, SIZES, num_classes=LABEL_SIZES).net
    codes = random_codes(1, SHAPE, SIZES).repeat(4, axis=0)
    base, *others = sequence_of(made(codes, np.array([[0, 0], [1, 0], [0, 1], [0, 2]])))
    for other in others:
        assert np.abs(other[0] - base[0]).max() > 1e-3


def normalized(layer, value):
    gamma, beta = (variable.numpy() for variable in layer.variables)
    centred = value - value.mean(-1, keepdims=True)
    return gamma * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + beta


# TensorFlow's GELU rounds it, also in float64.
ROOT = 1 / np.float64(np.float32(np.sqrt(0.5)))


def dense(layer, value):
    kernel, *bias = (variable.numpy() for variable in layer.variables)
    kernel = kernel.reshape(kernel.shape[-2:])  # That of a 1x1 convolution too.
    return value @ kernel + (bias[0] if bias else 0)


def twin(net, codes, labels):
    """Arxiv:1706.03762, Eq. 1 and section 3.2.2, position by position, with the layers' weights."""
    tables = [table.numpy() for table in net.codes.tables]
    flat = codes.ravel()
    inputs = [net.start.numpy()[0] + sum(t.numpy()[y] for t, y in zip(net.labels.tables, labels))]
    inputs += [tables[n % 2][code] for n, code in enumerate(flat[:-1])]
    features = np.stack(inputs) + net.positions.numpy()
    for block in net.blocks:
        joint = dense(block.queries_keys_values, normalized(block.before_attention, features))
        seen = np.zeros_like(features)
        for head in range(2):
            own = slice(4 * head, 4 * head + 4)
            q, k, v = (part[:, own] for part in np.split(joint, 3, axis=1))
            for n in range(len(features)):
                weights = np.exp(k[: n + 1] @ q[n] / np.sqrt(4))
                seen[n, own] = weights @ v[: n + 1] / weights.sum()
        features = features + dense(block.output_layer, seen)
        normalization, first, second = block.mlp
        hidden = dense(first, normalized(normalization, features))
        features = features + dense(second, hidden * 0.5 * (1 + erf(hidden / ROOT)))
    features = normalized(net.normalization, features)
    return [dense(net.heads[n % 2], features[n]) for n in range(len(flat))]


@pytest.mark.slow
def test_the_transformer_is_that_of_its_twin():
    net = small_code_priors.made("transformer", SHAPE, SIZES, num_classes=LABEL_SIZES).net
    codes, labels = random_codes(2, SHAPE, SIZES), np.array([[1, 2], [0, 1]])
    found = sequence_of(net(codes, labels))
    for row in range(2):
        for position, expected in enumerate(twin(net, codes[row], labels[row])):
            np.testing.assert_allclose(found[row, position, : len(expected)], expected, rtol=1e-9, atol=1e-11)


def gated(features, labels, tables):
    """tanh(W_f x + V_f h) σ(W_g x + V_g h), Eq. 4 of arXiv:1606.05328 with one-hot h."""
    features = features + sum(table.numpy()[label] for table, label in zip(tables, labels))
    first, second = np.split(features, 2, axis=-1)
    return np.tanh(first) / (1 + np.exp(-second))


def pixel_cnn_twin(net, codes, labels):
    """The gated PixelCNN of Fig. 2, place by place, by sums over the places that a kernel may see."""
    height, width, _ = codes.shape
    inputs = sum(net.codes.tables[g].numpy()[codes[..., g]] for g in range(2))
    vertical, horizontal = inputs, inputs  # The first layer does not see the place itself (mask A).
    for number, layer in enumerate(net.layers):
        above_kernel, above_bias = (variable.numpy() for variable in layer.vertical.variables)
        left_kernel, left_bias = (variable.numpy() for variable in layer.horizontal.variables)
        reach, hidden = layer.reach, int(number == 0)
        above = np.zeros((height, width, above_bias.size)) + above_bias
        left = np.zeros_like(above) + left_bias
        for i, j, di, dj in np.ndindex(height, width, reach + 1, 2 * reach + 1):
            row, column = i - reach + di - hidden, j - reach + dj
            if row >= 0 and 0 <= column < width:
                above[i, j] += vertical[row, column] @ above_kernel[di, dj]
        for i, j, dj in np.ndindex(height, width, reach + 1):
            if (column := j - reach + dj - hidden) >= 0:
                left[i, j] += horizontal[i, column] @ left_kernel[0, dj]
        here = gated(left + dense(layer.across, above), labels, layer.labels[0].tables)
        shortcut = np.pad(horizontal, [(0, 0), (1, 0), (0, 0)])[:, :-1] if hidden else horizontal
        horizontal = shortcut + dense(layer.output_layer, here)
        vertical = None if layer.last else gated(above, labels, layer.labels[1].tables)
    second = horizontal + net.earlier_groups.tables[0].numpy()[codes[..., 0]]
    return [
        dense(head, np.maximum(dense(net.hidden, np.maximum(features, 0)), 0))
        for head, features in zip(net.heads, (horizontal, second))
    ]


@pytest.mark.slow
def test_the_pixel_cnn_is_that_of_its_twin():
    shape = (3, 4, 2)
    net = small_code_priors.made("pixel_cnn", shape, SIZES, num_classes=LABEL_SIZES).net
    codes, labels = random_codes(2, shape, SIZES), np.array([[1, 2], [0, 1]])
    found = net(codes, labels)
    for row in range(2):
        for logits, expected in zip(found, pixel_cnn_twin(net, codes[row], labels[row])):
            np.testing.assert_allclose(logits[row], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_code_after_code_the_logits_are_those_of_the_whole_map(net, labelled):
    """For the transformer, from the keys and values that it kept."""
    made = small_code_priors.made(net, SHAPE, SIZES, num_classes=LABEL_SIZES if labelled else None).net
    codes, labels = random_codes(3, SHAPE, SIZES), np.array([[1, 2], [0, 1], [0, 0]]) if labelled else None
    whole = [logits.numpy().reshape(3, 6, -1) for logits in made(codes, labels)]
    state = made.begin(3, labels)
    for place in range(6):
        for group in range(2):
            logits, state = made.next_logits(state, tf.constant(place), group)
            np.testing.assert_allclose(logits, whole[group][:, place], rtol=1e-9, atol=1e-11)
            state = made.observe(state, tf.constant(place), group, codes.reshape(3, 6, 2)[:, place, group])


@pytest.mark.slow
def test_a_pixel_cnn_sees_as_far_as_it_says():
    net = small_code_priors.made(lambda: PixelCNN(2, 4, 3), (1, 8, 1), (3,)).net
    codes = random_codes(1, (1, 8, 1), (3,)).repeat(2, axis=0)
    codes[1, 0, 0, 0] = (codes[0, 0, 0, 0] + 1) % 3
    one, other = net(codes)[0].numpy()[:, 0]
    reached = np.abs(one - other).max(axis=-1) > 0
    assert reached.tolist() == [False, True, True, True, False, False, False, False]


def test_an_embedding_has_the_gradient_of_a_sum_over_its_uses():
    net = small_code_priors.made("transformer", (1, 3, 1), (3,)).net
    weights = tf.constant([1.0, 2.0, 4.0], tf.float64)[:, None, None]
    with tf.GradientTape() as tape:
        found = tf.reduce_sum(net.codes(tf.constant([[0], [2], [0]])) * weights)
    gradient = tape.gradient(found, net.codes.tables[0].value)
    np.testing.assert_allclose(gradient, np.outer([5, 0, 2], np.ones(8)))


@pytest.mark.slow
def test_dropout_is_drawn_for_each_example_in_training_alone():
    net = small_code_priors.made(lambda: CausalTransformer(1, 1, 8, dropout=0.5), SHAPE, SIZES).net
    codes = random_codes(1, SHAPE, SIZES).repeat(2, axis=0)
    one, other = net(codes)[0].numpy()
    np.testing.assert_array_equal(one, other)
    one, other = net(codes, training=True)[0].numpy()
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CausalTransformer(size=10, num_heads=4), "size` must be divisible by .*num_heads` .4., got"),
        (lambda: CausalTransformer(num_layers=0), "`CausalTransformer.num_layers` must be a positive integ"),
        (lambda: CausalTransformer(dropout=1.0), r"`CausalTransformer.dropout` must be a number in \[0, 1\)"),
        (lambda: PixelCNN(kernel_size=4), "`PixelCNN.kernel_size` must be an odd number from 3 on, got 4"),
        (lambda: PixelCNN(kernel_size=1), "`PixelCNN.kernel_size` must be an odd number from 3 on, got 1"),
        (lambda: PixelCNN(filters="8"), "`PixelCNN.filters` must be a positive integer, got '8'"),
    ],
)  # fmt: skip
def test_a_faulty_setting_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_net_alone_needs_to_know_how_many_codes_there_are():
    with pytest.raises(
        ConfigurationError, match=r"`PixelCNN.code_sizes` must say how many codes each group has"
    ):
        PixelCNN(1, 4, 3).build((None, 2, 2, 1))


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_every_layer_has_the_precision_of_the_net(net):
    made = small_code_priors.made(net, SHAPE, SIZES, "mixed_bfloat16", num_classes=3).net
    assert {layer.compute_dtype for layer in made._flatten_layers()} == {"bfloat16"}
    assert {variable.dtype for variable in made.variables} == {"float32"}
    assert {logits.dtype for logits in made(random_codes(2, SHAPE, SIZES), np.array([[0], [2]]))} == {
        tf.bfloat16
    }
    assert keras.config.dtype_policy().name == "float32"
