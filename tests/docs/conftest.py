"""The series of the examples, a quarter of its pixels, where the documentation's commands look for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from thon.formats.images import open_images, write_images
from thon.ops.fourier import fourier_crop

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = Path("examples/empiar-10499/TS_00254.st")


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to run the documentation's code in."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / EXAMPLE).parent.mkdir(parents=True)
    with open_images(ROOT / EXAMPLE) as stack:
        images = torch.from_numpy(stack.asarray().astype("float32"))
        write_images(folder / EXAMPLE, fourier_crop(images, (210, 217)).numpy(), 2 * stack.pixel_size)
    shutil.copy(ROOT / EXAMPLE.with_suffix(".tlt"), folder / EXAMPLE.with_suffix(".tlt"))
    return folder
