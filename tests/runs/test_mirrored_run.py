"""The copy of a run in a remote folder: whole whenever it ends, of one run only, and fetched as it was."""

import dataclasses
import json
import shutil

import fsspec
import pytest

from tests.runs.test_checkpoints import DATA, INDEX, RECORD, box
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import mirrored_run
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.mirrored_run import MirroredRun, Superseded
from vaeflow.runs.remote_folder import RemoteFolder
from vaeflow.runs.workdir import WorkDir

CONFIGURATION = "train.seed = 0\n"


@dataclasses.dataclass
class Machine:
    """A machine with a work folder of the run, and the copy as it sees it."""

    folder: WorkDir
    remote: RemoteFolder
    mirrored: MirroredRun
    store: CheckpointStore

    def train(self, *steps):
        """Logs and saves steps, of which the newest two checkpoints are kept."""
        for step in steps:
            self.folder.append_metrics({"step": step, "train/loss": 1.0 / step})
            self.store.save(box(step), step)

    def problems(self):
        return {step: self.store.problem_with(step) for step in self.store.steps()}


@pytest.fixture(params=["memory", pytest.param("file", marks=pytest.mark.long)])
def url(request, tmp_path):
    """An object store, which keeps files whole, and a disk, on which they are renamed."""
    if request.param == "file":
        yield f"file://{tmp_path}/remote [1]*/run"
        return
    yield f"memory://{tmp_path.name}/run"
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.fixture
def machine(tmp_path, url):
    """Makes a `Machine` of a name; one of a known name goes on in its folder."""

    return lambda name: machine_in(tmp_path / name, url)


