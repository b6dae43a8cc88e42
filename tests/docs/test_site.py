"""The site of the documentation: it is built, its links lead somewhere, and nothing else is loaded."""

import functools
import html.parser
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

from docs import build, reference
from vaeflow import registry

REPOSITORY = pathlib.Path(__file__).parents[2]
SITE = REPOSITORY / build.SITE
# Attributes that make a browser load what they name; an `a` is followed by its reader only.
LOADED = {"src", "href", "srcset", "data", "poster"}


class Page(html.parser.HTMLParser):
    """The links, what is loaded, and the anchors of a page of HTML."""

    def __init__(self, path):
        super().__init__()
        self.followed, self.loaded, self.anchors, self.names = [], [], {""}, set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in LOADED:
                (self.followed if tag == "a" else self.loaded).append(value)


read = functools.cache(Page)


def test_links_lead_to_pages_of_the_site():
    text, linked = build.with_links_and_mathematics(
        "[a](models.md#likelihoods) [b](../configs) [c](../configs/vae.gin) ![d](../README.md) [e](https://f.g)",
        REPOSITORY / "docs",
    )
    assert text == (
        "[a](models.md#likelihoods) [b](../configs/index.md) [c](../configs/vae.gin.md) ![d](../index.md) "
        "[e](https://f.g)"
    )
    assert [path.name for path in linked] == ["models.md", "configs", "vae.gin", "README.md"]


def test_a_link_that_shows_a_file_name_shows_the_title_of_the_page():
    text, _ = build.with_links_and_mathematics("[models.md](models.md#likelihoods)", REPOSITORY / "docs")
    assert text == "[Models](models.md#likelihoods)"


def test_a_link_to_nothing_ends_the_build():
    with pytest.raises(SystemExit, match=r"links to none\.md, which does not exist"):
        build.with_links_and_mathematics("[a](none.md)", REPOSITORY / "docs")


def test_code_is_left_as_it_is():
    code = "```python\nx = [1](2)\ncost = '$`1`$'\n```\n"
    assert build.with_links_and_mathematics(code, REPOSITORY) == (code, [])


def test_a_list_begins_after_an_empty_line_as_python_markdown_needs_it():
    assert build.with_links_and_mathematics("these:\n- a\n- b\n", REPOSITORY)[0] == "these:\n\n- a\n- b\n"


def test_equations_become_mathml():
    text, _ = build.with_links_and_mathematics("a $`x_1`$\n\n```math\na^2\n\nb\n```\n", REPOSITORY)
    assert text.count("<math") == 3
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in text
    assert text.count('<div class="equation"') == 2


def test_every_page_of_docs_is_in_the_navigation():
    text = (REPOSITORY / "zensical.toml").read_text()
    named = set(re.findall(r'"([\w/]+\.md)"', text))
    assert {f"docs/{path.name}" for path in REPOSITORY.glob("docs/*.md")} <= named


def test_the_equations_name_every_model():
    registry.load_builtins()
    text = (REPOSITORY / "docs/equations.md").read_text()
    ours = {entry.name for entry in registry.entries("model") if entry.package == "vaeflow"}
    assert {name for name in ours if f"`{name}`" not in text} == set()


@pytest.mark.long
@pytest.mark.slow
def test_the_reference_has_what_a_module_makes_public():
    pages = dict(reference.pages(REPOSITORY))
    assert "::: vaeflow.models.vae.VAE\n" in pages["vaeflow_models.md"]
    assert "::: vaeflow.metrics.fidelity.frechet_distance.FrechetDistance\n" in pages["vaeflow_metrics.md"]
    assert "::: vaeflow.commands.python.train\n" in pages["vaeflow.md"]
    assert not re.search(r"\._|\.[A-Z_]+_MODULES", "".join(pages.values()))


@pytest.fixture(scope="module")
def site():
    """The pages of the built site."""
    subprocess.run([sys.executable, "-m", "docs.build"], cwd=REPOSITORY, check=True, capture_output=True)
    return sorted(SITE.rglob("*.html"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(site):
    assert len(site) > 50
    wrong = []
    for path in site:
        page = read(path)
        wrong += [f"{path} loads {target}" for target in page.loaded if re.match(r"(\w+:)?//", target)]
        for target in [*page.followed, *page.loaded]:
            parts = urllib.parse.urlsplit(target)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            found = path.parent / urllib.parse.unquote(parts.path) if parts.path else path
            found = found / "index.html" if found.is_dir() else found
            if not found.exists():
                wrong.append(f"{path.relative_to(SITE)}: {target} is no file")
            elif found.suffix == ".html" and urllib.parse.unquote(parts.fragment) not in read(found).anchors:
                wrong.append(f"{path.relative_to(SITE)}: {target} is no anchor")
    for path in SITE.rglob("*.css"):
        loaded = re.findall(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""", path.read_text("utf-8"))
        wrong += [f"{path} loads {target}" for target in loaded]
    assert wrong == []
    assert "math" in read(SITE / "docs/equations.html").names
    assert "::: vaeflow" not in (SITE / "reference/vaeflow_models.html").read_text("utf-8")
