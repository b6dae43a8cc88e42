"""Fixtures that several test files share."""

import importlib
import pathlib

import pytest

from vaeflow import registry

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
_toy_entries = {}


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """A registry that holds fixtures/gin_toys.py only, and an empty current folder, which it returns."""
    monkeypatch.syspath_prepend(FIXTURES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_BUILTIN_PACKAGES", ("gin_toys",))
    monkeypatch.setattr(registry, "_entries", _toy_entries)
    monkeypatch.setattr(registry, "announced_plugins", list)
    importlib.import_module("gin_toys")
    return tmp_path
