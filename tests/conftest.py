"""What every test starts from, and fixtures that several test files share."""

import collections
import importlib
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Read when TensorFlow is imported.

import pytest

from vaeflow import registry

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
_toy_entries = {}
_ONLY_IF_ASKED_FOR = ("long", "families", "tokenizers", "fuzz", "roulette", "bits", "matrix", "trackers")


def pytest_xdist_auto_num_workers():
    """Half as many processes again as there are cores: some tests wait for other processes or for a clock."""
    return os.cpu_count() * 3 // 2


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items):
    """Whatever runs only if asked for is no quick test; files with the most slow tests come first.

    So `not slow` alone leaves these out, although `-m` takes the place of the default choice, and no
    slow file is left to one process at the end.
    """
    for item in items:
        if any(item.get_closest_marker(name) for name in _ONLY_IF_ASKED_FOR):
            item.add_marker("slow")
    yield  # The others are deselected.
    slow = collections.Counter(
        item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("processes")
    )
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish(session):
    if sys.modules.get("keras") is not None:
        importlib.import_module("tests.fixtures.quiet_collector")


@pytest.fixture
def tensorflow_log(caplog):
    """What TensorFlow logs during the test, as `.text`; it passes nothing on to the root logger."""
    import tensorflow as tf

    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(autouse=True)
def keras_defaults():
    """Seeds each test by itself, and takes back its precision; tests without Keras stay without it."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.utils.set_random_seed(0)
    yield
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.config.set_dtype_policy("float32")
        keras.config.set_floatx("float32")


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """A registry that holds fixtures/gin_toys.py only, and an empty current folder, which it returns."""
    monkeypatch.syspath_prepend(FIXTURES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_BUILTIN_PACKAGES", ("gin_toys",))
    monkeypatch.setattr(registry, "_entries", _toy_entries)
    monkeypatch.setattr(registry, "announced_plugins", list)
    importlib.import_module("gin_toys")
    # A copy, so that what a test adds ends with it.
    monkeypatch.setattr(registry, "_entries", dict(_toy_entries))
    return tmp_path
