"""A fault in the user's own code is one message with its lines, wherever the code is called."""

import errno
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import vaeflow
from tests.fixtures import faulty_parts, own_code, tiny_runs
from vaeflow import registry
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.commands import command_line, programs
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError, DataError, EnvironmentFailure, user_code
from vaeflow.training.settings import TrainingSettings

PLUGIN = "tests.fixtures.faulty_parts"
PATH = pathlib.Path(faulty_parts.__file__)

# Binding -> exit code, the beginning of the message, and the line of the plug-in that it shows.
FAULTS = {
    "VAE.decoder = @SmallDecoder()": (
        2,
        "`SmallDecoder.call` returns a tensor of the shape [B, 2",
        None,
    ),
    "VAE.encoder = @RaisingEncoder()": (2, "`RaisingEncoder.call` fails: KeyError", '["feature"]'),
    "VAE.encoder = @SilentEncoder()": (2, "`SilentEncoder.call` must return a tensor", None),
    "VAE.encoder = @LateEncoder()": (
        2,
        "`LateEncoder.call` fails: InvalidArg",
        "assert_less",
    ),
    "train.model = @BareObjective": (2, "`BareObjective.objective` gives 'error' as a tensor of the", None),
    "train.model = @RaisingConstructor": (2, "KeyError: 'depth' (while making `RaisingConst", '["depth"]'),
    "Pixels.dtype = 'float64'": (
        4,
        "`Pixels.load` fails: images must be a NumPy array",
        "astype",
    ),
    "Pixels.dtype = 'float32'": (
        4,
        "`Pixels.load` fails: `InMemorySplit.array`, record 0: a pixel is",
        "astype",
    ),
    "VAE.likelihood = @BareLikelihood()": (2, "`BareLikelihood.distribution` must return a dist", None),
    "VAE.prior = @ScalarPrior()": (2, "`ScalarPrior.distribution` must return a distribution", None),
    "train.dataset = @MissingFile()": (4, "`MissingFile.load` fails: FileNotFoundError", "np.load("),
    "train.dataset = @Streamed()": (4, "`RaisingSplit.examples` fails: KeyError: 'image'", '["image"]'),
    "train.callbacks = [@WordyCallback()]": (2, "`WordyCallback.measure` gives the metric 'mood' as", None),
    "train.callbacks = [@RaisingCallback()]": (2, "`RaisingCallback.on_log` fails: KeyError", '["no such'),
    "VAE.kl_weight = @RaisingSchedule()": (
        2,
        "`RaisingSchedule` fails: ZeroDivisionError",
        "no steps",
    ),
}


