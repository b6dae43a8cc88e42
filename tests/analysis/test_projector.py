"""The projector's files, read back with other libraries and served by TensorBoard itself."""

import json

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

from vaeflow.analysis import projector
from vaeflow.datasets import InMemorySplit


def noise(count, shape=(8, 6, 1), dtype="uint8"):
    """Images that no two examples share."""
    generator = np.random.default_rng(0)
    if dtype == "uint8":
        return generator.integers(0, 256, (count, *shape), np.uint8)
    return generator.random((count, *shape), np.float32)


def tile(pixels, position, columns, height, width):
    top, left = position // columns * height, position % columns * width
    return pixels[top : top + height, left : left + width]


def area_means(image, height, width):
    """Shrinks `[H, W, C]` by the mean over areas: differences of integrals over the pixels."""

    def shrink(values, target):
        size = len(values)
        edges = np.arange(target + 1) * size / target
        pixels = np.minimum(np.floor(edges).astype(int), size - 1)
        integral = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
        at_edges = integral[pixels] + (edges - pixels)[:, None, None] * values[pixels]
        return np.diff(at_edges, axis=0) * target / size

    return shrink(shrink(image.astype(float), height).swapaxes(0, 1), width).swapaxes(0, 1)


@pytest.mark.parametrize("chunk_images", [1, 4, 100])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_thumbnails_stand_in_rows(monkeypatch, channels, dtype, chunk_images):
    monkeypatch.setattr(projector, "_CHUNK_BYTES", 4 * 8 * 6 * channels * chunk_images)
    stored = noise(40, (8, 6, channels), dtype)
    indices = np.array([3, 4, 8, 15, 16, 23, 39])
    sheet = projector.sprite_sheet(InMemorySplit(stored), indices)
    assert (sheet.height, sheet.width) == (8, 6)
    shown = 1 if channels < 3 else 3
    assert sheet.pixels.shape == (3 * 8, 3 * 6, shown)
    assert sheet.pixels.dtype == np.uint8
    for position, index in enumerate(indices):
        expected = stored[index, ..., :shown] * (1.0 if dtype == "uint8" else 255.0)
        found = tile(sheet.pixels, position, 3, 8, 6)
        assert np.abs(found - expected).max() <= (0 if dtype == "uint8" else 0.5001)


@pytest.mark.parametrize(
    ("shape", "count", "height", "width"),
    [((16384, 4, 3), 1, 8192, 2), ((3, 12288, 1), 1, 2, 8192), ((10, 9000, 1), 3, 4, 4096)],
)
def test_images_are_shrunk_where_the_sheet_would_be_too_large(shape, count, height, width):
    stored = noise(count, shape)
    sheet = projector.sprite_sheet(InMemorySplit(stored), np.arange(count))
    assert (sheet.height, sheet.width) == (height, width)
    assert max(sheet.pixels.shape) <= 8192
    for position in range(count):
        expected = area_means(stored[position], height, width)
        found = tile(sheet.pixels, position, 2 if count > 1 else 1, height, width)
        assert np.abs(found - expected).max() < 0.501


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (218, 178, 3), (1, 5000, 1), (4000, 3000, 3)])
@pytest.mark.parametrize("count", [1, 2, 5000, 100_000])
def test_any_number_of_any_size_fits(shape, count):
    columns = int(np.ceil(np.sqrt(count)))
    height, width = projector.thumbnail_size(shape, columns)
    assert 1 <= height <= shape[0]
    assert 1 <= width <= shape[1]
    assert columns * max(height, width) <= 8192
    if columns * max(shape) <= 8192:
        assert (height, width) == shape[:2]
    elif min(height, width) > 20:
        assert width / height == pytest.approx(shape[1] / shape[0], rel=0.05)


def test_a_table_reads_back_bit_for_bit(tmp_path):
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, (2500, 3), np.uint32).view(np.float32)
    single = np.where(np.isfinite(bits), bits, np.float32(0.1))
    double = generator.normal(size=2500)
    integers = generator.integers(-(2**62), 2**62, (2500, 2))
    names = ["a, b", "c\td\n", "é", "x", "y", "z"]
    projector.write_table(tmp_path / "table.csv", [integers, single, double], names)
    header, *lines = (tmp_path / "table.csv").read_text(encoding="utf-8").split("\n")
    assert header == "a b,c d,é,x,y,z"
    assert lines.pop() == ""
    assert len(lines) == 2500
    cells = [line.split(",") for line in lines]
    np.testing.assert_array_equal([list(map(int, row[:2])) for row in cells], integers)
    np.testing.assert_array_equal(np.array([row[2:5] for row in cells], np.float32), single)
    np.testing.assert_array_equal([float(row[5]) for row in cells], double)


