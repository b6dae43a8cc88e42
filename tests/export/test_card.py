"""What the model card says of a model, without an export."""

import math
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


def test_the_metrics_of_all_latents_and_of_all_groups_of_codes_are_in_one_row():
    """Those of a training, and those of an evaluation, which have brackets."""
    metrics = {
        "evaluation/kl_per_dimension/00": 1.5,
        "evaluation/kl_per_dimension/01": 0.25,
        "kl_per_dimension_nats/00[none]": 1.25,
        "kl_per_dimension_nats/01[none]": 0.5,
        "codes/usage[none]": 0.75,
        "codes/perplexity/00[none]": 12.0,
        "codes/perplexity/01[none]": 7.5,
        "broken": math.nan,
    }
    rows = {name.replace("\\", ""): text for name, text in card._numbers(metrics).items()}
    assert rows == {
        "evaluation/kl_per_dimension (of each latent)": "1.5, 0.25",
        "kl_per_dimension_nats[none] (of each latent)": "1.25, 0.5",
        "codes/usage[none]": "0.75",
        "codes/perplexity[none] (of each group of codes)": "12, 7.5",
    }
