"""The CUDA kernels, under Triton's interpreter here and on a device where there is one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from thon import kernels


def test_triton_kernels_agree_with_the_reference_under_the_interpreter():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    # The interpreter must be chosen before Triton's decorators run, hence a process of its own.
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("triton_check.py")
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors["torch.float32"]) == len(errors["torch.float64"]) == 6
    assert max(errors["torch.float32"]) < 1e-5
    assert max(errors["torch.float64"]) < 1e-9


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    paths = torch.randn(5, 2, 3, dtype=torch.float64) * torch.tensor([0.5, 0.5, 3.0])
    images, volume = torch.randn(5, 40, 150), torch.randn(20, 33, 140)
    maps = torch.tensor([[[0.8, -0.5, 6.0], [0.6, 0.7, -2.0]]], dtype=torch.float64).expand(5, 2, 3)
    for here, there in (
        (kernels.backproject(images, paths, (20, 33)), kernels.backproject(images.cuda(), paths.cuda(), (20, 33))),
        (kernels.project(volume, paths, 40), kernels.project(volume.cuda(), paths.cuda(), 40)),
        (kernels.sample_images(images, maps, (50, 60)), kernels.sample_images(images.cuda(), maps.cuda(), (50, 60))),
    ):
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-5)
