"""The runs of the tokenizers: their commands, in which order, and the pictures of their samples."""

import subprocess
import types

import numpy as np
import pytest
from PIL import Image

from results.tokenizers import run


@pytest.fixture
def noted(monkeypatch):
    """The command lines of vaeflow, none of which is run."""
    lines = []

    def note(command, check):
        lines.append(command[3:])
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", note)
    monkeypatch.setattr(run, "write_pictures", lambda *folders: None)
    return lines


def test_each_tokenizer_is_trained_measured_encoded_exported_and_drawn(noted, tmp_path):
    assert run.main([f"--runs={tmp_path}", "--names=fsq_vae", "--seeds=3,4"]) == 0
    commands = ["train", "evaluate", "encode", "export", "sample", "record"]
    assert [line[0] for line in noted] == commands * 2
    for seed, lines in ((3, noted[:6]), (4, noted[6:])):
        assert all(f"--workdir={tmp_path}/fsq_vae-{seed}" in line for line in lines)
        assert f"--gin_param=train.seed = {seed}" in lines[0]


def test_the_prior_comes_last_and_reads_the_codes_of_the_vq_vae(noted, tmp_path):
    assert run.main([f"--runs={tmp_path}"]) == 0
    train = [line for line in noted if line[0] == "train"][-1]
    assert "--gin_file=code_prior.gin" in train
    assert f"--gin_param=Codes.folder = '{tmp_path}/vq_vae-1/encoded'" in train
    vq_vae = f"--workdir={tmp_path}/vq_vae-1"
    encoded = next(line for line in noted if line[0] == "encode" and vq_vae in line)
    assert "--gin_param=Photographs.stride = 4" in encoded


def test_an_unknown_run_is_refused(noted, capsys):
    with pytest.raises(SystemExit):
        run.main(["--names=vq_vea"])
    assert "no run vq_vea; there are autoencoder_kl, vq_vae," in capsys.readouterr().err
    assert not noted


def test_the_common_picture_has_the_patches_once_and_a_row_for_each_run(tmp_path):
    """Each row of 12 images is as high as an image and the gap below it."""
    patches = np.zeros((12, 32, 32, 3), np.float32)
    for name, value in (("vq_vae", 0.25), ("fsq_vae", 0.5)):
        folder = tmp_path / f"{name}-2" / "samples"
        folder.mkdir(parents=True)
        images = np.full_like(patches, value)
        np.savez(folder / "samples.npz", reconstruction_inputs=patches, reconstruction_images=images)
    run.write_pictures(tmp_path, 2, tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"vq_vae.png", "fsq_vae.png", "tokenizers.png"}
    with Image.open(tmp_path / "tokenizers.png") as picture:
        pixels = np.asarray(picture)
    height = (len(pixels) - 2) // 3
    shown = [int(pixels[2 + row * height, -10].flat[0]) for row in range(3)]
    assert shown == [0, 64, 128]
