"""README and docs: their links lead somewhere, their commands exist, and their code runs."""

import functools
import json
import pathlib
import re
import statistics

import keras
import numpy as np
import pytest

import vaeflow
from benchmarks import lines, targets
from benchmarks.workloads import WORKLOADS
from tests.fixtures import tiny_runs
from tests.test_layout import LEVEL, OLD_NAMES
from vaeflow import datasets, errors, models, registry, testing
from vaeflow.commands import programs
from vaeflow.config.files import find_given
from vaeflow.registry.kinds import KINDS

REPOSITORY = pathlib.Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted(REPOSITORY.glob("docs/*.md"))]
PAGES += sorted(REPOSITORY.glob("examples/**/*.md"))
NAMES = [path.relative_to(REPOSITORY).as_posix() for path in PAGES]
MADE_UP_FILES = {"my.gin", "my_study.gin"}  # Stand for a file of the reader's.

registry.load_builtins()


@pytest.fixture(params=PAGES, ids=NAMES)
def page(request):
    return request.param


def links(page):
    """The targets of a page's links and pictures that lead into the repository, without anchors."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    paths = [target.partition("#")[0] for target in targets if "://" not in target]
    return [page.parent / path for path in paths if path]


def python_code(page):
    """The Python programs of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def table_rows(text, first_column):
    """The rows of the table whose header begins with `first_column`: lists of cells."""
    (table,) = re.findall(rf"^\| {first_column} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]


@pytest.fixture
def readers_registry(monkeypatch):
    """A registry that forgets what a page's code registers."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def test_there_are_some_pages():
    assert {"README.md", "BUILD.md", "SECURITY.md", "docs/models.md", "examples/plugin/README.md"} <= set(
        NAMES
    )


def test_every_link_leads_somewhere(page):
    assert [path for path in links(page) if not path.exists()] == []


def test_the_readme_leads_to_every_page_of_docs():
    linked = {path.resolve() for path in links(README)}
    assert set(REPOSITORY.glob("docs/*.md")) <= linked


def test_the_readme_is_short():
    text = README.read_text()
    assert len(text.splitlines()) < 200
    assert len(re.findall(r"!\[", text)) <= 4
    assert 0 < len(table_rows(text, "model")) <= 12


@pytest.mark.parametrize("name", ["README.md", "docs/models.md"])
def test_the_table_of_models_names_registered_models_and_files_that_exist(name):
    rows = table_rows(
        (REPOSITORY / name).read_text(), "model" if name == "README.md" else "model \\| objective"
    )
    for named, *_, files in rows:
        for model in named.split(", "):
            assert registry.get(model.strip("`")).kind == "model"
        for file in files.split(", "):
            assert (REPOSITORY / "configs" / file.strip("`")).is_file(), file


def test_the_table_of_speed_shows_what_was_measured():
    measured = json.loads((REPOSITORY / "benchmarks/results.json").read_text())["workloads"]
    rows = table_rows(README.read_text(), "net")
    assert len(rows) == len(WORKLOADS)
    for (_, *shown), name in zip(rows, WORKLOADS, strict=True):
        *peers, vaeflow, lead = shown
        for names, rate in zip(lines.PEERS.values(), peers, strict=True):
            medians = [median(line) for line in measured[name]["lines"] if line["name"] in names]
            assert rate in [f"{each:,.0f}" for each in medians] or (rate, medians) == ("–", []), name
        (own,) = (line for line in measured[name]["lines"] if line["name"] == lines.VAEFLOW)
        assert vaeflow == f"{median(own):,.0f}"
        assert lead == f"{targets.lead(targets.best_peer(measured[name])):.2f} ×", name


def median(line):
    return statistics.median(each["images"] / each["seconds"] for each in line["windows"])


def test_docs_know_every_model():
    rows = table_rows((REPOSITORY / "docs/models.md").read_text(), "model \\| objective")
    listed = {row[0].strip("`") for row in rows}
    assert listed == {entry.name for entry in registry.entries("model") if entry.package == "vaeflow"}


def test_docs_know_every_dataset():
    rows = table_rows((REPOSITORY / "docs/data.md").read_text(), "dataset")
    listed = {name.strip("`") for row in rows for name in row[0].split(", ")}
    assert listed == {entry.name for entry in registry.entries("dataset") if entry.package == "vaeflow"}


def test_docs_know_every_exit_code():
    rows = table_rows((REPOSITORY / "docs/files.md").read_text(), "code")
    assert [int(number) for number, _ in rows] == [code.number for code in errors.EXIT_CODES]


def test_the_map_shows_every_room_on_its_floor():
    text = (REPOSITORY / "BUILD.md").read_text()
    floors = {name: level + 1 for name, level in LEVEL.items() if name not in (*OLD_NAMES, "__main__")}
    rows = {cells[1].strip("`/"): cells[0] for cells in table_rows(text, "floor")}
    assert {name: int(rows[name]) for name in floors} == floors
    picture = re.findall(r"│ +([a-z/ ]+?) +│ *(\d*)\n", text)
    drawn, floor = {}, None
    for names, number in picture:
        floor = int(number) if number else floor
        drawn |= dict.fromkeys(re.findall(r"[a-z]+", names), floor)
    assert drawn == floors


def test_every_command_exists_and_names_files_that_exist(page):
    text = page.read_text()
    for name in re.findall(r"--gin_file=([\w/]+\.gin)", text):
        assert name in MADE_UP_FILES or find_given(name).is_file()
    for package, name in re.findall(r"python -m (launch|benchmarks)\.(\w+)", text):
        module, folder = REPOSITORY / package / f"{name}.py", REPOSITORY / package / name
        assert module.is_file() or (folder / "__main__.py").is_file(), name
    for name in re.findall(r"(?:^    |`|-m )vaeflow ([a-z][\w-]+)", text, re.MULTILINE):
        assert name in programs.NAMES


def test_every_setting_that_is_changed_on_a_command_line_exists(page):
    for name, parameter in re.findall(r"--gin_param='(\w+)\.(\w+) = ", page.read_text()):
        assert parameter in registry.get(name).parameters, f"{name}.{parameter}"


def test_every_program_is_valid_python(page):
    for program in python_code(page):
        compile(program, page.name, "exec")


@pytest.mark.slow
def test_the_example_in_python(monkeypatch, tmp_path, readers_registry):
    digits = np.random.default_rng(0).integers(0, 256, (256, 28, 28)).astype(np.uint8)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((digits, None), (digits, None)))
    monkeypatch.chdir(tmp_path)
    (example,) = (text for text in python_code(REPOSITORY / "docs/python.md") if "vae.fit" in text)
    names = {"__name__": "readme"}
    exec(example, names)
    assert names["pictures"].shape == (16, 28, 28, 1)
    history = names["vae"].history.history
    assert history["loss"][-1] < history["loss"][0]
    # The loss is the sum of the terms, plus what the block tracked.
    tracked = history["loss"][-1] - history["reconstruction_loss"][-1] - history["kl"][-1]
    assert 0 < tracked < 1
    images = digits[:4, ..., None] / 255.0
    np.testing.assert_allclose(keras.models.load_model("vae.keras")(images), names["vae"](images))


@pytest.mark.slow
def test_the_example_of_training_with_objects(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(datasets, "MNIST", tiny_runs.dataset)
    monkeypatch.chdir(tmp_path)
    (example,) = (text for text in python_code(REPOSITORY / "docs/python.md") if "vaeflow.train(" in text)
    with tiny_runs.configuration_of_its_own():
        exec(example.replace("num_steps=1000, batch_size=128", "num_steps=2, batch_size=8"), {})
    assert 0 < float(capsys.readouterr().out.splitlines()[-1]) < 100


def test_the_example_of_a_model_of_ones_own(readers_registry):
    (example,) = (text for text in python_code(REPOSITORY / "docs/python.md") if "SparseVAE" in text)
    names = {"__name__": "page", "keras": keras, "registry": registry, "VAE": models.VAE, "Term": models.Term}
    exec(example, names)
    vae = names["SparseVAE"](num_latents=2, sparsity=3.0)
    forward = vae.forward(np.zeros((4, 8, 8, 1), np.float32))
    terms = vae.objective(forward, 0)
    assert terms["code_size"].weight == 3.0
    assert terms["code_size"].value.shape == (4,)


@functools.cache  # A name can be registered once in a process.
def pages_plugin():
    """The plug-in that docs/models.md shows: its names, and the kinds that it registers."""
    before = {entry.name for entry in registry.entries()}
    names = {"__name__": "my_parts"}
    for part in python_code(REPOSITORY / "docs/models.md"):
        exec(part, names)
    return names, {entry.kind for entry in registry.entries() if entry.name not in before}


def test_the_page_of_models_shows_every_kind(readers_registry):
    assert pages_plugin()[1] == KINDS.keys() - {"command", "place", "search"}  # No parts of a training.


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TwoLevels", "VAE"])
def test_the_parts_of_the_page_of_models_train_together(tmp_path, readers_registry, kind):
    parts, _ = pages_plugin()
    arguments = {"num_latents": 2}
    if kind == "VAE":
        arguments |= {
            "encoder": parts["Flat"](),
            "posterior": parts["NarrowPosterior"](),
            "prior": parts["WidePrior"](),
            "likelihood": parts["SharpLikelihood"](),
            "kl_weight": parts["QuadraticSchedule"](),
        }
    strategy = parts["first_device"]()
    with strategy.scope():
        model = (parts["TwoLevels"] if kind == "TwoLevels" else models.VAE)(**arguments)
        optimizer = parts["SlowAdam"]()
    with tiny_runs.configuration_of_its_own():
        result = vaeflow.train(
            model,
            parts["Stripes"](),
            tmp_path / "run",
            num_steps=20,
            batch_size=16,
            optimizer=optimizer,
            strategy=strategy,
            callbacks=[parts["Patience"](loss=0.0, every_steps=10)],
        )
    assert result["step"] == 20


@pytest.mark.families
def test_the_model_of_the_page_of_models_passes_every_check(readers_registry):
    for check in testing.CHECKS:
        check(pages_plugin()[0]["TwoLevels"], (8, 8, 1))
