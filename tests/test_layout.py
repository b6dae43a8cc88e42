"""The architecture, read from the imports: who may know of whom."""

import ast
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).parents[1]

# A module imports only from the rows above its own.
ROWS = [
    ["errors"],
    ["registry", "validation", "random", "kernels", "runs"],
    ["devices", "distributions", "schedules", "optimizers", "serialization", "listing", "flops"],
    ["layers", "datasets", "samplers"],
    ["models", "metrics"],
    ["analysis", "export"],
    ["callbacks"],
    ["training"],
    ["trained", "benchmark"],
    ["commands", "testing", "clusters"],
]
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}

# Reading the configuration stands beside the rows: it knows errors and the registry, and
# only `commands`, `trained` and the process that measures know of it.
CONFIGURATION = ["config", "command_line"]

# The files of a package that its other files may import; each of these imports those before it.
SHARED = {
    "layers": ["base", "dense", "conv"],
    "datasets": ["base", "cache", "decoding", "record_files", "binarization"],
    "models": ["terms", "minibatch_divergences", "vae"],
    "metrics": ["base"],
    "export": ["formats"],
    "benchmark": ["cases", "measuring", "report"],
    "clusters": ["ray_worker"],
    "runs": ["totals", "heartbeats"],
    "devices": ["workers"],
    "analysis": ["grids"],
    "training": ["pace", "moving_average", "settings", "replica_step", "step_loop"],
    "commands": [],
    "callbacks": ["base"],
    "config": ["syntax", "files", "messages", "check", "loading"],
}


def module_name(path):
    """`vaeflow/layers/conv.py` -> `layers.conv`; of a package's `__init__` -> `layers`."""
    parts = path.relative_to(REPOSITORY / "vaeflow").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted((REPOSITORY / "vaeflow").rglob("*.py"))}


def imported_names(path):
    """Every module, or name in a module, that a file imports at any place: dotted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path):
    """The modules of vaeflow that a file imports, as in `MODULES`."""
    for name in imported_names(path):
        parts = name.split(".")
        if parts[0] == "vaeflow":
            parts = parts[1:]
            while parts and ".".join(parts) not in MODULES:
                parts.pop()
            yield ".".join(parts)


def imports():
    """Pairs of a module and one that it imports, without a package's `__init__` and its own files."""
    for name, path in MODULES.items():
        for imported in imported_modules(path):
            if name and imported.rpartition(".")[0] != name:
                yield name, imported


def package(name):
    return name.split(".")[0]


def test_every_module_has_a_place():
    assert {package(name) for name in MODULES} - {""} <= LEVEL.keys() | set(CONFIGURATION), "give it a row"
    assert not LEVEL.keys() & set(CONFIGURATION)


def test_modules_import_from_below():
    for name, imported in imports():
        one, other = package(name), package(imported)
        if one in LEVEL and other in LEVEL and one != other:
            assert LEVEL[other] < LEVEL[one], f"{name} imports {imported}, which is not below it"


def test_files_of_a_package_import_its_shared_files():
    for name, imported in imports():
        if package(name) == package(imported):
            shared = [f"{package(name)}.{file}" for file in SHARED[package(name)]]
            allowed = shared[: shared.index(name)] if name in shared else shared
            assert imported in allowed, f"{name} imports {imported} of its own package"


def test_every_shared_file_is_shared():
    used = {imported for _, imported in imports()}
    used |= set(imported_modules(MODULES["config"]))
    assert {f"{name}.{file}" for name, files in SHARED.items() for file in files} <= used


def test_the_configuration_and_the_rest_do_not_know_each_other():
    for name, imported in imports():
        one, other = package(name), package(imported)
        if one in CONFIGURATION:
            known = {"errors", "registry", "devices", *CONFIGURATION[: CONFIGURATION.index(one) + 1]}
            assert other in known, f"{name} imports {imported}"
        elif other in CONFIGURATION:
            assert one in ("commands", "trained", "benchmark") and imported == "config", (
                f"{name} imports {imported}"
            )


def test_gin_is_known_to_the_registry_and_the_configuration_only():
    users = {
        name
        for name, path in MODULES.items()
        if any(imported.split(".")[0] == "gin" for imported in imported_names(path))
    }
    assert users == {"registry", "config.loading"}


def test_nothing_imports_launch():
    for name, path in MODULES.items():
        assert not any(imported.split(".")[0] == "launch" for imported in imported_names(path)), name


def lines_of_code(path):
    """Counts lines without blank ones, comments and docstrings."""
    text = path.read_text()
    left_out = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out |= set(range(node.lineno, node.end_lineno + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(
        1 for number, line in lines
        if number not in left_out and line.strip() and not line.strip().startswith("#")
    )  # fmt: skip


@pytest.mark.parametrize("path", sorted((REPOSITORY / "launch").glob("*.py")), ids=lambda path: path.stem)
def test_a_command_is_short_and_says_how_to_run_it(path):
    assert lines_of_code(path) <= 40
    if path.stem != "__init__":
        assert f"python -m launch.{path.stem}" in ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "module", ["vaeflow", "vaeflow.registry", "vaeflow.config", "vaeflow.command_line", "launch.train"]
)
def test_it_imports_neither_tensorflow_nor_keras(module):
    program = f"import sys, {module}; sys.exit(bool({{'tensorflow', 'keras'}} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY).returncode == 0


def test_every_public_name_of_the_package_exists():
    program = "import vaeflow; print([getattr(vaeflow, name) for name in vaeflow.__all__])"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
