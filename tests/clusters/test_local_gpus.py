"""How workers on one machine share its GPUs."""

import os

import pytest

from vaeflow.clusters import local
from vaeflow.errors import ConfigurationError


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ("", [{}, {}]),
        ("-1", [{}, {}]),
        ("0,1", [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]),
        ("3,5,GPU-a,7,8", [{"CUDA_VISIBLE_DEVICES": "3,5"}, {"CUDA_VISIBLE_DEVICES": "GPU-a,7"}]),
    ],
)
def test_no_two_workers_use_one_gpu(monkeypatch, gpus, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert local._share_gpus(2) == expected


@pytest.mark.slow
def test_gpus_are_counted_where_none_are_chosen(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf 'GPU 0: H\\nGPU 1: H\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert local._share_gpus(2) == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    with pytest.raises(ConfigurationError, match="3 workers cannot share 2 GPU"):
        local._share_gpus(3)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert local._share_gpus(3) == [{}, {}, {}]