@pytest.fixture
def written(tmp_path):
    """A projection of 7 of 40 labelled colour images, and what it was made of."""
    split = InMemorySplit(noise(40, (8, 6, 3)), np.arange(80).reshape(40, 2) % 7, ("shape", "size"))
    indices = np.array([3, 4, 8, 15, 16, 23, 39])
    points = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    folder = tmp_path / "run" / "projector" / "evaluation"
    sprites = projector.sprite_sheet(split, indices)
    projector.write(folder, points, indices, split.factors(indices), split.factor_names, sprites)
    return folder, points, indices, split


def test_the_files(written):
    folder, points, indices, split = written
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    files = {embedding.tensor_path, embedding.metadata_path, embedding.sprite.image_path}
    assert files | {"projector_config.pbtxt"} == {path.name for path in folder.iterdir()}
    np.testing.assert_array_equal(np.loadtxt(folder / embedding.tensor_path, np.float32), points)
    header, *lines = (folder / embedding.metadata_path).read_text().splitlines()
    assert header == "shape\tsize\tindex"
    assert lines == [f"{2 * i % 7}\t{(2 * i + 1) % 7}\t{i}" for i in (3, 4, 8, 15, 16, 23, 39)]
    # TensorBoard's order is width, height.
    assert list(embedding.sprite.single_image_dim) == [6, 8]
    pixels = np.asarray(Image.open(folder / embedding.sprite.image_path))
    for position, index in enumerate(indices):
        np.testing.assert_array_equal(tile(pixels, position, 3, 8, 6), split.array[index])


def plugin(logdir):
    """TensorBoard's plug-in on a folder: route -> response."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    routes = ProjectorPlugin(TBContext(logdir=str(logdir), data_provider=provider)).get_plugin_apps()

    def get(route, **query):
        response = Client(routes[route]).get(route, query_string=query)
        assert response.status_code == 200, response.text
        return response

    return get


def test_tensorboard_serves_it(written, tmp_path):
    folder, points, indices, _ = written
    assert json.loads(plugin(tmp_path)("/runs").text) == []
    projector.announce(folder, "7 images")

    get = plugin(tmp_path)
    run = "run/projector/evaluation"
    assert json.loads(get("/runs").text) == [run]
    (embedding,) = json.loads(get("/info", run=run).text)["embeddings"]
    assert embedding["tensorShape"] == [7, 5]
    named = {"run": run, "name": embedding["tensorName"]}
    assert get("/tensor", **named).data == points.tobytes()
    assert len(get("/metadata", **named).text.splitlines()) == 1 + len(indices)
    served = get("/sprite_image", **named)
    assert served.mimetype == "image/png"
    assert served.data == (folder / "sprites.png").read_bytes()


def test_without_factors_the_metadata_has_no_header(tmp_path):
    split = InMemorySplit(noise(5))
    indices = np.array([0, 2, 4])
    sprites = projector.sprite_sheet(split, indices)
    projector.write(tmp_path, np.ones((3, 2), np.float32), indices, np.zeros((3, 0), np.int64), (), sprites)
    assert (tmp_path / "metadata.tsv").read_text() == "0\n2\n4\n"
    projector.announce(tmp_path, "3 images")
    get = plugin(tmp_path)
    assert json.loads(get("/runs").text) == ["."]
    assert get("/metadata", run=".", name="latents").text == "0\n2\n4\n"


def test_a_single_latent_is_drawn_on_a_line(tmp_path):
    sprites = projector.sprite_sheet(InMemorySplit(noise(3)), np.arange(3))
    points = np.array([[0.5], [-1.5], [2.0]], np.float32)
    projector.write(tmp_path, points, np.arange(3), np.zeros((3, 0), np.int64), (), sprites)
    projector.announce(tmp_path, "3 images")
    (embedding,) = json.loads(plugin(tmp_path)("/info", run=".").text)["embeddings"]
    assert embedding["tensorShape"] == [3, 2]  # Its page leaves out what has but one column.
    drawn = np.loadtxt(tmp_path / "points.tsv")
    np.testing.assert_array_equal(drawn, [[0.5, 0], [-1.5, 0], [2, 0]])
