"""`vaeflow push` and `vaeflow pull`, with the real client of the hub and a stand-in for the hub."""

import json
import os

import pytest
from huggingface_hub import constants

from tests.fixtures import hub_server, hubs
from vaeflow.commands import command_line
from vaeflow.commands.programs import pull, push

# Its own, in the upload of large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

DATA = f"checkpoints/step-{hubs.STEP:08d}/variables.data-00000-of-00001"


@pytest.fixture
def hub(tmp_path):
    with hubs.connected(tmp_path) as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    return hubs.work_folder(tmp_path / "run")


@pytest.fixture
def run(capsys):
    """Runs a command in this process; returns its exit code, what it printed, and its one line of error."""

    def call(command, *arguments):
        code = command_line.main(command.COMMAND, list(arguments))
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line.startswith("vaeflow ")]
        assert len(lines) == (code != 0), captured.err
        return code, captured.out, lines[0] if lines else ""

    return call


@pytest.fixture
def pushed(run, folder):
    def call(*flags):
        return run(push, f"--workdir={folder}", f"--repo={hubs.NAME}", *flags)

    return call


@pytest.fixture
def pulled(run, tmp_path):
    def call(*flags, to="theirs"):
        return run(pull, f"--repo={hubs.NAME}", f"--to={tmp_path / to}", *flags)

    return call


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_what_is_pushed_comes_back(hub, folder, pushed, pulled, tmp_path):
    code, out, _ = pushed("--create", "--license=apache-2.0")
    assert code == 0
    commit = hub.repositories[hubs.NAME].branches["main"]
    assert f'vaeflow.load("hf://{hubs.NAME}@{commit}")' in out
    assert pulled()[0] == 0
    theirs, ours = contents(tmp_path / "theirs"), contents(folder)
    for name in (DATA, "export/model.keras", "export/saved_model/saved_model.pb", "data.json"):
        assert theirs[name] == ours[name]
    assert set(theirs) - set(ours) == {"vaeflow.json"}
    left = {"export/notes.txt", "operative_config.gin", "stacks.txt", ".lock"}
    assert set(ours) - set(theirs) == left
    assert b"license: apache-2.0" in theirs["export/README.md"]
    assert not any(path.is_symlink() for path in (tmp_path / "theirs").rglob("*"))


def test_a_push_is_one_commit(hub, pushed):
    pushed("--create", "--message=Mine")
    assert len(hub.repositories[hubs.NAME].commits) == 2  # The hub's own, and the push.
    assert [path for method, _, path, _ in hub.requests if "/commit/" in path] == [
        f"/api/models/{hubs.NAME}/commit/main"
    ]


@pytest.mark.long
def test_a_push_that_fails_leaves_the_repository_as_it_was(hub, pushed):
    pushed("--create")
    before = hub.repositories[hubs.NAME].files()
    hub.failing[f"/api/models/{hubs.NAME}/commit"] = 503
    code, _, error = pushed("--license=mit")
    assert code == 4
    assert f"the hub answered HTTP 503 for hf://{hubs.NAME}; try again later" in error
    assert hub.repositories[hubs.NAME].files() == before


@pytest.mark.long
def test_a_push_replaces_what_was_pushed_before_and_nothing_else(hub, folder, pushed):
    pushed("--create")
    hub.repositories[hubs.NAME].change(LICENSE=b"own", export__onnx__encode=b"\0old", LOG=b"x")
    assert pushed()[0] == 0
    files = hub.repositories[hubs.NAME].files()
    assert "export/onnx/encode" not in files
    assert {"LICENSE", "LOG", ".gitattributes"} <= set(files)
    named = json.loads(files["vaeflow.json"])["files"]
    assert set(files) == {*named, "vaeflow.json", "LICENSE", "LOG", ".gitattributes"}


@pytest.mark.long
def test_a_branch_of_its_own(hub, pushed, pulled):
    pushed("--create")
    code, _, error = pushed("--revision=wider")
    assert code == 2
    assert "has no revision 'wider'" in error
    assert "add --create to make a branch" in error
    assert pushed("--revision=wider", "--create", "--license=mit")[0] == 0
    assert b"license: mit" not in hub.repositories[hubs.NAME].files()["README.md"]
    assert b"license: mit" in hub.repositories[hubs.NAME].files("wider")["README.md"]
    assert pulled("--revision=wider")[0] == 0


def test_a_private_repository(hub, pushed):
    assert pushed("--create", "--private")[0] == 0
    assert hub.repositories[hubs.NAME].private


def test_a_public_repository_does_not_become_private(hub, pushed):
    pushed("--create")
    code, _, error = pushed("--create", "--private", "--license=mit")
    assert code == 2
    assert "exists already, and is public; nothing was pushed" in error
    assert len(hub.repositories[hubs.NAME].commits) == 2


def test_private_without_create(hub, pushed):
    code, _, error = pushed("--private")
    assert code == 2
    assert "--private is for a new repository" in error
    assert hub.requests == []


def test_a_repository_that_does_not_exist(hub, pushed, pulled):
    code, _, error = pushed()
    assert code == 2
    assert f"the hub shows no repository {hubs.NAME}; check the name; add --create to make it" in error
    assert pulled()[0] == 2


