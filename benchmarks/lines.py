"""Which programs are compared on a workload, and how each is started."""

import dataclasses

from vaeflow.devices import allocator

VAEFLOW = "vaeflow"
TWO_REPLICAS = "vaeflow, 2 replicas"
MATRIX_PRODUCT = "matrix product"
PYTHAE = "pythae"
KERAS = "Keras fit"
KERAS_JAX = "Keras fit, on JAX"
TORCH_EAGER = "PyTorch, eager"
TORCH_CHANNELS_LAST = "PyTorch, channels_last"
TORCH_COMPILE = "PyTorch, compiled"
TORCH_DDP = "PyTorch, DDP"
JAX_STEP = "JAX, step"
JAX_SCAN = "JAX, scan"

# Library -> the names of its lines.
PEERS = {
    "pythae": (PYTHAE,),
    "Keras": (KERAS, KERAS_JAX),
    "PyTorch": (TORCH_EAGER, TORCH_CHANNELS_LAST, TORCH_COMPILE, TORCH_DDP),
    "JAX": (JAX_STEP, JAX_SCAN),
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One program, started in one way.

    Attributes:
      name: what it is called in the table.
      module: below `benchmarks.programs`.
      variant: which of the program's ways to train.
      variables: what is added to its environment, pairs of a name and a value.
      num_replicas: of vaeflow.
      device: `"cpu"` or `"gpu"`.
      precision: `"float32"` or `"bfloat16"`.
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
    variables: tuple = ()
    num_replicas: int = 1
    device: str = "cpu"
    precision: str = "float32"
    of_peers: bool = False
    resumes: bool = False
    needs_compiler: bool = False
    tuned_allocator: bool = False
    tunes_itself: bool = False

    def command(self, python, workload, folder):
        """Returns the command that starts it, a list."""
        module = f"benchmarks.programs.{self.module}"
        options = {"workload": workload, "folder": folder, "num_replicas": self.num_replicas}
        options |= {"device": self.device, "precision": self.precision}
        if self.variant:
            options["variant"] = self.variant
        return [python, "-m", module, *(f"--{name}={value}" for name, value in options.items())]

    def environment(self, inherited):
        """Returns the environment to start it in, a dict, from that of the runner."""
        environment = {name: value for name, value in inherited.items() if not _tunes_glibc(name)}
        # TensorFlow's greetings are no failure's reason.
        environment |= {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(self.variables)
        if self.device == "cpu":  # Whatever else is there.
            environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
        tuned = self.tuned_allocator or self.tunes_itself
        return allocator.tuned(environment) if tuned else environment


def _tunes_glibc(name):
    return name == "GLIBC_TUNABLES" or name.startswith("MALLOC_")


def lines_of(workload, everything):
    """Lists the lines of a `Workload` in the order of its table; vaeflow's comes first.

    Args:
      workload: see above.
      everything: False for those that decide a target: vaeflow's, and the peers with a tuned allocator.
    """
    peers = [
        Line(PYTHAE, "pythae_trainer", of_peers=True),
        Line(KERAS, "keras_fit", resumes=True),
        Line(KERAS_JAX, "keras_jax_fit", variables=(("KERAS_BACKEND", "jax"),), of_peers=True),
        Line(TORCH_EAGER, "torch_loop", "eager", of_peers=True, resumes=True),
    ]
    if workload.kind != "dense":
        peers.append(Line(TORCH_CHANNELS_LAST, "torch_loop", "channels_last", of_peers=True))
    peers += [
        Line(TORCH_COMPILE, "torch_loop", "compile", of_peers=True, needs_compiler=True),
        Line(TORCH_DDP, "torch_ddp", of_peers=True),
        Line(JAX_STEP, "jax_loop", "step", of_peers=True),
        Line(JAX_SCAN, "jax_loop", "scan", of_peers=True),
    ]
    lines = [Line(VAEFLOW, "vaeflow_trainer", resumes=True, tunes_itself=True)]
    if workload.on_replicas:
        lines.append(Line(TWO_REPLICAS, "vaeflow_trainer", num_replicas=2, tunes_itself=True))
    if everything:
        lines.append(Line(MATRIX_PRODUCT, "matrix_product", tunes_itself=True))
    for peer in peers:
        lines += [peer] if everything else []
        lines.append(dataclasses.replace(peer, tuned_allocator=True, resumes=False))
    return lines
