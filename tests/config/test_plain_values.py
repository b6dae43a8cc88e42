"""The settings in force as plain values."""

from vaeflow.config import plain_values

OPERATIVE = """
# Parameters for VAE:
VAE.kl_weight = @warmup/Linear()
VAE.num_latents = 10
Linear.values = (0, 1.5)
DenseEncoder.units = [8, 4]
Arrays.labels = {'shape': (1, 2)}
train.callbacks = \\
    [@Progress(),
     @MLflow()]
train.ema_decay = None
"""


def test_parameters_are_those_in_force_as_plain_values():
    assert plain_values.of_text(OPERATIVE) == {
        "VAE.kl_weight": "@warmup/Linear()",
        "VAE.num_latents": 10,
        "Linear.values": [0, 1.5],
        "DenseEncoder.units": [8, 4],
        "Arrays.labels": "{'shape': (1, 2)}",
        "train.callbacks": "[@Progress(), @MLflow()]",
        "train.ema_decay": None,
    }


def test_nested_objects_are_flattened():
    content = {"model": {"config": {"num_latents": 2, "units": [8]}}, "settings": [{"seed": 0}, {"x": None}]}
    assert dict(plain_values.flattened(content)) == {
        "model.config.num_latents": 2,
        "model.config.units": [8],
        "settings.0.seed": 0,
        "settings.1.x": None,
    }
