"""Compares code, versions and machine of a run with those here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vaeflow.commands.verification.checks import DIFFERENT, NOT_VERIFIED, VERIFIED, Check, Value, described
from vaeflow.runs import provenance

_PART = "versions"
_ACCEPTED = "accepted with --other_versions"
_EDITED = "+changes"


class Sides(NamedTuple):
    """Code, versions and machine.

    Attributes:
      recorded: what `environment.json` of the run says; empty where it says nothing.
      here: the same of this process.
    """

    recorded: Mapping[str, Any]
    here: Mapping[str, Any]

    def pairs(self, name: str) -> list[Value]:
        """Returns what both hold in an object, e.g. `packages`."""
        one, other = self.recorded.get(name) or {}, self.here.get(name) or {}
        return [Value(key, one.get(key), other.get(key)) for key in sorted(one.keys() | other.keys())]


def sides(recorded: Mapping[str, Any], plugins: Sequence[str]) -> Sides:
    """Describes both sides; `plugins` are the modules that were loaded here."""
    code = {"plugins": list(plugins), "code_sha256": provenance.code_digests(plugins)}
    return Sides(recorded, provenance.describe({}) | code)


def check(both: Sides, accept_others: bool) -> Iterator[Check]:
    """Compares code, packages, plug-ins and machine.

    Args:
      both: the two sides.
      accept_others: whether another version is only said, not counted as a difference.
    """
    if not both.recorded:
        yield Check(
            _PART, "environment.json", NOT_VERIFIED, "there is none that says what the run was made with"
        )
        return
    yield _judged("the code of vaeflow", *_of_code(both), accept_others)
    packages = [value for value in both.pairs("packages") if value.name != "vaeflow"]
    packages.append(Value("python", both.recorded.get("python"), both.here["python"]))
    yield _judged("the versions of packages", _verdict(packages), packages, accept_others)
    for name, verdict, values in _of_plugins(both):
        yield _judged(f"the plug-in {name}", verdict, values, accept_others)
    machine = _of_machine(both)
    same = all(value.is_same for value in machine)
    remark = (
        "the same machine" if same else f"another machine: {described([v for v in machine if not v.is_same])}"
    )
    yield Check(_PART, "the machine", VERIFIED if same else NOT_VERIFIED, remark, tuple(machine))


def expects_bits(both: Sides) -> bool:
    """Whether a repetition here must give the same bits: with this code, these versions, this machine."""
    values = [*both.pairs("packages"), *_of_machine(both)]
    values.append(Value("python", both.recorded.get("python"), both.here["python"]))
    plugins = [verdict for _, verdict, _ in _of_plugins(both)]
    return bool(both.recorded) and all(
        [all(value.is_same for value in values), _of_code(both)[0] == VERIFIED, DIFFERENT not in plugins]
    )


def _of_code(both: Sides) -> tuple[str, list[Value]]:
    """Compares the files of vaeflow, or where the run did not record their digest, the revision."""
    version = [value for value in both.pairs("packages") if value.name == "vaeflow"]
    revision = Value("git_revision", both.recorded.get("git_revision"), both.here["git_revision"])
    digests = [
        Value("SHA-256", value.recorded, value.found)
        for value in both.pairs("code_sha256")
        if value.name == "vaeflow"
    ]
    if digests and digests[0].recorded is not None:
        verdict = _verdict(digests)
        return verdict, [*digests, *version, revision] if verdict == DIFFERENT else digests
    values = [*version, revision]
    if None in (revision.recorded, revision.found) or _EDITED in f"{revision.recorded}{revision.found}":
        return (NOT_VERIFIED if _verdict(version) == VERIFIED else DIFFERENT), values
    return _verdict(values), values


def _of_plugins(both: Sides) -> Iterator[tuple[str, str, list[Value]]]:
    """Yields the name of each plug-in of the run or loaded here, the verdict, and what was compared."""
    digests = {value.name: value for value in both.pairs("code_sha256")}
    recorded, here = both.recorded.get("plugins") or [], both.here["plugins"]
    for name in dict.fromkeys([*map(str, recorded), *here]):
        value = digests.get(name, Value(name, None, None))
        known = value.recorded is not None and value.found is not None
        yield (
            name,
            (_verdict([value]) if known else NOT_VERIFIED),
            [Value("SHA-256", value.recorded, value.found)],
        )


def _of_machine(both: Sides) -> list[Value]:
    """Compares what numbers may depend on: the processor, its cores, GPUs, and the system."""
    values = [value for value in both.pairs("machine") if value.name != "memory_gib"]
    return [*values, Value("platform", both.recorded.get("platform"), both.here["platform"])]


def _verdict(values: Sequence[Value]) -> str:
    return VERIFIED if all(value.is_same for value in values) else DIFFERENT


def _judged(subject: str, verdict: str, values: Sequence[Value], accept_others: bool) -> Check:
    """Makes a check, which says of another version that it is accepted where that is so."""
    if verdict == VERIFIED:
        return Check(_PART, subject, verdict, "the same", tuple(values))
    remark = (
        described([value for value in values if not value.is_same])
        or "the tree was edited, and the run did not record the digest of its files"
    )
    if verdict == DIFFERENT and accept_others:
        return Check(_PART, subject, NOT_VERIFIED, f"{remark} ({_ACCEPTED})", tuple(values))
    return Check(_PART, subject, verdict, remark, tuple(values))
