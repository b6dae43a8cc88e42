"""The best rate of float32 matrix products through TensorFlow: what the machine can give at most."""

from benchmarks import protocol
from vaeflow.profiling import flops


def main():
    protocol.arguments()
    session = protocol.Session()
    try:
        session.answer()
        while True:
            session.answer(flops_per_second=flops.matrix_product_rate(session.window_seconds))
    except protocol.Ended:
        pass


if __name__ == "__main__":
    main()
