"""The README's example runs as it stands."""

import pathlib
import re

import keras
import numpy as np

from vaeflow import registry

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_in_python(monkeypatch, tmp_path):
    digits = np.random.default_rng(0).integers(0, 256, (256, 28, 28)).astype(np.uint8)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((digits, None), (digits, None)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    (example,) = (text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "vae.fit" in text)
    names = {"__name__": "readme"}
    exec(example, names)
    assert names["pictures"].shape == (16, 28, 28, 1)
    history = names["vae"].history.history
    assert history["loss"][-1] < history["loss"][0]
    # The loss is the terms' sum, and what the block tracked beside.
    tracked = history["loss"][-1] - history["reconstruction_loss"][-1] - history["kl"][-1]
    assert 0 < tracked < 1
    images = digits[:4, ..., None] / 255.0
    np.testing.assert_allclose(keras.models.load_model("vae.keras")(images), names["vae"](images))


def test_every_command_names_files_that_exist():
    for name in re.findall(r"--gin_file=([\w/]+\.gin)", README):
        if name != "my.gin":
            assert (pathlib.Path(__file__).parents[1] / name).is_file(), name


def test_every_picture_exists():
    for name in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (pathlib.Path(__file__).parents[1] / name).is_file(), name
