"""Every text file is UTF-8, whatever the locale: no call leaves the encoding to it."""

import ast
import os
import subprocess
import sys

import pytest

from tests.fixtures.commands import REPOSITORY

FILES = [
    path
    for folder in ("vaeflow", "launch", "benchmarks", "examples")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]
LATIN_1 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def is_true(call, name):
    return any(each.arg == name and getattr(each.value, "value", None) is True for each in call.keywords)


def leaves_encoding_to_locale(call):
    """Whether a call opens, reads or writes text without saying how it is encoded."""
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    mode = next((each.value for each in call.keywords if each.arg == "mode"), None)
    if name in ("open", "fdopen") and getattr(getattr(call.func, "value", None), "id", None) != "os":
        position = 1 if isinstance(call.func, ast.Name) else 0
        mode = call.args[position] if len(call.args) > position else mode
        # Other arguments are no modes: `Image.open(file)`, `archive.open(member)`.
        opens_text = mode is None or (isinstance(mode, ast.Constant) and "b" not in str(mode.value))
    elif name == "fdopen":
        opens_text = "b" not in call.args[1].value
    elif name in ("run", "Popen", "check_output"):
        opens_text = is_true(call, "text") or is_true(call, "universal_newlines")
    else:
        opens_text = len(call.args) == {"read_text": 0, "write_text": 1}.get(name)
    return opens_text and not any(each.arg == "encoding" for each in call.keywords)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open(path)", True),
        ("open(path, 'w')", True),
        ("open(path, 'rb')", False),
        ("path.open()", True),
        ("path.open('a')", True),
        ("path.open('wb')", False),
        ("os.fdopen(descriptor, 'w')", True),
        ("os.fdopen(descriptor, 'wb')", False),
        ("os.open(path, flags)", False),
        ("Image.open(file)", False),
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("files.write_text(path, text)", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, text=True, encoding='utf-8')", False),
        ("subprocess.run(command)", False),
    ],
)
def test_the_check_knows_the_calls(code, expected):
    assert leaves_encoding_to_locale(ast.parse(code).body[0].value) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_call_names_the_encoding(path):
    calls = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    assert [call.lineno for call in calls if leaves_encoding_to_locale(call)] == []


PRINT_NAMES = """
import os, sys
sys.path.insert(0, sys.argv[1])
from vaeflow.runs import interpreter
environment = interpreter.with_utf8(dict(os.environ))
print(environment.get("PYTHONUTF8"), environment.get("PYTHONIOENCODING"))
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (LATIN_1, "1 ascii:replace"),
        (LATIN_1 | {"PYTHONIOENCODING": "latin-1"}, "1 latin-1"),
        ({}, "None None"),
    ],
)
def test_where_names_are_not_utf8_python_starts_again_in_its_utf8_mode(variables, expected):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_NAMES, REPOSITORY],
        env=inherited | variables,
        capture_output=True,
        encoding="ascii",
    )
    assert done.stdout.strip().replace("ANSI_X3.4-1968", "ascii").lower() == expected.lower()


@pytest.mark.processes
@pytest.mark.parametrize("variables", [LATIN_1, {"PYTHONIOENCODING": "ascii"}])
def test_help_and_messages_are_written_where_the_terminal_lacks_their_characters(tmp_path, variables):
    for arguments, code in ((["train", "--help"], 0), (["train", "--gin_file=größe.gin"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "vaeflow", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables,
            capture_output=True,
        )
        assert done.returncode == code
        assert b"Traceback" not in done.stderr
        assert (done.stdout + done.stderr).isascii()
