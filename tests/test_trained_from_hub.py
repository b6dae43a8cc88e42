"""`vaeflow.load("hf://…")`: the model that was pushed, and that nothing in a repository is ever run."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

import vaeflow
from tests.fixtures import hubs, tiny_runs, trained_runs
from tests.fixtures.commands import REPOSITORY
from vaeflow.commands import command_line, programs
from vaeflow.commands import export as export_command
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs.digest import weights_sha256

ADDRESS = f"hf://{hubs.NAME}"
EVIL = b"import pathlib\npathlib.Path('ran').touch()\n"
ignored = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(autouse=True)
def own_configuration():
    with tiny_runs.configuration_of_its_own():
        yield


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in; the current folder is one where evil code would leave the file `ran`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with hubs.connected(tmp_path) as running:
        yield running
    assert not list(tmp_path.rglob("ran"))


@pytest.fixture
def configured(hub):
    """Publishes a repository with a configuration and more files."""

    def publish(text, **more):
        hubs.publish(
            hub, hubs.published_files(**{"config.gin": text.encode(), **more}), **dict.fromkeys(more)
        )

    return publish


def keras_file_with_code(path):
    """Writes a `.keras` file whose Lambda runs code where it is made without Keras' safe mode."""
    inputs = keras.Input((8, 8, 1))
    keras.Model(
        inputs, keras.layers.Lambda(lambda x: __import__("pathlib").Path("ran").touch() or x)(inputs)
    ).save(path)
    pathlib.Path("ran").unlink()  # It ran here, where it was made.
    assert b"__lambda__" in zipfile.ZipFile(path).read("config.json")
    return path.read_bytes()


@pytest.mark.parametrize("statement", ["import evil", "from here import evil", "import here.evil as config"])
def test_a_configuration_imports_nothing(configured, statement):
    configured(f"{statement}\ntrain.model = @VAE\n", **{"evil.py": EVIL, "here/evil.py": EVIL})
    with pytest.raises(ConfigurationError, match=r"evil.*is refused: an import could run any code"):
        vaeflow.load(ADDRESS)
    assert "evil" not in sys.modules


def test_a_configuration_names_no_objects_of_python(configured):
    configured("from __gin__ import dynamic_registration\nimport os\ntrain.model = @os.system\n")
    with pytest.raises(
        ConfigurationError, match="is refused: it would let a gin file name any Python object"
    ):
        vaeflow.load(ADDRESS)


@pytest.mark.slow
@pytest.mark.parametrize("block", ["FrozenNet", "perceptual/FrozenNet"])
def test_a_configuration_names_no_file_to_be_loaded(configured, tmp_path, block):
    """Else it could name the SavedModel that lies next to it in the cache, which is a program."""
    text = trained_runs.settings(
        tmp_path, ("@DenseEncoder()", f"@{block}()"), ("DenseEncoder.units = (8,)\n", "")
    )
    configured(f"{text}{block}.file = '{tmp_path}/cache/saved_model'\n")
    with pytest.raises(ConfigurationError, match=r"reads a file that is not in the repository \(FrozenNet"):
        vaeflow.load(ADDRESS)


def test_another_checkpoint_than_the_published_one(configured):
    configured("train.model = @VAE\n")
    with pytest.raises(ConfigurationError, match="holds the checkpoint of step 20 alone, and not 10"):
        vaeflow.load(ADDRESS, checkpoint=10)


