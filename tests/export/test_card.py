"""What the model card says of a model, without an export."""

import types

import pytest

from tests.fixtures import small_codes
from vaeflow.export import card
from vaeflow.models import VAE


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: VAE(3), "3 numbers"),
        (small_codes.small, "2 x 2 codes, each 3 numbers to the decoder"),
    ],
)
def test_latents_are_numbers_or_codes(make, said):
    model = make()
    model.build((None, 8, 7, 2))
    assert card._latents(types.SimpleNamespace(model=model, image_shape=(8, 7, 2))) == said
