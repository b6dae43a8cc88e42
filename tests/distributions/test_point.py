"""A distribution on a single point."""

import numpy as np
import tensorflow as tf

from vaeflow.distributions import Point

CENTER = np.random.default_rng(0).normal(size=(4, 3))


def test_a_temperature_leaves_a_point_where_it_is():
    np.testing.assert_array_equal(Point(tf.constant(CENTER)).tempered(0.5).draw()[0], CENTER)
