"""What an evaluation asks of a metric."""


class Metric:
    """Measures something of each example; the evaluation reports the mean over a split.

    Each example counts once, on any number of replicas.
    """

    def per_example(self, model, forward):
        """Measures a replica's examples, in graph mode.

        Noise is drawn through `vaeflow.random` only, which the evaluation keys.

        Args:
          model: the built model.
          forward: the `Forward` of these examples, as the evaluation made it.

        Returns:
          A dict, name -> `[b]`, floats. No other metric may use the name.
        """
        raise NotImplementedError
