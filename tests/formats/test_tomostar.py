"""Warp's tomostar."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.star import read_star
from thon.formats.tomostar import read_tomostar, write_tomostar


def a_series(folder: Path) -> TiltSeries:
    tilt, order = np.array([-6.0, -3.02, 0.0, 3.0]), np.array([3, 2, 0, 1])
    return TiltSeries(
        name="TS_1",
        images=tuple(ImageRef(f"{folder}/TS_1.mrc", k) for k in range(4)),
        image_shape=(40, 48),
        pixel_size=1.5,
        geometry=TiltGeometry.nominal(tilt, -93.5),
        order=order,
        exposure=np.full(4, 2.64),
        prior_exposure=order * 2.64,
        movies=tuple(f"{folder}/frames/t_{k}.eer" for k in range(4)),
    )


def test_round_trip(tmp_path: Path) -> None:
    (tmp_path / "tomostar").mkdir()
    series = replace(a_series(tmp_path), excluded={1: "dark"})
    path = tmp_path / "tomostar/TS_1.tomostar"
    assert write_tomostar(path, series, intensity=np.array([3.854, 1, 3.999, 4.029]), masked=np.full(4, 0.25)) == []
    found = read_tomostar(path)
    assert found.movies == tuple(f"../frames/t_{k}.eer" for k in (0, 2, 3))
    assert found.tilt.tolist() == [-6, 0, 3]
    assert found.axis.tolist() == [-93.5] * 3
    np.testing.assert_allclose(found.prior_exposure, [7.92, 0, 2.64])
    assert found.intensity.tolist() == [3.854, 3.999, 4.029]
    assert found.masked.tolist() == [0.25] * 3
    assert list(read_star(path)) == [""]
    assert list(found.columns.columns)[:4] == ["wrpMovieName", "wrpAngleTilt", "wrpAxisAngle", "wrpDose"]


def test_as_warp_writes_it(tmp_path: Path) -> None:
    text = (
        "\ndata_\n\nloop_\n_wrpMovieName #1\n_wrpAngleTilt #2\n_wrpAxisAngle #3\n_wrpDose #4\n_wrpNew #5\n"
        "  ../f/a_-40.0.tif   40.01  -93.500  105.600006  x\n  ../f/b.tif    0.02  -93.500           0  y\n"
    )
    (tmp_path / "a.tomostar").write_text(text)
    found = read_tomostar(tmp_path / "a.tomostar")
    assert found.movies == ("../f/a_-40.0.tif", "../f/b.tif")
    assert found.tilt.tolist() == [40.01, 0.02]
    assert np.isnan(found.intensity).all()
    assert found.columns.columns["wrpNew"] == ["x", "y"]


def test_what_is_missing(tmp_path: Path) -> None:
    series = a_series(tmp_path)
    stack = replace(series, movies=(), geometry=replace(series.geometry, shift=np.ones((4, 2))))
    (note,) = write_tomostar(tmp_path / "a.tomostar", stack)
    assert "shifts" in note
    assert read_tomostar(tmp_path / "a.tomostar").movies == ("TS_1.mrc",) * 4
    with pytest.raises(InputError, match="dose before an image"):
        write_tomostar(tmp_path / "a.tomostar", replace(series, prior_exposure=np.array([0, np.nan, 1, 2])))
    with pytest.raises(InputError, match="no image"):
        write_tomostar(tmp_path / "a.tomostar", replace(series, excluded=dict.fromkeys(range(4), "dark")))
    (tmp_path / "b.tomostar").write_text("data_\n\nloop_\n_wrpMovieName #1\na.tif\n")
    with pytest.raises(FormatError, match="lists no tilts"):
        read_tomostar(tmp_path / "b.tomostar")
