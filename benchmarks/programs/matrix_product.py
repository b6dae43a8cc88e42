"""Measures the best rate of float32 matrix products through TensorFlow: the most the machine can give."""

import contextlib

from benchmarks import protocol
from vaeflow.profiling import flops


def main():
    """Measures when the runner asks for it; see `benchmarks.protocol`."""
    protocol.arguments()
    session = protocol.Session()
    with contextlib.suppress(protocol.EndedError):
        session.answer()
        while True:
            session.answer(flops_per_second=flops.matrix_product_rate(session.window_seconds))


if __name__ == "__main__":
    main()
