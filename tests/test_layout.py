"""The architecture, read from the imports: who may know of whom."""

import ast
import graphlib
import pathlib
import re
import subprocess
import sys

import pytest

import vaeflow

REPOSITORY = pathlib.Path(__file__).parents[1]

# Modules that only hand on, with a warning, names that have moved to `devices`.
OLD_NAMES = ["allocator", "distribute"]

# The rooms and files of the first level: each imports only from the rows above its own.
ROWS = [
    ["errors"],
    ["random", "kernels", "runs"],
    ["registry", "validation"],
    ["config", "devices", "distributions", "schedules", "optimizers"],
    ["layers", "datasets", *OLD_NAMES],
    ["models", "samplers"],
    ["metrics"],
    ["analysis", "export"],
    ["callbacks"],
    ["training"],
    ["trained", "profiling", "clusters"],
    ["commands", "testing"],
    ["__main__"],
]
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
MOST_ENTRIES = 30  # On the first level, so that one look tells what there is.

# The configuration is read, and devices are split, before anything else is imported.
KNOWN_TO_THE_CONFIGURATION = {"errors", "errors.user_code", "registry", "runs.json_files", "runs.paths"}
KNOWING_THE_CONFIGURATION = {"commands", "trained", "profiling"}


def module_name(path):
    """`vaeflow/layers/conv.py` -> `layers.conv`; of a package's `__init__` -> `layers`."""
    parts = path.relative_to(REPOSITORY / "vaeflow").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in sorted((REPOSITORY / "vaeflow").rglob("*.py"))}


class WithoutTypes(ast.NodeTransformer):
    """Leaves out `if TYPE_CHECKING:`, whose imports never run."""

    def visit_If(self, node):
        checks_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if checks_types else self.generic_visit(node)


def imported_names(path):
    """Every module, or name in a module, that a file imports at any place when it runs: dotted."""
    for node in ast.walk(WithoutTypes().visit(ast.parse(path.read_text()))):
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
    """Pairs of a module and one that it imports, without a room's `__init__` and its own files.

    The package itself is left out: it imports nothing, and its version is for all.
    """
    for name, path in MODULES.items():
        for imported in imported_modules(path):
            if name and imported and imported.rpartition(".")[0] != name:
                yield name, imported


def room(name):
    return name.split(".")[0]


def test_the_first_level_fits_on_a_screen():
    entries = [path.name for path in (REPOSITORY / "vaeflow").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_every_room_has_a_row():
    assert {room(name) for name in MODULES} - {""} == LEVEL.keys()


@pytest.mark.slow
def test_rooms_import_from_above_only():
    for name, imported in imports():
        one, other = room(name), room(imported)
        assert one == other or LEVEL[other] < LEVEL[one], f"{name} imports {imported}, which is not above it"


@pytest.mark.slow
def test_the_files_of_a_room_import_one_another_in_no_circle():
    known = {name: set() for name in MODULES}
    for name, imported in imports():
        if room(name) == room(imported):
            known[name].add(imported)
    list(graphlib.TopologicalSorter(known).static_order())


@pytest.mark.slow
def test_the_configuration_knows_little_and_few_know_it():
    for name, imported in imports():
        if room(name) == "config" != room(imported):
            assert imported in KNOWN_TO_THE_CONFIGURATION, f"{name} imports {imported}"
        if room(imported) == "config" != room(name):
            assert room(name) in KNOWING_THE_CONFIGURATION, f"{name} imports {imported}"
            assert imported == "config", f"{name} imports {imported} past the door of the room"


@pytest.mark.slow
def test_gin_is_known_to_the_registry_and_the_configuration_only():
    users = {
        name
        for name, path in MODULES.items()
        if any(imported.split(".")[0] == "gin" for imported in imported_names(path))
    }
    assert users == {"registry.frameworks", "config.loading", "config.reading"}


@pytest.mark.slow
def test_nothing_imports_an_old_name():
    for name, imported in imports():
        assert imported not in OLD_NAMES, f"{name} imports {imported}"


@pytest.mark.parametrize("name", OLD_NAMES)
def test_an_old_name_is_short(name):
    assert lines_of_code(MODULES[name]) <= 15


def test_nothing_in_the_wheel_names_launch():
    for path in [*MODULES.values(), *(REPOSITORY / "configs").glob("*.gin")]:
        assert not re.search(r"\blaunch(\.|/|$)|import launch", path.read_text()), path.name


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


@pytest.mark.processes
def test_what_runs_before_tensorflow_imports_neither_it_nor_keras():
    programs = sorted((REPOSITORY / "vaeflow" / "commands" / "programs").glob("[a-z]*.py"))
    modules = ["vaeflow", "vaeflow.registry", "vaeflow.config", "vaeflow.commands.overview", "launch.train"]
    modules += ["vaeflow.runs.watchdog", "vaeflow.devices.workers"]
    modules += [f"vaeflow.commands.programs.{path.stem}" for path in programs]
    program = "\n".join(
        f"import {module}; assert not {{'tensorflow', 'keras'}} & sys.modules.keys(), {module!r}"
        for module in modules
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_of_the_package_exists():
    assert all(getattr(vaeflow, name) is not None for name in vaeflow.__all__)


@pytest.mark.long
@pytest.mark.processes
def test_the_first_name_brings_no_start_up_lines_of_tensorflow():
    program = "import vaeflow; print([getattr(vaeflow, name) for name in vaeflow.__all__])"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_every_public_name_of_the_package_is_listed():
    assert set(vaeflow.__all__) <= set(dir(vaeflow))
