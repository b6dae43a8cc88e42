"""Builds the site of the documentation, into build/site.

    python -m docs.build

The pages are Markdown files of the repository, and link to other files of it. They are gathered in build/docs
with the folders they are in. What they link to besides pages is shown too: a picture as it is, a folder as a
list of its files, a program or gin file as a page with its text. zensical makes HTML of it, as zensical.toml
says. Nothing is loaded from the network, neither here nor by the pages.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Literal

from latex2mathml.converter import convert

from docs import reference

REPOSITORY = pathlib.Path(__file__).parents[1]
GATHERED = pathlib.Path("build/docs")
SITE = pathlib.Path("build/site")
PAGES = ("*.md", "docs/*.md", "examples/*/README.md")
# The language of a text file's highlighting; files of other kinds are copied.
LANGUAGES = {
    ".cff": "yaml",
    ".gin": "python",
    ".py": "python",
    ".sbatch": "bash",
    ".toml": "toml",
    ".yaml": "yaml",
}
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Of a link whose text is the name of a page, the text too.
_LINK = re.compile(r"(?:(?<=\[)([\w/.]+\.md))?(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_DISPLAYED = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"\$`([^`]+)`\$")
_BEFORE_LIST = re.compile(r"^(?![-|] |\d+\. |\s|$)(.+)\n(?=(?:- |\d+\. ))", re.MULTILINE)


def gather(folder: pathlib.Path) -> None:
    """Writes the sources of the site: the pages, what they link to, and the reference.

    Args:
      folder: does not exist, or is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages = {path for pattern in PAGES for path in REPOSITORY.glob(pattern)}
    todo, done = sorted(pages | {REPOSITORY / "docs/site/style.css"}), set()
    while todo:
        path = todo.pop()
        if path in done:
            continue
        done.add(path)
        place = folder / _place(path.relative_to(REPOSITORY))
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix == ".md":
            text, linked = _as_page(path)
            place.write_text(text, encoding="utf-8")
            todo += linked
        else:
            shutil.copyfile(path, place)
    for name, text in reference.pages(REPOSITORY):
        place = folder / "reference" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def _place(path: pathlib.Path) -> pathlib.Path:
    """Where the site has a file or folder of the repository."""
    if (REPOSITORY / path).is_dir():
        return path / "index.md"
    if path.name == "README.md":
        return path.with_name("index.md")
    return path.with_name(f"{path.name}.md") if _is_text(path) else path


def _is_text(path: pathlib.Path) -> bool:
    return path.suffix in LANGUAGES or path.name == "Dockerfile"


def _as_page(path: pathlib.Path) -> tuple[str, list[pathlib.Path]]:
    """Returns a page of Markdown, and the files and folders that it links to."""
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if not each.name.startswith((".", "__")))
        named = path / "README.md"
        if named in files:
            return _as_page(named)
        lines = [f"- [`{each.name}`]({each.name})" for each in files]
        text = "\n".join([f"# `{path.relative_to(REPOSITORY)}/`", "", *lines, ""])
    elif _is_text(path):
        language = LANGUAGES.get(path.suffix, "docker")
        return f"# `{path.relative_to(REPOSITORY)}`\n\n```{language}\n{path.read_text('utf-8')}```\n", []
    else:
        text = path.read_text("utf-8")
    return with_links_and_mathematics(text, path if path.is_dir() else path.parent)


def with_links_and_mathematics(text: str, folder: pathlib.Path) -> tuple[str, list[pathlib.Path]]:
    """Returns a page whose links lead to pages of the site, and whose equations are MathML.

    Args:
      text: the page, with equations in TeX as GitHub and GitLab have them: blocks of the language `math`, and
        `` $`…`$ `` in a line.
      folder: the folder that links start from.

    Returns:
      The text, and the files and folders of the repository that it links to.

    Raises:
      SystemExit: a link leads to a file that does not exist.
    """
    linked: list[pathlib.Path] = []

    def redirect(match: re.Match[str]) -> str:
        name, before, target, after = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = pathlib.Path(os.path.normpath(folder / target))
        if not path.exists():
            raise SystemExit(f"a page in {folder} links to {target}, which does not exist")
        linked.append(path)
        place = REPOSITORY / _place(path.relative_to(REPOSITORY))
        title = _TITLE.search(path.read_text("utf-8")) if name else None
        shown = title[1] if title else name or ""
        return shown + before + pathlib.Path(os.path.relpath(place, folder)).as_posix() + after

    def prose(part: str) -> str:
        # In a span, since Python-Markdown takes `math` at the beginning of a line for a paragraph.
        part = _INLINE.sub(lambda match: f"<span>{_equation(match[1])}</span>", part)
        # Python-Markdown begins a list only after an empty line.
        return _LINK.sub(redirect, _BEFORE_LIST.sub(r"\1\n\n", part))

    text = _DISPLAYED.sub(lambda match: _centred(match[1]), text)
    return _outside_fences(text, prose), linked


def _centred(equations: str) -> str:
    """The equations of a block as MathML, one below the other; an empty line separates two."""
    parts = [_equation(part.replace("\n", " ").strip(), "block") for part in equations.split("\n\n")]
    return "".join(f'<div class="equation">{part}</div>\n\n' for part in parts)


def _equation(tex: str, display: Literal["block", "inline"] = "inline") -> str:
    # The space that TeX puts after the name of a function.
    return convert(tex, display=display).replace(
        "<mi>log</mi>", '<mi>log</mi><mspace width="0.17em"></mspace>'
    )


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def main(arguments: Sequence[str]) -> int:
    """Builds the site; returns the exit code of zensical."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(arguments)
    gather(REPOSITORY / GATHERED)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
