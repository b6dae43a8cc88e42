"""A run's folder: its files, its lock, and the rule that one folder holds one configuration."""

import contextlib
import difflib
import fcntl
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from importlib import metadata

from vaeflow.errors import ConfigurationError, EnvironmentFailure

_LOCK = ".lock"
_PACKAGES = ("vaeflow", "tensorflow", "keras", "numpy", "gin-config", "tensorboard")


class WorkDir:
    """The folder of a run.

    Args:
      path: the folder; made, with the lock, by `claim`.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.images = self.path / "images"

    @contextlib.contextmanager
    def claim(self):
        """Makes the folder and holds its lock, which the system drops when the process dies.

        A folder made here is removed again when an exception leaves it empty.

        Raises:
          EnvironmentFailure: the folder cannot be written, or a live run holds it.
        """
        existed = self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / _LOCK, "a")
        except OSError as error:
            raise EnvironmentFailure(
                f"the work folder {self.path} cannot be written ({error.strerror}); choose "
                "another with `--workdir`"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise EnvironmentFailure(
                    f"the work folder {self.path} is in use by a live run; wait for it, or choose another "
                    "with `--workdir`"
                ) from error
            try:
                yield
            except BaseException:
                if not existed and os.listdir(self.path) == [_LOCK]:
                    shutil.rmtree(self.path)
                raise

    def check_configuration(self, text, allow_change=False):
        """Refuses to go on with another configuration than the folder was made with.

        Args:
          text: the configuration of this command, as `config.gin` would hold it.
          allow_change: True to accept another.

        Raises:
          ConfigurationError: it differs; shows the difference.
        """
        path = self.path / "config.gin"
        if allow_change or not path.exists():
            return
        known = path.read_text()
        if known != text:
            lines = difflib.unified_diff(
                known.splitlines(), text.splitlines(), "this work folder", "this command", lineterm="", n=0
            )
            raise ConfigurationError(
                f"the work folder {self.path} was made with another configuration:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nchoose another folder with `--workdir`, or go on with `--allow_config_change`"
            )

    def write_provenance(self, configuration, operative_configuration, facts):
        """Writes `config.gin`, `operative_config.gin` and `environment.json`."""
        write_atomically(self.path / "config.gin", configuration)
        write_atomically(self.path / "operative_config.gin", operative_configuration)
        environment = {
            "command": sys.argv,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: _version(name) for name in _PACKAGES},
            "git_revision": _git_revision(),
            **facts,
        }
        self.write_json("environment.json", environment)

    def start_metrics(self, step):
        """Opens `metrics.jsonl` and drops the lines after `step`, which a resumed run writes again."""
        path = self.path / "metrics.jsonl"
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))

    def read_metrics(self):
        """Returns the lines of `metrics.jsonl`; a last line that was cut off is left out."""
        try:
            lines = (self.path / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        parsed = []
        for line in lines:
            with contextlib.suppress(ValueError):
                parsed.append(json.loads(line))
        return parsed

    def append_metrics(self, line):
        """Adds one line to `metrics.jsonl`.

        Args:
          line: a dict with `step` and the metrics.

        Raises:
          EnvironmentFailure: the disk refused.
        """
        path = self.path / "metrics.jsonl"
        with _writing(path), open(path, "a") as file:
            file.write(json.dumps(line) + "\n")

    def result(self):
        """Returns `result.json` of a finished run as a dict, or None."""
        try:
            return json.loads((self.path / "result.json").read_text())
        except FileNotFoundError:
            return None

    def write_json(self, name, content):
        """Writes a JSON file, whole or not at all."""
        write_atomically(self.path / name, json.dumps(content, indent=1) + "\n")


def write_atomically(path, text):
    """Writes a text file under another name, flushes it and renames it.

    Raises:
      EnvironmentFailure: the disk refused; the file is as it was before.
    """
    unfinished = path.with_name(f".unfinished-{path.name}")
    with _writing(path):
        try:
            with open(unfinished, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _writing(path):
    """Turns what the system refuses into an `EnvironmentFailure` that names the file."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFailure(
            f"{path} cannot be written ({error.strerror}); make room or mend the disk, then run the same "
            "command to go on"
        ) from error


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision():
    """The revision of the code that runs, with `+changes` where the tree was edited; or None."""
    source = pathlib.Path(__file__).parent
    try:
        command = ["git", "-C", str(source), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
