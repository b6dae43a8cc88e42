"""A block whose weights come from a file, and stay as they are."""

import hashlib
import os
import pathlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.layers.base import Layer, Shape
from vaeflow.layers.saved_model_net import SavedModelNet
from vaeflow.runs import finite, reading
from vaeflow.runs.frozen_files import FrozenFile

_SUFFIX = ".keras"
# How Keras says that it knows no such class, or that its safe mode does not allow it.
_UNTRUSTED = re.compile(
    r"Could not locate \w+ '[^']{1,80}'|Could not deserialize '[^']{1,80}'|Cannot deserialize `[^`]{1,80}`"
    r"|[^.]{1,150}(?=\. This carries a potential risk of arbitrary code execution)"
)


@registry.layer
class FrozenNet(Layer):
    """A net out of a `.keras` file or a SavedModel, which training leaves as it is.

    It serves wherever a layer does, e.g. as an encoder that was trained before, or inside a block of
    yours that compares features. Gradients pass through it. It computes as in evaluation,
    and in the precision of the model.

    Checkpoints, moving averages and the digest of the weights leave it out. Each checkpoint names
    the SHA-256 of the file instead, and a run is not resumed, nor a model restored, with another
    file. Keras reads a `.keras` file in its safe mode: it makes Keras' own classes, vaeflow's and those of
    plug-ins that you named, and runs no code out of the file. A `.keras` file of the whole model
    holds the net too, and needs the file no more.

    A SavedModel is a program that TensorFlow runs, so it is read only if you have named its folder with
    `--plugin`, or in Python with `vaeflow.registry.load_plugin`. Its signature `serving_default` must have
    one input. It computes in the precision in which it was saved, its weights are not counted, and a
    `.keras` file of the whole model does not hold it: it is read again, by its name, from the current
    folder. Its SHA-256 is that of the names and contents of all files in the folder.

    Args:
      file: the `.keras` file, or the folder of the SavedModel.
      sha256: the SHA-256 that it must have; None accepts any.
      layers: the names of the layers whose outputs are returned, as a list, in place of what the net
        returns; of a SavedModel the names of outputs of its signature.

    Raises:
      ConfigurationError: there is no such file, it has another SHA-256, asks for classes that are
        not trusted, is a SavedModel that is not, or has no such layers.
      EnvironmentFailure: it is damaged.
    """

    def __init__(self, file: str, sha256: str | None = None, layers: Sequence[str] = (), **kwargs: Any):
        super().__init__(**kwargs)
        self.file = validation.path(f"{type(self).__name__}.file", file)
        self.sha256 = sha256
        self.layers = validation.texts(f"{type(self).__name__}.layers", layers)
        self.net: Any = None

    @property
    def trainable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] Keras' is a property too.
        """False, also where the model around it is made trainable."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """Keeps it frozen: Keras sets it in every layer of a model."""

    def build(self, input_shape: Shape) -> None:
        """Reads the file, unless the net came with a model that Keras has loaded."""
        if self.net is None:
            self.sha256 = _checked_sha256(type(self).__name__, self.file, self.sha256)
            self._hold(_loaded(self.file))

    @property
    def is_saved_model(self) -> bool:
        """Whether its net is a SavedModel, once it is built."""
        return isinstance(self.net, SavedModelNet)

    def call(self, inputs: tf.Tensor) -> Any:
        if self.is_saved_model:
            named = self.net(inputs)
            names = self.layers or self.net.output_names
            outputs = [named[name] for name in names]
            outputs = outputs if self.layers or len(outputs) > 1 else outputs[0]
        elif self._to_layers is not None:
            # Keras returns a single output as no list.
            outputs = tf.nest.flatten(self._to_layers(inputs, training=False))
        else:
            outputs = self.net(inputs, training=False)
        return tf.nest.map_structure(lambda value: tf.cast(value, self.compute_dtype), outputs)

    def inner_layers(self) -> list[keras.layers.Layer]:
        """Lists the net and every layer in it."""
        return list(self._flatten_layers(include_self=False))

    def kernel_of(self, name: str) -> tf.Tensor:
        """Returns the kernel of a layer in the `.keras` file; raises `ConfigurationError` if it has none."""
        kernel = None if self.is_saved_model else getattr(self._layer(name), "kernel", None)
        if kernel is None:
            raise ConfigurationError(
                f"{name!r} of {self.file.name} has no kernel; name a layer with one, of a .keras file"
            )
        return tf.cast(tf.convert_to_tensor(kernel), self.compute_dtype)

    @property
    def frozen_file(self) -> FrozenFile:
        """The name and the SHA-256 of its file."""
        return FrozenFile(self.file.name, str(self.sha256))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the name of the file alone, and the net."""
        own = {"file": self.file.name, "sha256": self.sha256}
        held = None if self.is_saved_model else keras.saving.serialize_keras_object(self.net)
        return super().get_config() | own | {"net": held}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FrozenNet":
        """Makes the block with a net whose weights are still to be loaded."""
        arguments = {name: value for name, value in config.items() if name != "net"}
        block = cls(**arguments)
        if config.get("net") is not None:
            block._hold(keras.saving.deserialize_keras_object(config["net"]))
        return block

    def _hold(self, net):
        if not isinstance(net, SavedModelNet):
            net = self._in_precision(net)
        net.trainable = False
        self.net = net
        for layer in self.inner_layers():
            # Rounding to a coarser precision depends on how a batch is cut.
            layer.dtype_policy = self.dtype_policy
        to_layers = None
        if isinstance(net, SavedModelNet):
            self._check_names(net.output_names)
        elif self.layers:
            outputs = [self._layer(name).output for name in self.layers]
            to_layers = keras.Model(net.inputs, outputs)
        # Around Keras' attribute tracking: it has the layers of the net.
        object.__setattr__(self, "_to_layers", to_layers)

    def _in_precision(self, net):
        """Returns the net with variables and inputs of the model's dtype.

        A convolution takes no others, and Keras casts what a net is given to the dtype of its inputs.
        """
        found = {each.dtype for each in [*net.variables, *(getattr(net, "inputs", None) or ())]}
        if found <= {self.variable_dtype}:
            return net
        again: Any = keras.saving.deserialize_keras_object(
            _with_dtype(keras.saving.serialize_keras_object(net), self.variable_dtype)
        )
        again.set_weights(net.get_weights())
        return again

    def _layer(self, name):
        self._check_names([layer.name for layer in getattr(self.net, "layers", ())], (name,))
        return self.net.get_layer(name)

    def _check_names(self, known, names=None):
        for name in self.layers if names is None else names:
            if name not in known:
                raise ConfigurationError(
                    f"{self.file.name} has no layer or output {name!r}; it has {', '.join(known) or 'none'}"
                )