@pytest.fixture(autouse=True)
def configuration_is_forgotten(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with tiny_runs.configuration_of_its_own():
        yield


def train(capsys, *parameters, plugin=PLUGIN):
    """Calls the command; returns its exit code and the lines of its error."""
    given = ["train.num_steps = 2", "train.batch_size = 8", "train.model = @VAE", "train.dataset = @Pixels()"]
    flags = [f"--gin_param={each}" for each in [*given, *parameters]]
    arguments = [f"--plugin={plugin}", "--workdir=run", *flags]
    code = command_line.main(programs.load("train"), arguments)
    lines = capsys.readouterr().err.splitlines()
    return code, lines[next(at for at, line in enumerate(lines) if ": error: " in line) :]


@pytest.mark.slow
@pytest.mark.parametrize("binding", FAULTS)
def test_a_fault_is_one_message_with_the_users_lines(capsys, binding):
    """Without the boundary, most are a traceback of TensorFlow's and code 1."""
    expected, beginning, shown = FAULTS[binding]
    code, (first, *frames) = train(capsys, binding)
    assert code == expected
    assert first.startswith(f"vaeflow train: error: {beginning}")
    assert all(line.startswith(f"  {PATH}:") for line in frames)
    assert (shown or "def ") in frames[-1]


def test_a_method_that_is_missing_is_named(capsys):
    code, (first, *_) = train(capsys, "VAE.prior = @EmptyPrior()")
    assert code == 2
    assert (
        "`EmptyPrior.distribution` fails: NotImplementedError: EmptyPrior must implement `distribution`"
        in first
    )


def test_a_stream_of_bright_pixels_is_refused_before_a_step(capsys):
    code, (first, *_) = train(capsys, "train.dataset = @Streamed()", "Streamed.split_class = 'BrightSplit'")
    assert code == 4
    assert "`BrightSplit.examples` returns wrong pixels: images of float32 must have" in first


def test_a_class_without_its_decorator_is_found(capsys):
    code, (first,) = train(capsys, "train.model = @ForgottenDecorator")
    assert code == 2
    assert "faulty_parts.py:" in first
    assert "put a decorator above it" in first


PLUGINS = {
    "def f():\n    raise KeyError('k')\nf()\n": ("KeyError: 'k'", "raise KeyError('k')"),
    "import no_such_package\n": (
        "the plug-in needs 'no_such_package', which is not installed",
        "import no_such_package",
    ),
    "x = (\n": ("SyntaxError: '(' was never closed", "x = ("),
    "raise SystemExit(3)\n": ("SystemExit: 3", "raise SystemExit(3)"),
}


@pytest.mark.parametrize("source", PLUGINS)
def test_a_plugin_that_fails_shows_its_lines(tmp_path, monkeypatch, source):
    name = f"plugin_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    reason, line = PLUGINS[source]
    with pytest.raises(ConfigurationError) as caught:
        registry.load_plugin(name)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(line)
    assert caught.value.__cause__ is not None


def test_a_plugin_named_by_its_file_is_told_its_module():
    with pytest.raises(ConfigurationError, match=r"name the module, not its file: --plugin=pk\.boom$"):
        registry.load_plugin("pk/boom.py")


def test_the_trainer_names_what_failed():
    with pytest.raises(ConfigurationError, match=r"`RaisingEncoder\.call` fails: KeyError") as caught:
        trainer(vaeflow.VAE(2, encoder=faulty_parts.RaisingEncoder()))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.slow
def test_the_trainer_names_what_a_graph_failed_in():
    trained = trainer(vaeflow.VAE(2, encoder=faulty_parts.LateEncoder()))
    with pytest.raises(ConfigurationError, match=r"`LateEncoder\.call` fails: InvalidArg") as caught:
        trained.train(1)
    assert isinstance(caught.value.__cause__, tf.errors.InvalidArgumentError)


@pytest.mark.slow
def test_training_from_python_names_what_failed(tmp_path):
    dataset = tiny_runs.dataset()
    settings = {"num_steps": 2, "batch_size": 8, "callbacks": [faulty_parts.RaisingCallback()]}
    with pytest.raises(ConfigurationError, match=r"`RaisingCallback\.on_log` fails") as caught:
        vaeflow.train(tiny_runs.model(), dataset, str(tmp_path / "run"), **settings)
    assert isinstance(caught.value.__cause__, KeyError)


def trainer(model):
    images = np.zeros((24, *faulty_parts.SHAPE), np.uint8)
    settings = TrainingSettings(batch_size=8, compile_mode="none")
    return vaeflow.Trainer(model, keras.optimizers.Adam(), InMemorySplit(images), settings)


def test_a_metric_must_give_a_value_for_each_example():
    model = tiny_runs.model()
    model.build((None, *tiny_runs.SHAPE))
    split = InMemorySplit(tiny_runs.images(8))
    examples = Examples(model, split, tf.distribute.get_strategy(), 8)
    with pytest.raises(ConfigurationError, match=r"`ScalarMetric\.per_example` gives 'brightness' as"):
        Evaluator(examples, [faulty_parts.ScalarMetric()]).evaluate()


@pytest.mark.parametrize("objective", [[], {}, {"loss": 1}, {3: 1}, {"a": 1.0}], ids=str)
def test_what_is_no_dict_of_terms_is_refused(objective):
    class Faulty(vaeflow.VAE):
        def objective(self, forward, step):
            return objective

    with pytest.raises(ConfigurationError, match=r"Faulty\.objective` .*\n  .*test_user_code\.py:\d+, in "):
        trainer(Faulty(2))


def mapped(number):
    if number > 0:
        return {"a": number}["b"]
    return number


def test_lines_of_a_converted_function_are_found():
    with pytest.raises(DataError) as caught, user_code.running(None, failure=DataError):
        tf.data.Dataset.range(3).map(mapped)
    assert str(caught.value).partition(" fails: ")[2].startswith("KeyError: 'b'\n")
    assert ", in mapped: " in str(caught.value)
    assert "autograph" not in str(caught.value)


def raise_in_vaeflow(owner):
    own_code.function("def run(user_code, owner):\n    with user_code.running(owner): {}['a']")(
        user_code, owner
    )


@pytest.mark.parametrize("owner", [None, vaeflow.VAE], ids=str)
def test_a_defect_of_vaeflows_own_passes(owner):
    with pytest.raises(KeyError):
        raise_in_vaeflow(owner)


def test_a_failure_without_lines_is_the_owners():
    with pytest.raises(ConfigurationError, match=r"^`RaisingEncoder` fails: KeyError: 'a'$"):
        raise_in_vaeflow(faulty_parts.RaisingEncoder)


def test_a_full_memory_passes():
    with pytest.raises(MemoryError), user_code.running(faulty_parts.RaisingEncoder(), "call"):
        raise MemoryError


def test_a_full_disk_is_no_fault_of_the_code():
    with pytest.raises(EnvironmentFailure), user_code.running(faulty_parts.RaisingCallback(), "on_log"):
        raise OSError(errno.ENOSPC, "no space left on device")


def test_a_message_is_explained_once():
    outer, inner = user_code.running(None), user_code.running(faulty_parts.RaisingEncoder(), "call")
    with pytest.raises(ConfigurationError) as caught, outer, inner:
        faulty_parts.RaisingSplit.read(None, 0)
    assert str(caught.value).count("fails:") == 1