def machine_in(path, url):
    path.mkdir(exist_ok=True)
    folder, remote = WorkDir(path), RemoteFolder("Mirror.url", url)
    store = CheckpointStore(folder.checkpoints, keep=2, log_digest=lambda: folder.log_digest)
    (path / "config.gin").write_text(CONFIGURATION)
    return Machine(folder, remote, MirroredRun(folder, remote), store)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The work folder of a run at step 20."""
    made = machine_in(tmp_path_factory.mktemp("trained"), "memory://never")
    (made.folder.path / "tensorboard").mkdir()
    (made.folder.path / "tensorboard" / "events.1").write_text("old")
    made.train(10, 20)
    return made.folder.path


@pytest.fixture
def first(machine, trained, tmp_path):
    """A machine whose run, at step 20, is copied."""
    shutil.copytree(trained, tmp_path / "first")
    made = machine("first")
    made.folder.start_metrics(20, made.store.record(20)["log"])
    assert made.mirrored.fetch(CONFIGURATION, allow_change=False) is None
    made.mirrored.copy()
    return made


def contents(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_what_is_fetched_has_the_bytes_of_what_was_copied(first, machine):
    second = machine("second")
    assert first.mirrored.left() == []
    assert second.mirrored.fetch(CONFIGURATION, allow_change=False) == 20
    assert contents(second.folder.path) == contents(first.folder.path)
    assert second.problems() == {10: None, 20: None}


def test_what_the_work_folder_loses_goes_in_the_copy_too(first):
    (first.folder.path / "tensorboard" / "events.1").unlink()
    (first.folder.path / "tensorboard" / "events.2").write_text("new")
    first.train(30)
    assert first.mirrored.left() == ["metrics.jsonl", "tensorboard/events.2", "checkpoints/step-00000030"]
    first.mirrored.copy()
    assert {name.rpartition("/")[0] for name in first.remote.files()} == {
        "",
        "tensorboard",
        "checkpoints/step-00000020",
        "checkpoints/step-00000030",
    }
    assert "tensorboard/events.1" not in first.remote.files()
    assert first.mirrored.left() == []


def test_only_the_record_is_copied_again_when_more_becomes_known(first, monkeypatch):
    first.store.save(box(20), 20, {"evaluation/negative_elbo": 3.0})
    first.train(30)
    puts = []
    put = RemoteFolder.put
    monkeypatch.setattr(
        RemoteFolder, "put", lambda self, path, name: (puts.append(name), put(self, path, name))
    )
    first.mirrored.copy()
    assert {name.split("/")[1] for name in puts} == {"step-00000030"}
    record = json.loads(first.remote.read(f"checkpoints/step-00000020/{RECORD}"))
    assert record["metrics"] == {"evaluation/negative_elbo": 3.0}


@pytest.mark.slow
def test_a_copy_that_ends_at_any_moment_leaves_whole_checkpoints_with_their_log(first, machine, monkeypatch):
    """The log after the checkpoints, or the record before the variables, fails here."""
    first.train(30)
    (first.folder.path / "result.json").write_text(json.dumps({"step": 30}))
    fetched = []
    for last in range(100):
        done = []

        def acting(name, done=done, last=last):
            act = getattr(RemoteFolder, name)

            def counted(self, *arguments):
                if len(done) == last:
                    raise KeyboardInterrupt
                done.append(name)
                return act(self, *arguments)

            return counted

        with monkeypatch.context() as patch:
            for name in ("write", "put", "remove"):
                patch.setattr(RemoteFolder, name, acting(name))
            try:
                first.mirrored.copy()
            except KeyboardInterrupt:
                pass
            else:
                break
        first.mirrored = MirroredRun(first.folder, first.remote)  # As another start of the command.
        other = machine("other")
        fetched.append(other.mirrored.fetch(CONFIGURATION, allow_change=False))
        assert set(other.problems().values()) == {None}
        record = other.store.record(fetched[-1])
        assert len(other.folder.read_metrics()) >= record["log"].lines
        assert (other.folder.path / "result.json").exists() <= (fetched[-1] == 30)
        shutil.rmtree(other.folder.path)
    assert set(fetched) == {20, 30}
    assert fetched == sorted(fetched)


def test_a_torn_checkpoint_is_skipped_with_one_line_and_the_older_is_taken(first, machine, caplog):
    first.train(30)
    first.mirrored.copy()
    name = f"checkpoints/step-00000030/{DATA}"
    first.remote.write(name, first.remote.read(name)[:-1])
    first.remote.write(f"checkpoints/step-00000040/{INDEX}", b"begun")
    second = machine("second")
    assert second.mirrored.fetch(CONFIGURATION, allow_change=False) == 20
    assert second.store.steps() == [20]
    assert [record.getMessage() for record in caplog.records] == [
        f"skipped {second.remote}/checkpoints/step-00000030: {DATA} differs from what was written",
        f"skipped {second.remote}/checkpoints/step-00000040: it was not copied to its end",
    ]
    second.mirrored.copy()  # The copy of what is fetched, though it held a later step.
    assert "checkpoints/step-00000040" not in {name.rpartition("/")[0] for name in second.remote.files()}


def test_if_no_checkpoint_is_whole_nothing_is_fetched(first, machine):
    for step in (10, 20):
        first.remote.write(f"checkpoints/step-000000{step}/{INDEX}", b"torn")
    second = machine("second")
    with pytest.raises(EnvironmentFailure, match=r"none of the 2 checkpoints in .* is whole"):
        second.mirrored.fetch(CONFIGURATION, allow_change=False)
    assert sorted(contents(second.folder.path)) == ["config.gin"]


def test_a_run_that_never_finished_a_checkpoint_begins_anew_and_keeps_its_copy(machine):
    one, other = machine("one"), machine("other")
    assert one.mirrored.fetch(CONFIGURATION, allow_change=False) is None
    assert other.mirrored.fetch(CONFIGURATION, allow_change=False) is None
    other.train(10)
    other.mirrored.copy()
    assert other.mirrored.left() == []


def test_a_run_of_another_configuration_is_refused_with_the_difference(first, machine):
    other = machine("other")
    with pytest.raises(ConfigurationError, match=r"(?s)the run in .* was made with another.*-train.seed = 0"):
        other.mirrored.fetch("train.seed = 1\n", allow_change=False)
    assert sorted(contents(other.folder.path)) == ["config.gin"]
    assert other.mirrored.fetch("train.seed = 1\n", allow_change=True) == 20


def test_neither_another_run_nor_files_of_the_user_are_overwritten(first, machine):
    before = {name: first.remote.read(name) for name in first.remote.files()}
    other = machine("other")
    other.train(10)
    for act in (other.mirrored.claim, other.mirrored.copy):
        with pytest.raises(ConfigurationError, match=r"holds another run, .* choose another `Mirror.url`"):
            act()
    assert {name: first.remote.read(name) for name in first.remote.files()} == before
    first.remote.remove(mirrored_run.NAME)
    with pytest.raises(ConfigurationError, match="files that no run has copied there, such as "):
        machine("third").mirrored.fetch(CONFIGURATION, allow_change=False)
    first.remote.write(mirrored_run.NAME, b"[]")
    with pytest.raises(ConfigurationError, match=r"a mirror.json that is not ours"):
        machine("third").mirrored.fetch(CONFIGURATION, allow_change=False)


def test_a_machine_that_was_thought_dead_no_longer_writes(first, machine):
    second = machine("second")
    second.mirrored.fetch(CONFIGURATION, allow_change=False)
    second.train(30)
    second.mirrored.copy()
    first.train(30, 40)
    with pytest.raises(Superseded, match="another start of this run writes to"):
        first.mirrored.copy()
    assert f"checkpoints/step-00000040/{RECORD}" not in first.remote.files()


def test_what_another_machine_has_trained_since_is_not_undone(first, machine):
    second = machine("second")
    second.mirrored.fetch(CONFIGURATION, allow_change=False)
    second.train(30)
    second.mirrored.copy()
    back = machine("first")
    assert back.mirrored.has_begun()
    with pytest.raises(
        ConfigurationError, match=r"holds step 30 of this run, and .*first only step 20: remove"
    ):
        back.mirrored.claim()
    assert 'start"' in second.remote.read(mirrored_run.NAME).decode()
    second.mirrored.copy()


def test_other_files_among_the_checkpoints_are_not_replaced(first, machine):
    second = machine("second")
    (second.folder.checkpoints / "my copy").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="holds other files, but no checkpoint"):
        second.mirrored.fetch(CONFIGURATION, allow_change=False)
    assert (second.folder.checkpoints / "my copy").is_dir()


def test_a_checkpoint_that_is_finished_during_the_copying_waits_for_the_next_time(
    first, machine, monkeypatch
):
    """It would be copied without its line of the log."""
    write = RemoteFolder.write

    def train_on(self, name, content):
        write(self, name, content)
        if name == "metrics.jsonl" and first.store.steps()[-1] == 30:
            first.train(40)

    monkeypatch.setattr(RemoteFolder, "write", train_on)
    first.train(30)
    first.mirrored.copy()
    second = machine("second")
    assert second.mirrored.fetch(CONFIGURATION, allow_change=False) == 30
    assert len(second.folder.read_metrics()) >= second.store.record(30)["log"].lines


def test_a_checkpoint_that_is_removed_or_damaged_here_is_left_out(first, monkeypatch):
    first.train(30, 40)
    (first.store.path(30) / RECORD).write_text("{")
    put = RemoteFolder.put

    def remove_first(self, path, name):
        if path.exists() and "step-00000040" in name:
            shutil.rmtree(path.parent)
        put(self, path, name)

    monkeypatch.setattr(RemoteFolder, "put", remove_first)
    first.mirrored.copy()
    assert not any(
        "step-00000030/variables" in name or "step-00000040" in name for name in first.remote.files()
    )
