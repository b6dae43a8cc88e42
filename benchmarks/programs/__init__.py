"""One program for each way to train; each builds the net of a workload and obeys `benchmarks.protocol`."""
