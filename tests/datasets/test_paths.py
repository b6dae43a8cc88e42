"""Each setting of a dataset that is a path is checked before anything is read."""

import inspect

import pytest

from vaeflow import datasets, registry

# Every parameter that names a file or a folder; a new one belongs here.
PATHS = [
    (datasets.Codes, "folder", {}),
    (datasets.Latents, "folder", {}),
    (datasets.Arrays, "train", {}),
    (datasets.Arrays, "evaluation", {"train": "images.npy"}),
    (datasets.DSprites, "file", {}),
    (datasets.ImageFolder, "folder", {}),
    (datasets.MNIST, "folder", {}),
    (datasets.FashionMNIST, "folder", {}),
    (datasets.TFDS, "data_dir", {"name": "mnist"}),
    (datasets.TFRecords, "train", {}),
    (datasets.TFRecords, "evaluation", {"train": "a.tfrecord"}),
]
NAMES = {"train", "evaluation", "file", "folder", "data_dir", "path", "paths", "cache_folder"}


@pytest.mark.parametrize(("dataset", "parameter", "others"), PATHS)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nowhere://bucket/images.npz", "begins with nowhere://, which no installed library knows"),
        ("file:///images.npz", "write the path without it"),
        ("x" * 300, "one of its names has 300 bytes"),
        ("", "it is empty|must be a file pattern"),
        ("a\0b", "NUL"),
        ("a\udcff", "not UTF-8"),
    ],
)
def test_what_names_no_file_here_is_refused_with_the_setting(
    tmp_path, monkeypatch, dataset, parameter, others, path, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.npy").touch()
    with pytest.raises(ValueError, match=expected) as caught:
        dataset(**others | {parameter: path})
    assert f"`{dataset.__name__}.{parameter}`" in str(caught.value)


def test_every_path_of_a_dataset_is_known():
    found = {
        (entry.target, name)
        for entry in registry.entries("dataset")
        if entry.package == "vaeflow" and entry.target is not datasets.RandomAccess  # It takes objects.
        for name in inspect.signature(entry.target).parameters.keys() & NAMES
    }
    assert found == {(dataset, parameter) for dataset, parameter, _ in PATHS}
