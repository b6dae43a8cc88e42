"""What the command refuses, and a failing disk: nothing of a work folder changes."""

import pytest

from tests.fixtures import trained_runs
from tests.fixtures.disk import full_disk
from vaeflow import trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained_runs.trained_folder(tmp_path_factory.mktemp("grey"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        *(
            (f"sample.{name} = 0", f"`sample.{name}` must be a positive integer, got 0")
            for name in (
                "num_samples", "num_fit_examples", "num_reconstructions", "num_interpolations",
                "max_traversals",
            )
        ),
        *(
            (f"sample.{name} = 1", f"`sample.{name}` must be at least 2, to show both ends, got 1")
            for name in ("num_interpolation_steps", "num_traversal_steps")
        ),
        ("sample.traversal_range = 0", "`sample.traversal_range` must be a number above 0, got 0"),
        ("sample.seconds_per_frame = -1", "`sample.seconds_per_frame` must be a number above 0, got -1"),
        ("sample.traverse_from = 'here'", "`sample.traverse_from` must be one of 'data', 'prior'; got"),
        ("sample.seed = 4294967296", "`sample.seed` must be below 2**32, got 4294967296"),
        ("sample.samplers = @PriorSampler()", "`sample.samplers` must be a list of Samplers, got"),
        ("sample.samplers = [@PriorSampler]", "`sample.samplers` must be a list of Samplers, got"),
        ("GaussianMixtureSampler.num_components = 2", "nothing that `sample` uses refers to @Gaussian"),
        ("sample.workdir = 'x'", "use the flag --workdir instead"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_before_the_model_is_restored(
    folder, monkeypatch, capsys, parameter, message
):
    monkeypatch.setattr(trained, "restore", None)
    assert trained_runs.call_sample(folder, parameter) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_more_components_than_images(folder, capsys):
    parameters = ["sample.samplers = [@GaussianMixtureSampler()]", "sample.num_fit_examples = 9"]
    assert trained_runs.call_sample(folder, *parameters) == 2
    message = (
        "`GaussianMixtureSampler.num_components` must be at most the number of images it is fitted to, 9"
    )
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_a_full_disk_changes_nothing(folder, capsys):
    def contents():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert trained_runs.call_sample(folder) == 0
    before = contents()
    with full_disk(kilobytes=8):
        code = trained_runs.call_sample(folder, "sample.seed = 3")
    assert code == 4
    assert f"{folder / 'samples'}/" in capsys.readouterr().err
    assert contents() == before
