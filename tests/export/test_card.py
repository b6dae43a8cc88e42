"""What the model card says of a model, without an export."""

import types

import pytest

from tests.fixtures import small_codes
from vaeflow.export import card
from vaeflow.layers import ResidualQuantizer
from vaeflow.models import VAE


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: VAE(3), "3 numbers"),
        (small_codes.small, "2 x 2 places, each with 1 code of 5: 3 numbers to the decoder"),
        (
            lambda: small_codes.small(ResidualQuantizer(num_codes=7, depth=2)),
            "2 x 2 places, each with 2 codes of 7: 3 numbers to the decoder",
        ),
    ],
)
def test_latents_are_numbers_or_codes(make, said):
    model = make()
    model.build((None, 8, 7, 2))
    assert card._latents(types.SimpleNamespace(model=model, image_shape=(8, 7, 2))) == said
