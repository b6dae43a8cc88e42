"""The digest of a model's weights, used to compare runs bit for bit."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def weights_sha256(weights: Iterable[Any]) -> str:
    """Returns the SHA-256 of variables: shape, dtype and bytes of each, in order."""
    return arrays_sha256(weight.numpy() for weight in weights)


def arrays_sha256(values: Iterable[Any]) -> str:
    """Returns what `weights_sha256` returns for variables of these values, arrays of NumPy."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps([list(value.shape), value.dtype.name]).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