def test_commands_name_the_command_that_fetches(capsys):
    assert command_line.main(programs.load("evaluate"), [f"--workdir={ADDRESS}"]) == 2
    assert (
        "hf:// is not for a file of this machine, and others are not read; fetch it with `vaeflow pull`"
        in (capsys.readouterr().err)
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run with a `.keras` file; tests leave it as it is."""
    folder = trained_runs.trained_folder(tmp_path_factory.mktemp("exported"))
    with pytest.MonkeyPatch.context() as patch, tiny_runs.configuration_of_its_own():
        patch.setattr(
            export_command, "check", lambda module, path, formats, modules: dict.fromkeys(formats, 0.0)
        )
        arguments = [
            f"--workdir={folder}",
            "--checkpoint=20",
            "--gin_param=export.formats = ['keras', 'saved_model']",
        ]
        assert command_line.main(programs.load("export"), arguments) == 0
    return folder


def call(name, *arguments):
    with tiny_runs.configuration_of_its_own():
        return command_line.main(programs.load(name), list(arguments))


@ignored
@pytest.mark.long
def test_the_model_that_was_pushed_is_loaded(hub, exported):
    assert call("push", f"--workdir={exported}", f"--repo={hubs.NAME}", "--create") == 0
    files = hub.repositories[hubs.NAME].files()
    for name, content in files.items():
        assert str(exported.parent).encode() not in content, name
    hub.requests.clear()
    model = vaeflow.load(ADDRESS)
    result = json.loads((exported / "result.json").read_text())
    assert weights_sha256(model.weights) == result["weights_sha256"]
    assert model.sample(5).shape == (5, *tiny_runs.SHAPE)
    assert not [path for _, _, path, _ in hub.requests if "export/" in path]


@ignored
@pytest.mark.long
def test_what_else_lies_in_the_cache_is_not_loaded(hub, exported):
    """A newer checkpoint, which its manifest does not name, and another library has fetched."""
    import huggingface_hub

    call("push", f"--workdir={exported}", f"--repo={hubs.NAME}", "--create")
    checkpoint = "checkpoints/step-00000020"
    files = hub.repositories[hubs.NAME].files()
    later = {
        name.replace("00000020", "00000099"): content.replace(b'"step": 20', b'"step": 99')
        for name, content in files.items()
        if name.startswith(checkpoint)
    }
    hub.repositories[hubs.NAME].change(**later)
    folder = huggingface_hub.snapshot_download(hubs.NAME)
    assert vaeflow.load(folder).weights  # As a folder it has two.
    for wanted in ("best", "last"):
        model = vaeflow.load(ADDRESS, wanted)
        assert (
            weights_sha256(model.weights)
            == json.loads((exported / "result.json").read_text())["weights_sha256"]
        )
    with pytest.raises(ConfigurationError, match="and not 99"):
        vaeflow.load(ADDRESS, 99)


@ignored
@pytest.mark.long
def test_a_repository_with_evil_files_runs_nothing(hub, exported, tmp_path):
    evil = keras_file_with_code(tmp_path / "evil.keras")
    call("push", f"--workdir={exported}", f"--repo={hubs.NAME}", "--create")
    files = dict(hub.repositories[hubs.NAME].files())
    for name in (".gitattributes", "vaeflow.json"):
        del files[name]
    files |= {"export/model.keras": evil, "export/saved_model/saved_model.pb": b"\0evil"}
    unnamed = {
        "evil.py": EVIL,
        "__init__.py": EVIL,
        "sitecustomize.py": EVIL,
        "setup.py": EVIL,
        "tensorflow.py": EVIL,
    }
    hubs.publish(hub, {**files, **unnamed}, **dict.fromkeys(unnamed))
    vaeflow.load(ADDRESS)
    assert call("pull", f"--repo={hubs.NAME}", f"--to={tmp_path / 'theirs'}") == 0
    vaeflow.load(tmp_path / "theirs")
    assert not set(unnamed) & {path.name for path in (tmp_path / "theirs").rglob("*")}


@ignored
@pytest.mark.long
def test_changed_weights_are_not_loaded(hub, exported):
    call("push", f"--workdir={exported}", f"--repo={hubs.NAME}", "--create")
    name = "checkpoints/step-00000020/variables.data-00000-of-00001"
    content = bytearray(hub.repositories[hubs.NAME].files()[name])
    content[len(content) // 2] ^= 1
    hub.repositories[hubs.NAME].change(**{name: bytes(content)})
    with pytest.raises(EnvironmentFailure, match=f"{name} of {ADDRESS} is not what `vaeflow push` wrote"):
        vaeflow.load(ADDRESS)


@ignored
@pytest.mark.long
def test_the_commands_take_a_pulled_folder(hub, exported, tmp_path):
    call("push", f"--workdir={exported}", f"--repo={hubs.NAME}", "--create")
    folder = tmp_path / "theirs"
    call("pull", f"--repo={hubs.NAME}", f"--to={folder}")
    data = [
        f"--gin_param=Arrays.{name} = '{exported.parent}/data/{name}.npz'" for name in ("train", "evaluation")
    ]
    assert call("evaluate", f"--workdir={folder}", *data, "--gin_param=evaluate.num_samples = []") == 0
    assert json.loads((folder / "evaluation.json").read_text())["step"] == 20
    assert call("embed", f"--workdir={folder}", *data) == 0
    samplers = "--gin_param=sample.samplers = [@PriorSampler()]"
    assert call("sample", f"--workdir={folder}", *data, samplers) == 0
    assert call("push", f"--workdir={folder}", f"--repo={hubs.NAME}") == 0
    assert b"negative_elbo" in hub.repositories[hubs.NAME].files()["evaluation.json"]
    np.testing.assert_array_equal(vaeflow.load(folder).weights[0], vaeflow.load(exported).weights[0])


@ignored
@pytest.mark.long
def test_a_pulled_folder_can_be_verified(hub, exported, tmp_path):
    """`vaeflow verify` compares the log with the digest in the checkpoint, and the data with `data.json`."""
    call("push", f"--workdir={exported}", f"--repo={hubs.NAME}", "--create")
    call("pull", f"--repo={hubs.NAME}", f"--to={tmp_path / 'theirs'}")
    record = json.loads((tmp_path / "theirs/checkpoints/step-00000020/record.json").read_text())
    digest = bytes(32)
    for line in (tmp_path / "theirs/metrics.jsonl").read_bytes().splitlines(keepends=True):
        digest = hashlib.sha256(digest + line).digest()
    assert record["log"] == {"lines": 4, "sha256": digest.hex()}
    for name in ("data.json", "result.json"):
        assert json.loads((tmp_path / "theirs" / name).read_text()) == json.loads(
            (exported / name).read_text()
        )


PROGRAM = """
import sys
import vaeflow
from vaeflow.errors import RunError

assert "huggingface_hub" not in sys.modules
try:
    print(type(vaeflow.load(sys.argv[1])).__name__)
except RunError as error:
    print(f"{error.exit_code} {error}")
"""


@ignored
@pytest.mark.long
@pytest.mark.processes
def test_the_variables_of_the_hub_are_obeyed(hub, exported, tmp_path):
    """In fresh processes: the stand-in, no telemetry, and offline with and without the cache."""
    variables = {**hubs.environment(hub, tmp_path), "PYTHONPATH": str(REPOSITORY), "AI_AGENT": "x"}

    def run(*arguments, **more):
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **variables, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    hub.requests.clear()
    code, _, error = run("-m", "launch.push", f"--workdir={exported}", f"--repo={hubs.NAME}", "--create")
    assert code == 0, error
    assert not [path for _, _, path, _ in hub.requests if "harness" in path or "telemetry" in path]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    code, out, error = run("-m", "vaeflow", "pull", f"--repo={hubs.NAME}", "--to=x", **offline)
    assert (code, out) == (4, "")
    assert error.startswith("vaeflow pull: error: HF_HUB_OFFLINE forbids to reach the hub, and hf://")
    assert run("-c", PROGRAM, ADDRESS)[:2] == (0, "VAE\n")
    assert run("-c", PROGRAM, ADDRESS, HF_HUB_OFFLINE="1")[:2] == (0, "VAE\n")
    assert run("-c", PROGRAM, f"{ADDRESS}@v9")[1].startswith(
        "2 the repository somebody/tiny has no revision 'v9'"
    )
