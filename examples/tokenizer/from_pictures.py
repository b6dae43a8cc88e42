"""From a folder of pictures to a tokenizer, its codes, a prior over them, and new pictures.

    python examples/tokenizer/from_pictures.py

The cells (`# %%`) run one by one in an editor that knows them, or all in a row. A training resumes where it
was stopped: run the program again.
"""

# %% What you may want to change
import pathlib

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import vaeflow
from vaeflow import datasets, layers, models
from vaeflow.datasets import InMemoryCodes

PICTURES = pathlib.Path("pictures")  # Any number of PNG, JPEG, … files, in folders or not.
IMAGE_SIZE = 32  # The side of the squares that pictures are scaled to.
NUM_CODES = 256
TOKENIZER_STEPS = 2000
PRIOR_STEPS = 1500
RUNS = pathlib.Path("runs/from_pictures")

# %% Pictures: your own, or patches of two photographs that come with scikit-learn
if not PICTURES.exists():
    PICTURES.mkdir(parents=True)
    photographs = datasets.Photographs(image_size=IMAGE_SIZE).load("train")
    for number, patch in enumerate(photographs.examples(tf.range(400, dtype=tf.int64)).numpy()):
        Image.fromarray(patch).save(PICTURES / f"patch-{number:03}.png")

# %% The tokenizer: 8x8 codes for each picture of 32x32
pictures = datasets.ImageFolder(str(PICTURES), image_size=(IMAGE_SIZE, IMAGE_SIZE))
keras.utils.set_random_seed(0)  # For the initial weights.
tokenizer = models.VQVAE(
    num_latents=64,
    encoder=layers.ResidualMapEncoder(filters=(32, 64), residual_filters=32),
    decoder=layers.ResidualMapDecoder(filters=(64, 32), residual_filters=32),
    posterior=layers.VectorQuantizer(64, num_codes=NUM_CODES, commitment_weight=25.0, restart_below=0.1),
    likelihood=layers.GaussianLikelihood(sigma=0.1),
)
result = vaeflow.train(tokenizer, pictures, str(RUNS / "tokenizer"), num_steps=TOKENIZER_STEPS, batch_size=32)
print(f"negative ELBO of held-out pictures: {result['evaluation/negative_elbo']:.1f} nats")


# %% The codes of all pictures
def codes_of(split: datasets.Split) -> np.ndarray:
    """Returns the codes of a split, `[N, 8, 8, 1]`."""
    parts = np.array_split(np.arange(split.num_examples), max(1, split.num_examples // 64))
    images = (split.to_floats(split.examples(tf.constant(part, tf.int64)), "float32") for part in parts)
    return np.concatenate([tokenizer.encode_codes(each).numpy() for each in images])


class OwnCodes(datasets.Dataset):
    """The codes of both splits, in memory."""

    def load(self, name: str) -> InMemoryCodes:
        """Returns one of them."""
        return InMemoryCodes(codes_of(pictures.load(name)), [NUM_CODES])


# %% A prior over them
prior = models.CodePrior(NUM_CODES, net=layers.CausalTransformer(num_layers=4, num_heads=4, size=128))
result = vaeflow.train(prior, OwnCodes(), str(RUNS / "prior"), num_steps=PRIOR_STEPS, batch_size=32)
print(f"bits for each code of held-out pictures: {result['evaluation/bits_per_code']:.2f}")

# %% New pictures
drawn = tokenizer.decode_codes(prior.sample(8)).mean
sheet = np.concatenate(list((255 * np.clip(drawn, 0, 1)).round().astype(np.uint8)), axis=1)
Image.fromarray(sheet).save(RUNS / "drawn.png")
print(f"drawn: {RUNS / 'drawn.png'}")
