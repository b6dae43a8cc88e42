"""Which programs are compared on a workload, and how each is started."""

import dataclasses

from vaeflow.devices import allocator

VAEFLOW = "vaeflow"
TWO_REPLICAS = "vaeflow, 2 replicas"
KERAS = "Keras fit"
PYTHAE = "pythae"
TORCH_EAGER = "PyTorch, eager"
TORCH_CHANNELS_LAST = "PyTorch, channels_last"
TORCH_COMPILE = "PyTorch, compiled"
TORCH = (TORCH_EAGER, TORCH_CHANNELS_LAST, TORCH_COMPILE)
MATRIX_PRODUCT = "matrix product"


@dataclasses.dataclass(frozen=True)
class Line:
    """One program, started in one way.

    Attributes:
      name: what it is called in the table.
      module: below `benchmarks.programs`.
      variant: which of the program's ways to train.
      num_replicas: of vaeflow.
      of_peers: whether it runs in the peers' environment.
      resumes: whether a resume is measured.
      needs_compiler: whether it needs a C++ compiler.
      tuned_allocator: whether the allocator is tuned for it from outside.
      tunes_itself: whether it would tune it. vaeflow's commands do, before they import
        anything big; here they begin with it.
    """

    name: str
    module: str
    variant: str = ""
    num_replicas: int = 1
    of_peers: bool = False
    resumes: bool = False
    needs_compiler: bool = False
    tuned_allocator: bool = False
    tunes_itself: bool = False

    def command(self, python, workload, folder):
        """Returns the command that starts it, a list."""
        module = f"benchmarks.programs.{self.module}"
        options = {"workload": workload, "folder": folder, "num_replicas": self.num_replicas}
        if self.variant:
            options["variant"] = self.variant
        return [python, "-m", module, *(f"--{name}={value}" for name, value in options.items())]

    def environment(self, inherited):
        """Returns the environment to start it in, a dict, from that of the runner."""
        environment = {name: value for name, value in inherited.items() if not _tunes_glibc(name)}
        # A comparison on the CPU, whatever else is there; TensorFlow's greetings are no failure's reason.
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        tuned = self.tuned_allocator or self.tunes_itself
        return allocator.tuned(environment) if tuned else environment


def _tunes_glibc(name):
    return name == "GLIBC_TUNABLES" or name.startswith("MALLOC_")


def lines_of(workload):
    """Lists the lines of a `Workload` in the order of its table."""
    peers = [
        Line(KERAS, "keras_fit", resumes=True),
        Line(PYTHAE, "pythae_trainer", of_peers=True),
        Line(TORCH_EAGER, "torch_loop", "eager", of_peers=True, resumes=True),
    ]
    if workload.kind != "dense":
        peers.append(Line(TORCH_CHANNELS_LAST, "torch_loop", "channels_last", of_peers=True))
    peers.append(Line(TORCH_COMPILE, "torch_loop", "compile", of_peers=True, needs_compiler=True))
    lines = [Line(VAEFLOW, "vaeflow_trainer", resumes=True, tunes_itself=True)]
    if workload.on_replicas:
        lines.append(Line(TWO_REPLICAS, "vaeflow_trainer", num_replicas=2, tunes_itself=True))
    for peer in peers:
        lines += [peer, dataclasses.replace(peer, tuned_allocator=True, resumes=False)]
    return lines


MATRIX_PRODUCT_LINE = Line(MATRIX_PRODUCT, "matrix_product", tunes_itself=True)
