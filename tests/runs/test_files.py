"""Files and folders that are whole or not there."""

import os
import stat
import subprocess
import sys

import pytest

from tests.fixtures.disk import full_disk
from vaeflow.errors import EnvironmentFailure
from vaeflow.runs import files

TOKEN = "0123456789abcdef"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_nothing_else_is_left(tmp_path):
    (tmp_path / "new").mkdir()
    files.write_text(tmp_path / "new" / "a.json", "é\n")
    assert (tmp_path / "new" / "a.json").read_bytes() == "é\n".encode()
    assert names(tmp_path / "new") == ["a.json"]


def test_a_reader_finds_the_old_content_until_the_new_is_whole(tmp_path):
    path = tmp_path / "a.json"
    files.write_text(path, "old")
    with files.writing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_exception_while_writing_leaves_the_old_file(tmp_path):
    files.write_text(tmp_path / "a.json", "old")

    def write_half():
        with files.writing(tmp_path / "a.json") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert (tmp_path / "a.json").read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path):
    files.write_text(tmp_path / "a.json", "old")
    refusal = (
        r"a\.json cannot be written \(File too large\); free some space, then run the same command again"
    )
    with full_disk(4), pytest.raises(EnvironmentFailure, match=refusal):
        files.write_text(tmp_path / "a.json", "x" * 100_000)
    assert (tmp_path / "a.json").read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_file_that_cannot_be_flushed_does_not_take_the_name(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(5, "Input/output error")

    files.write_text(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(EnvironmentFailure, match=r"a\.json cannot be written \(Input/output error\)"):
        files.write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"
    files.write_text(tmp_path / "a.json", "beat", durable=False)
    assert (tmp_path / "a.json").read_text() == "beat"


def test_a_folder_without_write_permission_is_named_with_what_to_do():
    error = files.failure(files.Path("run/a.json"), PermissionError(13, "Permission denied"))
    assert str(error).startswith(
        "run/a.json cannot be written (Permission denied); make the folder writable,"
    )


@pytest.mark.parametrize(
    ("make", "reason", "advice"),
    [
        (lambda path: path.mkdir(), "Is a directory", "move away what is in its place"),
        (lambda path: path.parent.joinpath("b").write_text(""), "Not a directory", "move away what"),
        (lambda path: None, "File name too long", "choose a shorter path"),
    ],
)
def test_what_is_in_the_way_is_not_a_full_disk(tmp_path, make, reason, advice):
    make(tmp_path / "a")
    name = {"Not a directory": "b/a", "File name too long": "a" * 300}.get(reason, "a")
    with pytest.raises(EnvironmentFailure) as caught:
        files.write_text(tmp_path / name, "text")
    assert f"cannot be written ({reason}); {advice}" in str(caught.value)


def test_an_error_of_tensorflow_is_cut_to_its_reason():
    error = files.failure(files.Path("run"), RuntimeError("{{node Save}} disk gone\n more"))
    assert str(error).startswith("run cannot be written (disk gone); free some space or check the disk,")


def test_an_error_of_tensorflow_with_a_path_has_the_advice_of_its_reason():
    message = "run/.unfinished-a/variables; No space left on device [Op:SaveV2]"
    error = files.failure(files.Path("run"), RuntimeError(message))
    assert str(error).startswith("run cannot be written (No space left on device); free some space, then")


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path, monkeypatch):
    """An open without O_EXCL writes through it."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: TOKEN)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link = tmp_path / f".unfinished-a.json-{TOKEN}"
    link.symlink_to(precious)
    with pytest.raises(EnvironmentFailure, match="File exists"):
        files.write_text(tmp_path / "a.json", "new")
    assert precious.read_text() == "mine"
    assert link.is_symlink()


def test_a_link_under_the_name_of_a_staging_folder_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: TOKEN)
    (tmp_path / "precious").mkdir()
    (tmp_path / f".unfinished-export-{TOKEN}").symlink_to(tmp_path / "precious")
    with (
        pytest.raises(EnvironmentFailure, match="export cannot be written"),
        files.staging(tmp_path, "export"),
    ):
        pytest.fail("the folder was taken")
    assert (tmp_path / "precious").is_dir()


def test_the_temporary_name_is_another_each_time(tmp_path):
    seen = set()
    for _ in range(3):
        with files.writing(tmp_path / "a.json"):
            seen.update(set(names(tmp_path)) - {"a.json"})
    assert len(seen) == 3


def test_a_link_under_the_final_name_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "a.json").symlink_to(tmp_path / "precious")
    files.write_text(tmp_path / "a.json", "new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "a.json").is_symlink()


@pytest.mark.processes
def test_the_permissions_are_those_of_any_new_file(tmp_path):
    program = "import os, sys, pathlib; os.umask(0o027); from vaeflow.runs import files; "
    program += "files.write_text(pathlib.Path(sys.argv[1]), '')"
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.json")], check=True)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    "name", [f".unfinished-b.json-{TOKEN}", ".unfinished-a.json-mine", ".unfinished-a.json"]
)
def test_files_of_others_are_left_alone(tmp_path, name):
    other = tmp_path / name
    other.write_text("theirs")
    files.write_text(tmp_path / "a.json", "new")
    assert other.read_text() == "theirs"


def test_remove_unfinished_takes_only_its_own_names(tmp_path):
    (tmp_path / f".unfinished-step-1-{TOKEN}" / "deep").mkdir(parents=True)
    (tmp_path / f".unfinished-a.json-{TOKEN}").write_text("half")
    (tmp_path / ".unfinished-mine").write_text("mine")
    files.remove_unfinished(tmp_path, folders=False)
    assert names(tmp_path) == [".unfinished-mine", f".unfinished-step-1-{TOKEN}"]
    files.remove_unfinished(tmp_path)
    assert names(tmp_path) == [".unfinished-mine"]


def test_a_staging_folder_vanishes_and_its_files_keep_their_final_names_in_errors(tmp_path):
    with (
        pytest.raises(EnvironmentFailure, match=rf"{tmp_path}/export/a\.json cannot be written \(File too"),
        files.staging(tmp_path, "export") as folder,
        full_disk(4),
    ):
        files.write_text(folder / "a.json", "x" * 100_000)
    assert names(tmp_path) == []


def test_an_error_of_the_system_in_a_staging_folder_names_the_folder(tmp_path):
    with (
        pytest.raises(EnvironmentFailure, match="export cannot be written \\(No space left on device\\)"),
        files.staging(tmp_path, "export"),
    ):
        raise OSError(28, "No space left on device")


def staged(tmp_path, content):
    """Moves a folder with one file to `tmp_path/export`."""
    with files.staging(tmp_path, "export") as folder:
        (folder / content).write_text(content)
        files.move(folder, tmp_path / "export")


def test_a_folder_replaces_the_one_before(tmp_path):
    staged(tmp_path, "old")
    staged(tmp_path, "new")
    assert names(tmp_path) == ["export"]
    assert names(tmp_path / "export") == ["new"]


def test_a_folder_that_cannot_be_moved_leaves_the_one_before(tmp_path, monkeypatch):
    staged(tmp_path, "old")
    rename = files.Path.rename

    def fails_once_the_old_is_aside(path, target):
        if path.name.startswith(".unfinished-export"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(files.Path, "rename", fails_once_the_old_is_aside)
    with pytest.raises(EnvironmentFailure, match="export cannot be written"):
        staged(tmp_path, "new")
    assert names(tmp_path) == ["export"]
    assert names(tmp_path / "export") == ["old"]


def test_a_link_to_a_folder_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    (tmp_path / "export").symlink_to(tmp_path / "elsewhere")
    staged(tmp_path, "new")
    assert names(tmp_path / "elsewhere") == ["mine"]
    assert names(tmp_path / "export") == ["new"]


def test_a_folder_is_flushed_before_it_takes_its_name(tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync

    def noted(descriptor):
        name = files.Path(f"/proc/self/fd/{descriptor}").readlink().name
        flushed.append(name.partition("-")[0])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    staged(tmp_path, "content")
    assert flushed == ["content", ".unfinished", tmp_path.name.partition("-")[0]]


def test_a_removed_folder_loses_its_name_first(tmp_path, monkeypatch):
    staged(tmp_path, "old")
    seen = []
    monkeypatch.setattr(files.shutil, "rmtree", lambda path, **more: seen.append(path))
    files.remove_folder(tmp_path / "export")
    assert not (tmp_path / "export").exists()
    assert names(seen[0]) == ["old"]


def test_a_folder_that_is_being_removed_cannot_take_its_final_name(tmp_path, monkeypatch):
    """A process that ends removes what its threads write: one of them would move what is left of it."""
    rmtree = files.shutil.rmtree

    def remove_late(path, **more):
        with pytest.raises(EnvironmentFailure):
            files.move(folder, tmp_path / "export")
        rmtree(path, **more)

    monkeypatch.setattr(files.shutil, "rmtree", remove_late)
    with files.staging(tmp_path, "export") as folder:
        (folder / "content").touch()
    assert names(tmp_path) == []