@pytest.mark.parametrize("flags", [(), ("--create",)])
def test_without_the_right_to_write(hub, pushed, monkeypatch, flags):
    pushed("--create")
    monkeypatch.setenv("HF_TOKEN", hub_server.READER)
    code, _, error = pushed("--license=mit", *flags)
    assert code == 2
    assert "the hub refuses access to" in error
    assert "HTTP 403: Forbidden: you don't have the rights" in error
    assert "with a token that may write to it" in error
    assert hub_server.READER not in error


def test_a_licence_that_the_hub_does_not_know(hub, pushed):
    code, _, error = pushed("--create", "--license=no-such")
    assert code == 2
    assert (
        'the hub refuses the model card: Invalid metadata in README.md. - "license" must be one of' in error
    )


@pytest.mark.long
def test_a_gitignore_of_the_repository(hub, pushed):
    pushed("--create")
    hub.repositories[hubs.NAME].change(**{".gitignore": b"*.keras"})
    code, _, error = pushed("--license=mit")
    assert code == 2
    assert "has a .gitignore" in error


@pytest.mark.long
def test_offline(hub, pushed, pulled, monkeypatch):
    pushed("--create")
    pulled()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pulled(to="again")[0] == 0
    code, _, error = pushed("--license=mit")
    assert code == 4
    assert "HF_HUB_OFFLINE forbids to reach the hub; do the same without that variable" in error


@pytest.mark.parametrize("changes", [{DATA.replace("/", "__"): b"\0other"}, {DATA.replace("/", "__"): None}])
def test_a_repository_that_was_changed_is_not_pulled(hub, pushed, pulled, tmp_path, changes):
    pushed("--create")
    hub.repositories[hubs.NAME].change(**changes)
    code, _, error = pulled()
    assert code == 4
    assert DATA in error
    assert "nothing of it was used" in error
    assert not (tmp_path / "theirs").exists()
    assert not list(tmp_path.glob(".unfinished*"))


@pytest.mark.long
def test_what_the_manifest_does_not_name_is_not_pulled(hub, pushed, pulled, tmp_path):
    pushed("--create")
    hub.repositories[hubs.NAME].change(**{"evil.py": b"raise SystemExit(1)"})
    assert pulled()[0] == 0
    assert "evil.py" not in contents(tmp_path / "theirs")


@pytest.mark.long
def test_a_folder_with_files_is_refused(hub, pushed, pulled, tmp_path):
    pushed("--create")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    assert pulled()[0] == 0  # It was empty.
    for name in ("theirs", "link", "theirs/config.gin"):
        code, _, error = pulled(to=name)
        assert code == 2
        assert "exists already; choose a new folder" in error


@pytest.mark.long
def test_folders_around_the_new_one_are_made(hub, pushed, pulled, tmp_path):
    pushed("--create")
    assert pulled(to="a/b/lr=[1e-3]*")[0] == 0
    assert (tmp_path / "a/b/lr=[1e-3]*/config.gin").exists()


@pytest.mark.long
def test_a_pulled_folder_can_be_pushed_again(hub, run, pushed, pulled, tmp_path):
    pushed("--create", "--license=mit")
    first = hub.repositories[hubs.NAME].files()
    pulled()
    assert run(push, f"--workdir={tmp_path / 'theirs'}", "--repo=other/tiny", "--create")[0] == 0
    again = hub.repositories["other/tiny"].files()
    assert set(again) == set(first)
    assert b"license: mit" in again["README.md"]


@pytest.mark.parametrize(
    ("command", "flags", "expected"),
    [
        (push, [], "give --workdir=<the folder of a run> and --repo=<owner/name>"),
        (push, ["--repo=a/b"], "give --workdir=<the folder of a run> and --repo=<owner/name>"),
        (pull, ["--repo=a/b"], "give --repo=<owner/name> and --to=<a new folder>"),
        (pull, ["--repo=b", "--to=x"], "--repo=b: 'b' is no repository of models"),
        (pull, ["--repo=datasets/a/b", "--to=x"], "is no repository of models"),
        (pull, ["--repo=a/b", "--to=x", "--revision=../y"], "--revision=../y: '../y' is no revision"),
        (push, ["--repo=a/b", "--workdir=/nowhere"], "--workdir=/nowhere is not the work folder of a run"),
        (pull, ["--repo=a/b", "--to=s3://x"], "s3:// is not for a file of this machine"),
    ],
)
def test_flags_that_are_refused(run, command, flags, expected):
    code, _, error = run(command, *flags)
    assert code == 2
    assert expected in error


@pytest.mark.parametrize("command", [push, pull])
def test_without_the_extra(run, monkeypatch, folder, command, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    flags = [f"--workdir={folder}"] if command is push else [f"--to={tmp_path}/x"]
    code, _, error = run(command, "--repo=a/b", *flags)
    assert code == 2
    assert error.endswith("the hub needs huggingface_hub; run pip install 'vaeflow[hub]'")


@pytest.mark.long
def test_the_token_is_neither_printed_nor_kept(hub, pushed, pulled, tmp_path):
    printed = "".join(map(str, [pushed("--create"), pulled()]))
    assert os.environ["HF_TOKEN"] == hub_server.WRITER
    assert hub_server.WRITER not in printed
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or hub_server.WRITER.encode() not in path.read_bytes()
    for content in hub.repositories[hubs.NAME].files().values():
        assert hub_server.WRITER.encode() not in content
