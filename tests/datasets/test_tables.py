"""Tables as examples of one place: their rows, ranges and labels, and what is no table."""

import numpy as np
import pytest
from sklearn import datasets as tables_of_scikit_learn

from tests.fixtures import tiny_runs
from vaeflow.analysis import projector
from vaeflow.callbacks import Images
from vaeflow.commands import sample_files
from vaeflow.datasets import Arrays, ScikitLearnTable
from vaeflow.errors import ConfigurationError, DataError

ROWS = np.random.RandomState(0).normal(5.0, 30.0, (20, 4))


def saved(path, array):
    np.save(path, array)
    return path


def held_out(count, fraction):
    order = np.random.RandomState(20180717).permutation(count)
    return np.sort(order[: round(fraction * count)])


def by_training_range(rows, training):
    """The same in other words: the place of each number between the smallest and the largest in training."""
    columns = [np.interp(rows[:, c], [training[:, c].min(), training[:, c].max()], [0, 1]) for c in range(4)]
    return np.stack(columns, axis=1)


def test_columns_are_scaled_by_their_range_in_training(tmp_path):
    path = saved(tmp_path / "a.npy", ROWS)
    dataset = Arrays(path, layout="NF", scale_columns=True, evaluation_fraction=0.25)
    evaluation = held_out(20, 0.25)
    training = np.delete(ROWS, evaluation, axis=0)
    for name, rows in (("train", training), ("evaluation", ROWS[evaluation])):
        split = dataset.load(name)
        assert (split.shape, split.dtype) == ((1, 1, 4), "float32")
        np.testing.assert_allclose(split.array[:, 0, 0], by_training_range(rows, training), atol=1e-6)
    assert split.array.min() >= 0
    assert dataset.load("train").array.max() == 1


def test_a_table_for_evaluation_has_the_ranges_of_the_other(tmp_path):
    dataset = Arrays(
        saved(tmp_path / "a.npy", ROWS[:12]),
        saved(tmp_path / "b.npy", ROWS[12:]),
        layout="NF",
        scale_columns=True,
        train_labels=saved(tmp_path / "c.npy", np.arange(12) % 3),
        evaluation_labels=saved(tmp_path / "d.npy", np.arange(8) % 3),
    )
    split = dataset.load("evaluation")
    np.testing.assert_allclose(split.array[:, 0, 0], by_training_range(ROWS[12:], ROWS[:12]), atol=1e-6)
    assert split.factors(np.array([4])).tolist() == [[1]]


def test_a_table_of_pixels_needs_no_scaling(tmp_path):
    rows = np.random.RandomState(0).randint(0, 256, (20, 4)).astype(np.uint8)
    split = Arrays(saved(tmp_path / "a.npy", rows), layout="NF", evaluation_fraction=0).load("train")
    np.testing.assert_array_equal(split.array[:, 0, 0], rows)


def test_a_constant_column_becomes_0(tmp_path, warnings):
    rows = ROWS.copy()
    rows[:, 2] = 7
    split = Arrays(saved(tmp_path / "a.npy", rows), layout="NF", scale_columns=True).load("train")
    assert set(split.array[..., 2].flat) == {0}
    assert "1 columns are constant in the training rows, such as column 2" in warnings()[0]


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris", "digits"])
def test_tables_of_scikit_learn(name):
    rows, targets = getattr(tables_of_scikit_learn, f"load_{name}")(return_X_y=True)
    splits = [ScikitLearnTable(name).load(each) for each in ("train", "evaluation")]
    assert sum(split.num_examples for split in splits) == len(rows)
    assert splits[0].shape == (1, 1, rows.shape[1])
    assert splits[0].factor_names == ("target",)
    assert splits[0].factor_sizes == splits[1].factor_sizes == (targets.max() + 1,)
    chosen = held_out(len(rows), 0.2)
    np.testing.assert_array_equal(splits[1].factors(np.arange(len(chosen)))[:, 0], targets[chosen])
    training = np.delete(rows, chosen, axis=0)
    low, high = training.min(axis=0), training.max(axis=0)
    varies = high > low
    given = splits[0].array[:, 0, 0][:, varies] * (high - low)[varies] + low[varies]
    np.testing.assert_allclose(given, training[:, varies], rtol=1e-5, atol=1e-5 * np.abs(high).max())


def test_a_table_is_not_taken_for_images(tmp_path):
    with pytest.raises(DataError, match=r'set `Arrays.layout` to "NF" for a table'):
        Arrays(saved(tmp_path / "a.npy", ROWS)).load("train")
    with pytest.raises(DataError, match=r"expected \[N, F\]"):
        Arrays(saved(tmp_path / "b.npy", ROWS[None]), layout="NF").load("train")


def test_what_is_no_number_is_named(tmp_path):
    rows = ROWS.copy()
    rows[3, 1] = np.nan
    with pytest.raises(DataError, match="record 3: column 1 is nan"):
        Arrays(saved(tmp_path / "a.npy", rows), layout="NF", scale_columns=True).load("train")


@pytest.mark.parametrize("settings", [{}, {"layout": "NHW"}, {"layout": "NF", "pixel_range": (0, 9)}])
def test_images_have_no_columns_to_scale(tmp_path, settings):
    with pytest.raises(ConfigurationError, match=r'set `Arrays.layout` to "NF"'):
        Arrays(saved(tmp_path / "a.npy", ROWS), scale_columns=True, **settings)


@pytest.mark.slow
def test_a_training_on_a_table_has_no_pictures(tmp_path, capsys):
    settings = {"num_steps": 1, "steps_per_loop": 1, "callbacks": [Images(1)]}
    with tiny_runs.untraced():
        result = tiny_runs.train(tmp_path, dataset=ScikitLearnTable("iris"), **settings)
    assert result["step"] == 1
    assert "left out for rows of a table: `Images`" in capsys.readouterr().err
    assert not (tmp_path / "images").exists()


def test_samples_of_a_table_are_arrays_only(tmp_path):
    rows = np.zeros((3, 1, 1, 4), np.float32)
    arrays = {"samples_prior_images": rows, "reconstruction_inputs": rows, "reconstruction_images": rows}
    [path] = sample_files.write(tmp_path, arrays, 0.1)
    assert path.name == "samples.npz"


def test_points_of_a_table_have_no_thumbnails(tmp_path):
    indices = np.arange(3)
    projector.write(tmp_path, np.zeros((3, 2)), indices, indices[:, None], ["target"], None)
    assert not (tmp_path / "sprites.png").exists()
    assert "sprite" not in (tmp_path / "projector_config.pbtxt").read_text()
