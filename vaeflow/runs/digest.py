"""The digest of a model's weights, by which runs are compared bit for bit."""

import hashlib
import json


def weights_sha256(weights):
    """Returns the SHA-256 of weights: shape, dtype and bytes of each, in order."""
    digest = hashlib.sha256()
    for weight in weights:
        value = weight.numpy()
        digest.update(json.dumps([list(value.shape), value.dtype.name]).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
