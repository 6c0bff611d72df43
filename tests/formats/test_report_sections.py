"""Central slices come out the same however the volume lies in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.data.volume import Volume
from thon.formats.mrc import write_mrc
from thon.formats.report.sections import read_central_slices


@pytest.mark.parametrize("along_y", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_slices_do_not_depend_on_the_order_of_axes(tmp_path: Path, along_y: bool, mirrored: bool) -> None:
    truth = np.random.default_rng(1).normal(size=(9, 14, 21)).astype(np.float32)
    stored = truth[::-1] if mirrored else truth
    stored = stored.transpose(1, 0, 2) if along_y else stored
    write_mrc(tmp_path / "v.mrc", np.ascontiguousarray(stored), 12.0, kind="volume")
    volume = Volume(str(tmp_path / "v.mrc"), (9, 14, 21), 12.0)
    slices = read_central_slices(volume, sections_along_y=along_y, mirrored=mirrored, thick=3)
    np.testing.assert_allclose(slices.xy, truth[3:6].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slices.xz, truth[:, 6:9].mean(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slices.yz, truth[:, :, 9:12].mean(2), rtol=1e-5, atol=1e-6)
    assert slices.voxel_size == 12.0
