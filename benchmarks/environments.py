"""Makes the peers' environment, and describes the machine and the versions of the programs."""

import hashlib
import json
import os
import platform
import subprocess
import sys

from benchmarks.processes import REPOSITORY
from vaeflow.errors import EnvironmentFailure
from vaeflow.runs import machine as this_machine
from vaeflow.runs import provenance

_FOLDER = REPOSITORY / "benchmarks" / ".venv"
_REQUIREMENTS = REPOSITORY / "benchmarks" / "requirements.txt"

_PEERS = ("torch", "pythae", "jax", "jaxlib", "optax", "keras")

# Imported as well, so that no program's start is the first to read a library from the disk.
_ASK_VERSIONS = """
import importlib, importlib.metadata, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""


def make_for_peers(log):
    """Creates the environment with the peers, or completes it; returns its interpreter.

    Raises:
      EnvironmentFailure: the environment cannot be created, or a package cannot be installed.
    """
    python = _FOLDER / "bin" / "python"
    log(f"the peers' environment: {_FOLDER}")
    commands = [[str(python), "-m", "pip", "install", "--quiet", "--requirement", str(_REQUIREMENTS)]]
    if not python.exists():
        commands.insert(0, [sys.executable, "-m", "venv", str(_FOLDER)])
    for command in commands:
        done = subprocess.run(command, stdout=sys.stderr)
        if done.returncode:
            raise EnvironmentFailure(
                f"`{' '.join(command)}` ended with {done.returncode}; see its message above, or name an "
                f"environment that has {_REQUIREMENTS.name} installed with --peers_python"
            )
    return str(python)


def versions(python, peers_python):
    """Returns the versions of the programs that are compared, name -> text.

    Raises:
      EnvironmentFailure: one of the environments lacks one of them.
    """
    import vaeflow

    return {
        "vaeflow": " ".join([vaeflow.__version__, *_revision()]),
        "Python": platform.python_version(),
        **_installed(python, "tensorflow", "keras", "numpy"),
        **{
            f"{name} (peers)" if name in ("keras", "numpy") else name: version
            for name, version in _installed(peers_python, *_PEERS, "numpy").items()
        },
    }


def versions_of_vaeflow():
    """Returns the versions of vaeflow and of what it computes with, name -> text."""
    described = provenance.describe({})
    names = ("vaeflow", "tensorflow", "keras", "numpy")
    return {
        **{name: described["packages"][name] for name in names},
        "Python": described["python"],
        "revision": described["git_revision"] or "unknown",
    }


def digest_of_sources():
    """Returns a digest of all code that a comparison runs, a text: equal for equal files only."""
    digest = hashlib.sha256()
    for path in sorted(
        path for folder in ("vaeflow", "benchmarks") for path in _sources(REPOSITORY / folder)
    ):
        digest.update(f"{path.relative_to(REPOSITORY)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def machine():
    """Describes the machine, name -> text."""
    gibibytes = this_machine.memory_gib()
    return {
        "processor": this_machine.processor() or "unknown",
        "cores": str(this_machine.num_cores()),
        "memory": "unknown" if gibibytes is None else f"{gibibytes:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
    }


def _installed(python, *names):
    command = [python, "-c", _ASK_VERSIONS, *names]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Only vaeflow's environment has Keras' other backend.
    environment["KERAS_BACKEND"] = "tensorflow" if "tensorflow" in names else "jax"
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise EnvironmentFailure(
            f"{python} cannot import {', '.join(names)}: {said[-1] if said else 'no reason'}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def _sources(folder):
    for path in folder.iterdir():
        # Neither the peers' environment nor the cache.
        if path.is_dir() and not path.name.startswith("."):
            yield from _sources(path)
        elif path.suffix in (".py", ".gin"):
            yield path


def _revision():
    """The revision of the sources, where git knows it: one text or none."""
    try:
        revision = _git("describe", "--always")
        # The results may change while they are measured.
        changed = _git("status", "--porcelain", "--", "vaeflow", "benchmarks", ":!benchmarks/results.*")
    except (OSError, subprocess.CalledProcessError):
        return []
    return [f"({revision}-dirty)" if changed else f"({revision})"]


def _git(*arguments):
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True)
    return done.stdout.strip()
