"""Where gin files are looked for, and where an include may not lead."""

import pytest

from vaeflow import config
from vaeflow.config import files as gin_files
from vaeflow.errors import ConfigurationError

GIVEN = "rehearse.data = @ToyGrid()\nToyGrid.width = 3\n"


@pytest.fixture
def own(toys, monkeypatch):
    """A folder that stands for vaeflow's own configs/; the current folder is beside it."""
    folder = toys / "installed" / "configs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(gin_files, "configs_folder", lambda: folder)
    here = toys / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return folder


def message(*files, parameters=()):
    with pytest.raises(ConfigurationError) as caught:
        config.load("rehearse", files, parameters)
    return str(caught.value)


def test_the_checkouts_configs_are_found():
    assert gin_files.configs_folder().name == "configs"
    assert (gin_files.configs_folder().parent / "vaeflow").is_dir()


def test_the_packages_own_configs_come_first(tmp_path, monkeypatch):
    package = tmp_path / "vaeflow"
    monkeypatch.setattr(gin_files, "_PACKAGE", package)
    assert gin_files.configs_folder() == tmp_path / "configs"
    (package / "configs").mkdir(parents=True)
    assert gin_files.configs_folder() == package / "configs"


@pytest.mark.parametrize("name", ["configs/toy.gin", "toy.gin"])
def test_a_given_file_is_found_here_and_then_among_vaeflows_own(own, name):
    (own / "toy.gin").write_text(GIVEN)
    assert config.load("rehearse", [name]).gin_files == (str(own / "toy.gin"),)
    (own.parent.parent / "here" / "configs").mkdir()
    mine = own.parent.parent / "here" / name
    mine.write_text(GIVEN)
    assert config.load("rehearse", [name]).gin_files == (name,)


def test_a_missing_file_names_the_nearest_and_what_was_searched(own):
    (own / "beta_vae.gin").write_text("")
    found = message("configs/beta_vea.gin")
    assert "--gin_file=configs/beta_vea.gin: there is no such file in" in found
    assert str(own) in found
    assert "did you mean 'beta_vae.gin'" in found


def test_a_missing_file_unlike_any_lists_those_there_are(own):
    (own / "beta_vae.gin").write_text("")
    assert "those folders hold beta_vae.gin" in message("0000")


def test_a_file_that_is_no_text(own):
    (own / "toy.gin").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in message("toy.gin")


def test_includes_are_looked_for_beside_the_file_then_here_then_among_vaeflows_own(own, toys):
    elsewhere = toys / "elsewhere"
    (elsewhere / "deeper").mkdir(parents=True)
    (elsewhere / "x.gin").write_text("include 'a.gin'\ninclude 'deeper/b.gin'\ninclude 'configs/c.gin'")
    (elsewhere / "a.gin").write_text("rehearse.num_steps = 1")
    (toys / "here" / "a.gin").write_text("rehearse.num_steps = 2")
    (elsewhere / "deeper" / "b.gin").write_text("include 'd.gin'\ninclude '../e.gin'")
    (elsewhere / "e.gin").write_text("ToyGrid.height = 6")
    (toys / "here" / "d.gin").write_text("rehearse.data = @ToyGrid()")
    (own / "c.gin").write_text("ToyGrid.width = 3")
    config.load("rehearse", [str(elsewhere / "x.gin")])
    settings = config.call("rehearse")
    assert settings["num_steps"] == 1
    assert settings["data"].settings == {"width": 3, "height": 6, "corner": None}


def test_one_file_may_be_included_twice(own, toys):
    (toys / "here" / "x.gin").write_text("include 'a.gin'\ninclude 'b.gin'")
    (toys / "here" / "a.gin").write_text("include 'c.gin'")
    (toys / "here" / "b.gin").write_text("include 'c.gin'")
    (toys / "here" / "c.gin").write_text(GIVEN)
    config.load("rehearse", ["x.gin"])


def test_includes_in_a_circle(own, toys):
    (toys / "here" / "x.gin").write_text("include 'y.gin'")
    (toys / "here" / "y.gin").write_text("include 'x.gin'")
    assert "circle: x.gin → y.gin → x.gin" in message("x.gin")


def test_a_missing_include(own, toys):
    (toys / "here" / "x.gin").write_text("\ninclude 'bass.gin'")
    (toys / "here" / "base.gin").write_text("")
    found = message("x.gin")
    assert found.startswith("x.gin:2: `include 'bass.gin'`: there is no such file in")
    assert "did you mean 'base.gin'" in found
    assert str(own) in found


@pytest.mark.parametrize("way", ["absolute", "dots", "link", "linked folder", "command line", "indirect"])
def test_an_include_may_not_lead_outside(own, toys, way):
    here = toys / "here"
    outside = toys / "outside"
    outside.mkdir()
    (outside / "secret.gin").write_text(GIVEN)
    (here / "link.gin").symlink_to(outside / "secret.gin")
    (here / "folder").symlink_to(outside)
    (here / "inner").mkdir()
    (here / "inner" / "y.gin").write_text("include '../../outside/secret.gin'")
    target = {
        "absolute": str(outside / "secret.gin"),
        "dots": "../outside/secret.gin",
        "link": "link.gin",
        "linked folder": "folder/secret.gin",
        "command line": "../outside/secret.gin",
        "indirect": "inner/y.gin",
    }[way]
    statement = f"include '{target}'"
    (here / "x.gin").write_text("" if way == "command line" else statement)
    found = message("x.gin", parameters=[statement] if way == "command line" else [])
    assert f"is refused: it leads to {outside / 'secret.gin'}" in found
    assert "give it with --gin_file" in found
    config.load("rehearse", [str(outside / "secret.gin")])
