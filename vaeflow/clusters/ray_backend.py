"""How Ray Train connects the workers of TensorFlow."""

import os
import socket

import ray
from ray.train.backend import Backend, BackendConfig

from vaeflow.devices.workers import Workers, to_tf_config


class Tensorflow(BackendConfig):
    """Tells each worker about the others, through `TF_CONFIG`.

    Ray's own `TensorflowConfig` does so too, but switches TensorFlow to Keras 2, and imports
    it in every Ray process that takes part in the training.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that Ray makes of this."""
        return TensorflowBackend


class TensorflowBackend(Backend):
    """Sets `TF_CONFIG` when the workers start."""

    def on_start(self, worker_group, backend_config):  # noqa: ARG002 -- Ray's signature
        """Tells each worker the addresses of all."""
        addresses = tuple(worker_group.execute(_free_address))
        for index in range(len(addresses)):
            worker_group.execute_single(index, _set_environment, Workers(addresses, index))


def _free_address():
    with socket.socket() as one:
        one.bind(("", 0))  # On all interfaces, as TensorFlow will.
        return f"{ray.util.get_node_ip_address()}:{one.getsockname()[1]}"


def _set_environment(cluster):
    os.environ["TF_CONFIG"] = to_tf_config(cluster)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
