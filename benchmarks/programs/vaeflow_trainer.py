"""vaeflow: the command `train` with the workload's gin file, as a user runs it.

The loss is the negative ELBO in nats: Bernoulli cross-entropy on logits, summed over pixels, and the
closed KL divergence, averaged over the batch. The data lies on the device as uint8; a loop of many
steps is one call, so a window ends with a loop.
"""

import contextlib
import math

from benchmarks import protocol, workloads
from vaeflow import config, errors
from vaeflow.callbacks import Callback
from vaeflow.devices import strategies
from vaeflow.profiling import flops


class Watch(Callback):
    """Counts after each loop, and sleeps between the windows."""

    def __init__(self, session):
        # The first loop is a single step, so that its end is known.
        super().__init__(every_steps=1)
        self.session = session

    def on_train_begin(self, run):
        model = run.trainer.model
        self.last_step = run.step
        self.session.facts |= {
            "parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
            "resumed_at": run.step,
            "compile_mode": run.trainer.compile_mode,
        }

    def on_log(self, run, metrics):  # noqa: ARG002 -- the hook's signature
        num_steps = run.step - self.last_step
        self.last_step = run.step
        try:
            self.session.after_step(num_steps * run.trainer.settings.batch_size, num_steps)
        except protocol.EndedError:
            run.stop("the benchmark")
            return
        if self.every_steps:
            self.every_steps = None
            # In the first window, which warms up; before it the start is timed.
            self.session.facts["flops_per_step"] = flops.training_step_flops(run.trainer)


def main():
    """Trains when the runner asks for it; see `benchmarks.protocol`."""
    arguments = protocol.arguments()
    session = protocol.Session()
    config.load("train", [str(workloads.gin_file(arguments.workload))], ["train.stall_seconds = None"])
    if arguments.num_replicas > 1:
        strategies.split_devices(arguments.num_replicas)
    with contextlib.suppress(errors.Preempted):  # The state is saved.
        config.call("train", workdir=arguments.folder, extra_callbacks=[Watch(session)])


if __name__ == "__main__":
    main()
