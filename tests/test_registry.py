"""What the decorators accept, record and tell gin and Keras."""

import subprocess
import sys

import gin
import pytest

from vaeflow import registry
from vaeflow.errors import ConfigurationError


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """A registry of this test's own; what gin keeps has names that nothing else uses."""
    monkeypatch.setattr(registry, "_entries", {})


@pytest.mark.processes
def test_importing_the_registry_imports_neither_tensorflow_nor_keras():
    code = "import sys, vaeflow.config; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_a_class_is_returned_unchanged_and_can_be_looked_up():
    class RegistryPlain:
        """Plain.

        More.
        """

        def __init__(self, size=1):
            self.size = size

    assert registry.dataset(RegistryPlain) is RegistryPlain
    entry = registry.get("RegistryPlain")
    assert (entry.kind, entry.target, entry.summary) == ("dataset", RegistryPlain, "Plain.")
    assert entry.location.startswith(__file__ + ":")
    assert registry.entries("dataset") == [entry]
    assert registry.entries("callback") == []


def test_gin_injects_into_the_configured_class_only():
    @registry.dataset
    class RegistryInjected:
        def __init__(self, size=1):
            self.size = size

    gin.parse_config("RegistryInjected.size = 5")
    assert RegistryInjected().size == 1
    made = registry.configured(RegistryInjected)()
    assert made.size == 5
    assert type(made) is RegistryInjected
    gin.clear_config()


def test_parameters_are_collected_along_the_bases_up_to_the_first_without_kwargs():
    class Root:
        def __init__(self, hidden=0):
            pass

    class Middle(Root):
        def __init__(self, width, height=2, *, depth=3):
            pass

    class RegistryLeaf(Middle):
        def __init__(self, height=4, **kwargs):
            super().__init__(height=height, **kwargs)

    found = registry.constructor_parameters(RegistryLeaf)
    assert list(found) == ["height", "width", "depth"]
    assert found["height"].default == 4
    assert found["width"].default is found["width"].empty


def test_gin_itself_refuses_what_no_base_takes():
    @registry.dataset
    class RegistryStrict:
        def __init__(self, width=1, **kwargs):
            pass

    with pytest.raises(ValueError, match="widht"):
        gin.parse_config("RegistryStrict.widht = 2")
    gin.clear_config()


def test_refused_parameters_are_not_offered():
    class RegistryRefusing:
        def __init__(self, width=1, secret=2):
            pass

    registry.dataset(RegistryRefusing, refused={"secret": "use width"})
    assert list(registry.get("RegistryRefusing").parameters) == ["width"]
    with pytest.raises(ValueError, match="secret"):
        gin.parse_config("RegistryRefusing.secret = 2")
    gin.clear_config()


def test_a_name_can_be_taken_once():
    def make():
        def registry_taken():
            pass

        return registry_taken

    registry.strategy(make())
    other = make()
    other.__qualname__ = "elsewhere"
    with pytest.raises(ConfigurationError) as caught:
        registry.callback(other)
    assert "registered as 'registry_taken': a strategy at" in str(caught.value)
    assert str(caught.value).count(f"{__file__}:") == 2


def test_a_notebook_cell_may_be_run_again():
    def define(value):
        def registry_cell(x=value):
            return x

        return registry.strategy(registry_cell)

    define(1)
    again = define(2)
    assert registry.get("registry_cell").target is again
    assert registry.configured(again)() == 2


def test_unknown_names_and_kinds_tell_the_nearest():
    registry.strategy(type("RegistryNearest", (), {"__init__": lambda self: None}))
    with pytest.raises(ConfigurationError, match="'RegistryNeerest'; did you mean 'RegistryNearest'"):
        registry.get("RegistryNeerest")
    with pytest.raises(ConfigurationError, match="unknown kind 'modle'; did you mean 'model'"):
        registry.entries("modle")
    with pytest.raises(ConfigurationError, match="unknown kind 'modle'"):
        registry.register("modle", object)


def test_did_you_mean_ignores_case_and_stays_silent_where_nothing_is_near():
    assert registry.did_you_mean("betavae", ["BetaVAE", "VAE"]).startswith("; did you mean 'BetaVAE'")
    assert registry.did_you_mean("zzz", ["BetaVAE"]) == ""


def test_a_kind_asks_for_its_keras_class():
    with pytest.raises(ConfigurationError, match=r"@registry.layer expects a subclass of keras.layers.Layer"):
        registry.layer(type("RegistryNoLayer", (), {}))
    with pytest.raises(ConfigurationError, match=r"keras.Model"):
        registry.model(lambda: None)


def test_keras_can_load_what_is_registered():
    import keras

    @registry.layer
    class RegistryScale(keras.layers.Layer):
        def __init__(self, scale=1.0, **kwargs):
            super().__init__(**kwargs)
            self.scale = scale

        def get_config(self):
            return super().get_config() | {"scale": self.scale}

    package = __name__.partition(".")[0]
    assert keras.saving.get_registered_name(RegistryScale) == f"{package}>RegistryScale"
    config = keras.saving.serialize_keras_object(RegistryScale(scale=3.0))
    assert keras.saving.deserialize_keras_object(config).scale == 3.0
    assert "scale" in registry.get("RegistryScale").parameters
    assert "dtype" in registry.get("RegistryScale").parameters


def test_a_plugin_that_fails_says_how():
    with pytest.raises(ConfigurationError, match="'no_such_plugin' cannot be imported: ModuleNotFoundError"):
        registry.load_plugin("no_such_plugin")


def test_announced_plugins_come_from_entry_points(tmp_path, monkeypatch):
    information = tmp_path / "announcing-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: announcing\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[vaeflow.plugins]\nblocks = announcing.blocks\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "announcing.blocks" in registry.announced_plugins()
    # In the current folder nobody has installed it.
    monkeypatch.chdir(tmp_path)
    assert "announcing.blocks" not in registry.announced_plugins()


def test_only_a_module_that_the_user_names_is_looked_for_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "lying_here.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="No module named 'lying_here'"):
        registry.load_plugin("lying_here", named_by_user=False)
    registry.load_plugin("lying_here")


def test_a_plugin_that_is_installed_imports_nothing_from_the_current_folder(tmp_path, monkeypatch):
    installed, here = tmp_path / "installed", tmp_path / "here"
    installed.mkdir()
    here.mkdir()
    (installed / "installed_plugin.py").write_text("import lying_beside")
    (here / "lying_beside.py").write_text("")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.chdir(here)
    with pytest.raises(ConfigurationError, match="No module named 'lying_beside'"):
        registry.load_plugin("installed_plugin")


def test_another_backend_of_keras_is_refused_in_words(monkeypatch):
    import keras

    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ConfigurationError, match="Keras was imported with jax; set KERAS_BACKEND=tensorflow"):
        registry.schedule(type("Late", (keras.optimizers.schedules.LearningRateSchedule,), {}))
