"""What a folder of TensorFlow Datasets may make it import: its own code, and what the user trusts.

`features.json` and `dataset_info.json` name the class of each feature, at any depth, and tfds imports
the module of a class that it does not know yet. All of this passes through one function of tfds, which
`required` guards. The consent is that of gin files: a module that `--plugin` names is imported at the
start, so tfds need not import it.
"""

import contextlib
import os
import re
import sys
from collections.abc import Generator
from typing import Any

from vaeflow import registry
from vaeflow.datasets.regular_files import check_regular
from vaeflow.errors import ConfigurationError

_OWN_PACKAGE = "tensorflow_datasets"
# `dataset/config:1.2.3/argument=value`, where the last three may be missing.
_OWN_NAME = re.compile(r"([A-Za-z]\w*)(/[\w+.\-]+)?(:(\d+|\*)(\.(\d+|\*)){2})?(/.+=.*)?", re.ASCII)


def checked_name(name: str) -> str:
    """Returns a name for `tfds.builder` if it is a dataset of tfds' own.

    Raises:
      ConfigurationError: it has another form, such as `owner:dataset`, which would run code of the owner.
    """
    if not isinstance(name, str) or not _OWN_NAME.fullmatch(name):
        raise ConfigurationError(
            f"`TFDS.name` must be one of TensorFlow Datasets' own, such as 'cifar10' or 'cifar10:3.0.2', got "
            f"{name!r}; a community dataset (owner:dataset) would run its owner's code; register your own "
            "dataset in a plug-in instead"
        )
    return name


def folder_name(name: str) -> str:
    """Returns the name of the folder of a dataset in that of all datasets."""
    return re.split("[/:]", name)[0]


def check_files(name: str, data_dir: str | os.PathLike[str] | None) -> None:
    """Checks that a prepared dataset consists of regular files, since a pipe would stop tfds for good.

    Args:
      name: as for `checked_name`.
      data_dir: the folder of prepared datasets; None, tfds' own, is not checked.

    Raises:
      DataError: something else lies there.
    """
    if data_dir is None:
        return
    folder = os.path.join(os.path.expanduser(data_dir), folder_name(name))  # noqa: PTH111, PTH118
    for parent, _, files in os.walk(folder):
        for file in files:
            check_regular(os.path.join(parent, file))  # noqa: PTH118


@contextlib.contextmanager
def required(source: str) -> Generator[None]:
    """Lets tfds import only its own modules, and those that are imported already, inside the block.

    Args:
      source: the dataset, for the message.

    Raises:
      ConfigurationError: a file of the dataset names a class of another module. The module was not
        imported.
    """
    from tensorflow_datasets.core.features import feature

    connector = feature.FeatureConnector
    unguarded, import_class = vars(connector)["cls_from_name"], connector.cls_from_name
    refused: list[ConfigurationError] = []

    def import_if_trusted(python_class_name: str) -> Any:
        module = python_class_name.rpartition(".")[0]
        if not _is_trusted(module):
            refused.append(
                registry.refused_import(f"the type {python_class_name!r} in the files of {source}", module)
            )
            raise refused[0]
        return import_class(python_class_name)

    connector.cls_from_name = staticmethod(import_if_trusted)
    try:
        yield
    except Exception as error:
        if refused:  # tfds may have wrapped it.
            raise refused[0] from error
        raise
    finally:
        connector.cls_from_name = unguarded


def _is_trusted(module: str) -> bool:
    is_own = module.startswith(f"{_OWN_PACKAGE}.") and all(map(str.isidentifier, module.split(".")))
    return is_own or module in sys.modules