def _with_dtype(config: Any, dtype: str) -> Any:
    """Returns the configuration of a net with another dtype of its layers and of its inputs."""
    if isinstance(config, list):
        return [_with_dtype(each, dtype) for each in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return config | {"config": {"name": dtype}}
    config = {name: _with_dtype(value, dtype) for name, value in config.items()}
    if config.get("class_name") == "InputLayer" and config["config"]["dtype"].startswith("float"):
        config["config"] |= {"dtype": dtype}
    return config


def _checked_sha256(name: str, path: pathlib.Path, expected: str | None) -> str:
    """Returns the SHA-256 of a file or SavedModel, and compares it with the one that a user has set."""
    is_saved_model = registry.is_saved_model(path)
    if not is_saved_model and (path.suffix != _SUFFIX or not path.exists() or path.is_dir()):
        raise ConfigurationError(
            f"`{name}.file` must be an existing {_SUFFIX} file, as Keras' `save` writes it, or a "
            f"SavedModel, got '{path}'"
        )
    try:
        found = _sha256_of_folder(path) if is_saved_model else _sha256(path)
    except OSError as error:
        raise EnvironmentFailure(f"{path} cannot be read: {error}; put the file back") from error
    if expected not in (None, found):
        raise ConfigurationError(
            f"{path} has the SHA-256 {found}, and `{name}.sha256` is {expected!r}; put the right file "
            "there, or correct the setting"
        )
    return found


def _sha256(path):
    with reading.opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_folder(folder):
    """Returns the SHA-256 of lines `<SHA-256 of a file>  <its path in the folder>`, as `sha256sum` prints."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    lines = "".join(f"{_sha256(folder / name)}  {name}\n" for name in files)
    return hashlib.sha256(os.fsencode(lines)).hexdigest()


def _loaded(path: pathlib.Path) -> Any:
    """Reads a net: a SavedModel, or a `.keras` file in Keras' safe mode.

    Raises:
      ConfigurationError: it needs classes or code that are not trusted, or is no net of one input.
      EnvironmentFailure: it is damaged, or its weights are not finite.
    """
    is_saved_model = path.is_dir()
    if is_saved_model:
        registry.check_trusted(path)
    elif not zipfile.is_zipfile(path):
        raise _damaged(path, "it is no archive")
    try:
        net: Any = (
            SavedModelNet(path)
            if is_saved_model
            else keras.saving.load_model(path, compile=False, safe_mode=True)
        )
    except (ConfigurationError, MemoryError):
        raise
    # Damaged files make zipfile, h5py, TensorFlow and Keras raise nearly every class there is.
    except Exception as error:
        reason = " ".join(str(error).split())
        if untrusted := _UNTRUSTED.search(reason):
            raise ConfigurationError(
                f"{path} asks for code that is not trusted ({untrusted[0]}); use a net of Keras' own layers, "
                "or name the module of its classes with --plugin"
            ) from error
        raise _damaged(path, reason[:300] or type(error).__name__) from error
    if (name := finite.first_not_finite(_weights(net))) is not None:
        raise _damaged(path, f"its weight {name} is not finite")
    return net


def _weights(net: Any) -> Iterator[tuple[str, Any]]:
    """Yields the name and the value of each weight."""
    variables = net.signature.variables if isinstance(net, SavedModelNet) else net.weights
    return ((each.name, each.numpy()) for each in variables)


def _damaged(path, reason):
    return EnvironmentFailure(
        f"{path} cannot be read: {reason}; expected an intact file, as Keras' `save` writes it, or SavedModel"
    )
