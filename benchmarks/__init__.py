"""The same nets in vaeflow and in its peers, measured in turn on one machine; see `benchmarks.run`."""
