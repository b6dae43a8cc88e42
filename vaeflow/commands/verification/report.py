"""The report of a verification: printed line by line, and written as JSON and Markdown for a reviewer."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vaeflow.commands.verification.checks import DIFFERENT, NOT_VERIFIED, VERDICTS, Check, shown_value
from vaeflow.commands.verification.versions import Sides
from vaeflow.runs.escaping import markdown, printable

NAME = "verification"
_TITLES = {
    "files": "Files",
    "versions": "Code, versions, machine",
    "data": "Data",
    "checkpoints": "Checkpoints",
    "log": "Log",
    "steps": "Repeated steps",
    "result": "Result",
    "evaluations": "Evaluations",
}
_SIDES = ("python", "platform", "git_revision")
_FACTS = ("model", "data", "devices", "batch", "compile mode", "resumed")
_WIDTH = max(map(len, VERDICTS))


def line(check: Check) -> str:
    """Returns the line of a check on the terminal."""
    return printable(f"{check.verdict:<{_WIDTH}}  {check.subject}: {check.remark}")


def summary(checks: Sequence[Check]) -> str:
    """Says in one sentence how all checks came out."""
    counts = collections.Counter(check.verdict for check in checks)
    parts = [
        f"{counts[verdict]} {_as_verb(verdict, counts[verdict])}" for verdict in VERDICTS if counts[verdict]
    ]
    return f"of {len(checks)} checks " + ", ".join(parts)


def as_json(
    verdict: str, checks: Iterable[Check], both: Sides, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the content of `verification.json`.

    Args:
      verdict: of all checks.
      checks: in the order in which they were made.
      both: code, versions and machine of the run, and of this process.
      settings: how it was verified.
    """
    return {
        "verdict": verdict,
        "settings": dict(settings),
        "run": {name: value for name, value in both.recorded.items() if name != "command"},
        "here": {name: value for name, value in both.here.items() if name != "command"},
        "checks": [check.to_json() for check in checks],
    }


def as_markdown(verdict: str, checks: Sequence[Check], both: Sides, settings: Mapping[str, Any]) -> str:
    """Returns the text of `verification.md`; arguments as for `as_json`."""
    lines = ["# Verification", "", f"**{verdict}**: {summary(checks)}.", ""]
    facts = {name: both.recorded[name] for name in _FACTS if name in both.recorded}
    lines += [
        f"- {markdown(name)}: {markdown(str(value))}"
        for name, value in {**facts, **settings}.items()
        if value is not None
    ]
    for title, verdicts in (("What differs", {DIFFERENT}), ("What is not verified", {NOT_VERIFIED})):
        chosen = [check for check in checks if check.verdict in verdicts]
        if chosen:
            lines += ["", f"## {title}", ""]
            lines += [f"- {markdown(check.subject)}: {markdown(check.remark)}" for check in chosen]
    lines += ["", "## The run, and this verification", "", "| | the run | here |", "|---|---|---|"]
    lines += [_row(name, one, other) for name, one, other in _sides(both)]
    for part, title in _TITLES.items():
        chosen = [check for check in checks if check.part == part]
        if chosen:
            lines += [
                "",
                f"## {title}",
                "",
                "| verdict | what was compared | how it came out |",
                "|---|---|---|",
            ]
            lines += [_row(check.verdict, check.subject, check.remark) for check in chosen]
    lines += ["", "## Values"]
    for check in checks:
        if check.part in ("steps", "evaluations") and check.values:
            lines += ["", f"### {markdown(check.subject)}", ""]
            lines += ["| value | recorded | found | deviation | tolerance |", "|---|---|---|---|---|"]
            lines += [_row(*_cells(value)) for value in check.values]
    return "\n".join(lines) + "\n"


def _sides(both: Sides) -> Iterable[tuple[str, Any, Any]]:
    for name in _SIDES:
        yield name, both.recorded.get(name), both.here.get(name)
    for group in ("packages", "machine", "code_sha256"):
        for value in both.pairs(group):
            name = value.name if group != "code_sha256" else f"SHA-256 of {value.name}"
            yield name, value.recorded, value.found


def _cells(value: Any) -> tuple[Any, ...]:
    deviation = "" if value.deviation is None else f"{value.deviation:.1e}"
    allowed = f"{value.tolerance:.1e}" if value.tolerance else "equal"
    return value.name, value.recorded, value.found, deviation, allowed


def _row(*cells: Any) -> str:
    return "| " + " | ".join(markdown(shown_value(cell)) for cell in cells) + " |"


def _as_verb(verdict: str, count: int) -> str:
    if verdict == DIFFERENT:
        return "differs" if count == 1 else "differ"
    return f"{'is' if count == 1 else 'are'} {verdict}"
