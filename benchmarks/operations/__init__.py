"""Where the processor time of a training step goes: `python -m benchmarks.operations`."""
