"""Code, packages, plug-ins and machine of a run against those here: what differs is said, or accepted."""

import copy

import pytest

from tests.fixtures.recorded_runs import ENVIRONMENT
from vaeflow.commands.verification import versions
from vaeflow.commands.verification.checks import DIFFERENT, NOT_VERIFIED, VERIFIED
from vaeflow.commands.verification.versions import Sides
from vaeflow.runs import provenance


def changed(path, value):
    """The environment with one value changed; `path` is `name` or `name/inner`."""
    environment = copy.deepcopy(ENVIRONMENT)
    name, _, inner = path.partition("/")
    if inner:
        environment[name][inner] = value
    else:
        environment[name] = value
    return environment


def verdicts(recorded, here=ENVIRONMENT, accept_others=False):
    return {check.subject: check.verdict for check in versions.check(Sides(recorded, here), accept_others)}


CODE, PACKAGES, PLUGIN, MACHINE = SUBJECTS = (
    "the code of vaeflow", "the versions of packages", "the plug-in own.blocks", "the machine",
)  # fmt: skip


def test_the_same_is_verified_and_must_give_the_same_bits():
    assert verdicts(ENVIRONMENT) == dict.fromkeys(SUBJECTS, VERIFIED)
    assert versions.expects_bits(Sides(ENVIRONMENT, ENVIRONMENT))


@pytest.mark.parametrize(
    ("path", "value", "subject"),
    [
        ("code_sha256/vaeflow", "3" * 64, CODE),
        ("packages/numpy", "1.9", PACKAGES),
        ("packages/more", "1.9", PACKAGES),
        ("python", "3.12.0", PACKAGES),
        ("code_sha256/own.blocks", "3" * 64, PLUGIN),
    ],
)
def test_another_version_differs_unless_it_is_accepted(path, value, subject):
    recorded = changed(path, value)
    assert verdicts(recorded) == dict.fromkeys(SUBJECTS, VERIFIED) | {subject: DIFFERENT}
    accepted = verdicts(recorded, accept_others=True)
    assert accepted == dict.fromkeys(SUBJECTS, VERIFIED) | {subject: NOT_VERIFIED}
    assert not versions.expects_bits(Sides(recorded, ENVIRONMENT))


@pytest.mark.parametrize(
    ("path", "value"),
    [("machine/processor", "b"), ("machine/cores", 4), ("machine/gpus", ["H100"]), ("platform", "Linux 7")],
)
def test_another_machine_is_no_difference_but_its_bits_may_be_others(path, value):
    recorded = changed(path, value)
    assert verdicts(recorded) == dict.fromkeys(SUBJECTS, VERIFIED) | {MACHINE: NOT_VERIFIED}
    assert not versions.expects_bits(Sides(recorded, ENVIRONMENT))


def test_the_memory_of_a_machine_does_not_matter():
    recorded = changed("machine/memory_gib", 16.0)
    assert verdicts(recorded)[MACHINE] == VERIFIED
    assert versions.expects_bits(Sides(recorded, ENVIRONMENT))


def test_another_revision_with_the_same_files_is_the_same_code():
    assert verdicts(changed("git_revision", "4567"))[CODE] == VERIFIED


@pytest.mark.parametrize(
    ("recorded", "here", "expected"),
    [
        ("0123", "0123", VERIFIED),
        ("0123", "4567", DIFFERENT),
        ("0123+changes", "0123+changes", NOT_VERIFIED),
        (None, "0123", NOT_VERIFIED),
    ],
)
def test_without_digests_the_revision_tells(recorded, here, expected):
    """As older versions wrote it."""
    old = {name: value for name, value in ENVIRONMENT.items() if name != "code_sha256"}
    both = old | {"git_revision": recorded}, ENVIRONMENT | {"git_revision": here}
    assert verdicts(*both)[CODE] == expected
    assert versions.expects_bits(Sides(*both)) == (expected == VERIFIED)


def test_another_version_of_the_package_tells_too():
    old = {name: value for name, value in changed("packages/vaeflow", "0.9").items() if name != "code_sha256"}
    assert verdicts(old)[CODE] == DIFFERENT


def test_a_plugin_of_the_run_that_is_not_loaded_here_is_not_verified():
    here = ENVIRONMENT | {"plugins": [], "code_sha256": {"vaeflow": "1" * 64}}
    assert verdicts(ENVIRONMENT, here)[PLUGIN] == NOT_VERIFIED


def test_a_run_that_does_not_say_what_it_was_made_with():
    assert verdicts({}) == {"environment.json": NOT_VERIFIED}
    assert not versions.expects_bits(Sides({}, ENVIRONMENT))


def test_the_digest_of_code_changes_with_a_name_and_with_content(tmp_path, monkeypatch):
    package = tmp_path / "vaeflow"
    (package / "inner").mkdir(parents=True)
    (package / "a.py").write_text("1")
    monkeypatch.setattr(provenance.interpreter, "vaeflow_folder", lambda: str(tmp_path))
    found = [provenance.code_digests([])["vaeflow"]]
    (package / "inner" / "b.py").write_text("2")
    found.append(provenance.code_digests([])["vaeflow"])
    (package / "inner" / "b.py").write_text("3")
    found.append(provenance.code_digests([])["vaeflow"])
    (package / "inner" / "b.py").rename(package / "b.py")
    found.append(provenance.code_digests([])["vaeflow"])
    assert len(set(found)) == 4
    (package / "notes.txt").write_text("no code")
    assert provenance.code_digests([])["vaeflow"] == found[-1]


def test_the_digest_of_a_plugin_is_that_of_its_own_file():
    found = provenance.code_digests(["tests.fixtures.recorded_runs", "not.imported"])
    assert set(found) == {"vaeflow", "tests.fixtures.recorded_runs"}
