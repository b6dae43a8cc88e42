"""The digest of a model's weights, used to compare runs bit for bit."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def weights_sha256(weights: Iterable[Any]) -> str:
    """Returns the SHA-256 of variables: shape, dtype and bytes of each, in order."""
    digest = hashlib.sha256()
    for weight in weights:
        value = weight.numpy()
        digest.update(json.dumps([list(value.shape), value.dtype.name]).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
