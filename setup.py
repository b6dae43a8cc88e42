"""Finds the packages, which `pyproject.toml` can only do for folders of their own name.

`configs/` is installed as `vaeflow.configs`, so that the wheel brings the gin files.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["vaeflow", "vaeflow.*"]), "vaeflow.configs"],
    package_dir={"vaeflow.configs": "configs"},
)
