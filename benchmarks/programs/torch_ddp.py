"""PyTorch DDP on the CPU: one process a core, each with one thread and its part of every batch, over gloo.

Nets and losses are those of `torch_loop`, in channels_last where there are convolutions. All processes
draw the same permutation of an epoch, and each takes its part of a batch. The discriminator of a FactorVAE
sees latents that each process permutes in its own part. The first process answers the runner; the others
follow it from sum to sum of the gradients.
"""

import contextlib
import datetime
import os
import pathlib
import sys

import numpy as np
import torch
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from benchmarks import protocol, sprites
from benchmarks.programs import torch_loop, torch_nets
from benchmarks.workloads import WORKLOADS

# Between two windows the others wait for the first process, as long as the runner likes.
_PATIENCE = datetime.timedelta(days=1)


class Loss(torch.nn.Module):
    """Shows DDP a net and the loss that moves it."""

    def __init__(self, net, loss):
        super().__init__()
        self.net = net
        self._loss = loss

    def forward(self, *inputs):
        return self._loss(*inputs)


def num_processes(batch_size):
    """Returns the number of cores, or the next smaller one that divides the batch."""
    num_cores = len(os.sched_getaffinity(0))
    return max(count for count in range(1, num_cores + 1) if batch_size % count == 0)


def train(rank, count, workload, meeting, after_step):
    """Trains in one process of several, without end.

    Args:
      rank: the number of this process.
      count: how many there are.
      workload: a `Workload`.
      meeting: the path of a file through which they find one another.
      after_step: called after each step.
    """
    torch.set_num_threads(1)
    # All are on this machine.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=count, timeout=_PATIENCE
    )
    memory_format = torch.contiguous_format if workload.kind == "dense" else torch.channels_last
    torch.manual_seed(0)
    trainer = torch_loop.Trainer(workload, memory_format, _distribute)
    pixels = torch.from_numpy(np.load(sprites.array_path(workload.array)).transpose(0, 3, 1, 2))
    pixels = pixels.contiguous(memory_format=memory_format)
    torch.manual_seed(1 + rank)  # The noise of each is its own, the order of the images is not.
    order = torch.Generator().manual_seed(0)
    while True:
        for indices in torch.randperm(len(pixels), generator=order).split(workload.batch_size):
            trainer.step(pixels[indices.chunk(count)[rank]])
            after_step(trainer)


def main():
    """Trains when the runner asks for it; see `benchmarks.protocol`."""
    arguments = protocol.arguments()
    workload = WORKLOADS[arguments.workload]
    session = protocol.Session()
    meeting = pathlib.Path(arguments.folder, "meeting").resolve()
    meeting.unlink(missing_ok=True)
    count = num_processes(workload.batch_size)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=train, args=(rank, count, workload, meeting, _go_on), daemon=True)
        for rank in range(1, count)
    ]
    for each in others:
        each.start()
    session.helpers = [each.pid for each in others]

    def after_step(trainer):
        session.facts["parameters"] = torch_nets.num_parameters(*trainer.nets)
        session.after_step(workload.batch_size)

    with contextlib.suppress(protocol.EndedError):
        train(0, count, workload, meeting, after_step)
    for each in others:
        each.kill()
    sys.stderr.flush()
    # No farewell: gloo would wait for the others.
    os._exit(0)


def _distribute(net, loss):
    return DistributedDataParallel(Loss(net, loss), gradient_as_bucket_view=True, static_graph=True)


def _go_on(_):
    pass


if __name__ == "__main__":
    main()
