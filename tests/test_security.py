"""What SECURITY.md promises of the code, and of files that somebody else has made."""

import ast
import pathlib
import re
import zipfile

import keras
import numpy as np
import pytest

from vaeflow.datasets import Arrays

REPOSITORY = pathlib.Path(__file__).parents[1]
FILES = sorted([*(REPOSITORY / "vaeflow").rglob("*.py"), *(REPOSITORY / "launch").rglob("*.py")])

# What makes Python objects, and so runs code, from a file's bytes.
MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "code", "pty"}
BUILTINS = {"eval", "exec", "compile", "__import__", "execfile"}
CALLS = {
    "os.system", "os.popen", "os.execv", "os.execve", "os.spawnv", "subprocess.getoutput",
    "subprocess.getstatusoutput", "runpy.run_path", "runpy.run_module", "shutil.unpack_archive",
    "keras.config.enable_unsafe_deserialization", "tf.keras.config.enable_unsafe_deserialization",
}  # fmt: skip
# The process begins its own command line again; no file says what that is.
ALLOWED = {
    "vaeflow/devices/allocator.py": ["os.execve"],
    "vaeflow/runs/interpreter.py": ["runpy.run_module"],  # A module of vaeflow, in a child of a command.
    "vaeflow/metrics/disentanglement/parallel.py": ["joblib"],  # Its processes; no file is read.
}
EXTRACTIONS = {"extractall", "extract", "unpack_archive", "extract_archive"}


def dotted(node):
    """`a.b.c` of a name or attribute, or an empty string."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call, name):
    """The constant that a call gives for a keyword; `...` where it gives none, or no constant."""
    for each in call.keywords:
        if each.arg == name:
            return each.value.value if isinstance(each.value, ast.Constant) else ...
    return ...


def dangers(text):
    """What in a program's text may run code from data: a list of descriptions."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found += [name for name in names if name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [name for name in names if name.split(".")[0] in MODULES or name in CALLS]
        elif isinstance(node, ast.Call):
            found += _dangers_of_call(node)
    return found


def _dangers_of_call(call):
    name = dotted(call.func)
    last = name.rpartition(".")[2]
    if name in BUILTINS | CALLS or name.removeprefix("builtins.") in BUILTINS:
        yield name
    if name in ("np.load", "numpy.load") and keyword(call, "allow_pickle") is not False:
        yield f"{name} without allow_pickle=False"
    if last in ("read_array", "load", "open_memmap") and keyword(call, "allow_pickle") is True:
        yield f"{name} with allow_pickle=True"
    if keyword(call, "shell") not in (..., False) or any(
        each.arg == "shell" and not isinstance(each.value, ast.Constant) for each in call.keywords
    ):
        yield f"{name} with a shell"
    if last in EXTRACTIONS and keyword(call, "filter") != "data":
        yield f"{name} without filter='data'"
    if keyword(call, "safe_mode") is False or keyword(call, "extract") is True:
        yield f"{name} without safe mode, or extracting"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_runs_code_from_data(path):
    text = path.read_text()
    assert dangers(text) == ALLOWED.get(str(path.relative_to(REPOSITORY)), [])
    # Programs in strings run too: those that check an export.
    for program in re.findall(r'= """\n((?:import|from) .*?)"""', text, re.DOTALL):
        assert not [each for each in dangers(program) if not each.startswith("np.load")]


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from yaml import safe_load",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "import os\nos.system(command)",
        "from os import system",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command, shell=flag)",
        "tarfile.open(path).extractall(folder)",
        "archive.extract(member, filter='tar')",
        "shutil.unpack_archive(path)",
        "keras.saving.load_model(path, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
        "keras.utils.get_file(origin=url, extract=True)",
    ],
)
def test_each_danger_would_be_found(text):
    assert dangers(text)


@pytest.mark.parametrize(
    "text",
    [
        "np.load(path, mmap_mode='r', allow_pickle=False)",
        "ast.literal_eval(text)",
        "subprocess.run(command, shell=False)",
        "archive.extractall(folder, filter='data')",
        "re.compile(pattern)",
        "model.compile(optimizer)",
    ],
)
def test_what_is_harmless_is_not(text):
    assert not dangers(text)


def test_a_member_of_an_archive_that_leads_outside_writes_nothing(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    images = np.random.RandomState(0).randint(0, 256, (20, 4, 4)).astype(np.uint8)
    np.savez(folder / "images.npz", images=images)
    with zipfile.ZipFile(folder / "images.npz", "a") as archive:
        archive.writestr("../canary.npy", archive.read("images.npy"))
        archive.writestr("/tmp/vaeflow-canary.npy", archive.read("images.npy"))
    for key in ("images", "../canary"):
        split = Arrays(folder / "images.npz", key=key).load("train")
        assert split.num_examples == 18
    assert {path.name for path in tmp_path.rglob("*")} == {"data", "images.npz"}
    assert not pathlib.Path("/tmp/vaeflow-canary.npy").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"module": "os", "class_name": "system", "config": {}, "registered_name": None},
        {"module": "builtins", "class_name": "eval", "config": "1", "registered_name": "eval"},
        {"module": "gin_canary", "class_name": "Canary", "config": {}, "registered_name": "Canary"},
        {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wA=", "defaults": None,
                                                                           "closure": None}}},
            "registered_name": None,
        },
    ],
)  # fmt: skip
def test_what_a_keras_file_names_must_be_registered(config, tmp_path, monkeypatch):
    """Keras' own promise, on which SECURITY.md builds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(REPOSITORY / "tests" / "fixtures")
    with pytest.raises((TypeError, ValueError)):
        keras.saving.deserialize_keras_object(config)
    assert not list(tmp_path.iterdir())
