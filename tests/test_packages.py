"""The Dockerfile fits the repository; wheel and source archive build, and the wheel works without it."""

import fnmatch
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile

import pytest

REPOSITORY = pathlib.Path(__file__).parents[1]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# In a clone, but no part of it: the rules of .gitignore. Rules for git alone do not matter here.
LEFT_OUT = ("__pycache__", "*.egg-info", ".*cache", ".git", ".venv", "/runs", "/build", "/dist", "/site")


def copied():
    """What the Dockerfile copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_is_made_of_what_the_wheel_needs():
    assert {
        "pyproject.toml",
        "setup.py",
        "vaeflow",
        "configs",
        PROJECT["readme"],
        *PROJECT["license-files"],
    } == {*copied()}


def test_only_what_is_copied_reaches_the_builder():
    rules = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert [rule for rule in rules if not rule.startswith("#")] == [
        "*",
        *(f"!{source}" for source in copied()),
        "**/__pycache__",
    ]


def test_the_image_does_not_run_as_root():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^(?:ARG UID=|USER )(.*)", last, re.MULTILINE) == ["1000", "${UID}"]


@pytest.mark.parametrize("page", ["Dockerfile", "BUILD.md"])
def test_the_extras_of_an_image_exist(page):
    named = re.findall(
        r'EXTRAS(?:=| takes any extras of pyproject.toml, for example ")([\w,]+)',
        (REPOSITORY / page).read_text(),
    )
    assert named
    assert {extra for names in named for extra in names.split(",")} <= {*PROJECT["optional-dependencies"]}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The folder with wheel and source archive, made from a copy of the repository, without the network."""
    folder = tmp_path_factory.mktemp("release")

    def ignore(directory, names):
        top = "/" if pathlib.Path(directory) == REPOSITORY else ""
        return {
            name for name in names for rule in LEFT_OUT if fnmatch.fnmatch(name, rule) or top + name == rule
        }

    shutil.copytree(REPOSITORY, folder / "source", ignore=ignore)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), "source"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "dist"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_the_archives_hold_the_repository(archives):
    (archive,) = archives.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    files = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    tools = (".ci/*", ".gitignore", ".pre-commit-config.yaml")
    tracked = {name for name in files.stdout.splitlines() if (REPOSITORY / name).exists()}
    assert {
        name for name in tracked - names if not any(fnmatch.fnmatch(name, tool) for tool in tools)
    } == set()
    assert not any(name.endswith(".pyc") for name in names)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_the_wheel_trains_in_a_fresh_environment(archives, tmp_path):
    (wheel,) = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        assert {name.partition("/")[0] for name in opened.namelist()} == {
            "vaeflow",
            f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info",
        }
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    (packages,) = environment.glob("lib/python*/site-packages")
    # The dependencies are taken from here. Files `.pth` there, such as an editable vaeflow's, are not read.
    (packages / "dependencies.pth").write_text(
        "\n".join(path for path in sys.path if "site-packages" in path)
    )
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    command = [environment / "bin" / "vaeflow", "train", "--gin_file=vae.gin", "--workdir=run"]
    settings = [
        "train.dataset = @RenderedSprites()",
        "RenderedSprites.image_size = 16",
        "RenderedSprites.num_evaluation = 8",
        "train.num_steps = 1",
        "train.steps_per_loop = 1",
        "train.batch_size = 8",
    ]
    command += [f"--gin_param={setting}" for setting in settings]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["step"] == 1
    where = (
        "import importlib.metadata as m, vaeflow; print(vaeflow.__file__, m.metadata('vaeflow')['Author'])"
    )
    told = subprocess.run([python, "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == f"{packages / 'vaeflow' / '__init__.py'} The vaeflow authors"
