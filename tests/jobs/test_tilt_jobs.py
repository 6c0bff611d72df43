"""The alignment and reconstruction jobs on files: what they write can be read again and says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.jobs.examples import geometry, write_series
from thon.base.errors import InputError
from thon.data.alignment import AlignedTiltSeries
from thon.data.tilt_series import TiltSeries
from thon.data.volume import Tomogram
from thon.formats.alignments import read_alignment
from thon.formats.images import write_images
from thon.formats.mrc import open_mrc
from thon.job.context import Context
from thon.job.plan import Resources
from thon.jobs.align_tilts import AlignTiltsJobOptions, align_tilts, plan_align_tilts
from thon.jobs.import_tilts import ImportTiltsOptions, import_tilts
from thon.jobs.reconstruct import ReconstructJobOptions, plan_reconstruct, reconstruct

SHAPE = (130, 144)
TILTS = 17


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> TiltSeries:
    folder = tmp_path_factory.mktemp("series")
    path = write_series(folder, SHAPE, TILTS)
    options = ImportTiltsOptions(angles=folder / "series.tlt", tilt_axis=-4, exclude=(2,), name="series")
    return import_tilts(path, options, Context.local(folder / "import"))


@pytest.fixture(scope="module")
def aligned(series: TiltSeries, tmp_path_factory: pytest.TempPathFactory) -> tuple[AlignedTiltSeries, Path]:
    folder = tmp_path_factory.mktemp("aligned")
    options = AlignTiltsJobOptions(patches=6, rounds=2, patch_size=48, local=False)
    return align_tilts(series, options, Context.local(folder)), folder / "outputs"


def test_the_alignment_is_that_of_the_images(aligned: tuple[AlignedTiltSeries, Path]) -> None:
    found = aligned[0].geometry
    points = np.random.default_rng(0).uniform(-400, 400, (40, 3)) * [0.2, 1, 1]
    gap = found.project(points) - geometry(TILTS).project(points)
    moves = found.project(np.eye(3)) - found.project(np.zeros((1, 3)))
    moved = np.linalg.lstsq(np.swapaxes(moves, 1, 2).reshape(-1, 3), gap.mean(1).reshape(-1), rcond=None)[0]
    left = gap - np.einsum("kxc,x->kc", moves, moved)[:, None]
    kept = aligned[0].kept
    # 12.5 Å per pixel; started up to 4 px off
    assert np.sqrt((left[kept] ** 2).sum(-1).mean()) < 8
    assert 2 in aligned[0].excluded


@pytest.mark.parametrize("suffix", [".xf", ".aln"])
def test_the_written_alignment_projects_the_same(
    aligned: tuple[AlignedTiltSeries, Path], series: TiltSeries, suffix: str
) -> None:
    record, folder = aligned
    read = read_alignment(folder / f"series{suffix}", SHAPE, series.pixel_size, count=TILTS)
    points = np.random.default_rng(0).uniform(-600, 600, (30, 3))
    kept = record.kept
    ours, theirs = record.geometry.project(points)[kept], read.geometry.project(points)
    theirs = theirs[kept] if len(theirs) == TILTS else theirs
    assert np.abs(ours - theirs).max() < 0.02 * series.pixel_size


def test_the_report_and_pictures_are_there(aligned: tuple[AlignedTiltSeries, Path]) -> None:
    folder = aligned[1]
    page = (folder / "report.html").read_text()
    assert "series" in page
    assert "left out" in page.lower() or "excluded" in page.lower()
    assert {"shifts.png", "residuals.png", "thickness.png"} <= {path.name for path in folder.iterdir()}
    assert (folder.parent / "previews" / "aligned.png").exists()


def test_a_mask_of_another_size_is_refused(series: TiltSeries, tmp_path: Path) -> None:
    write_images(tmp_path / "mask.mrc", np.ones((1, 20, 20), np.float32), series.pixel_size)
    options = AlignTiltsJobOptions(mask=tmp_path / "mask.mrc")
    with pytest.raises(InputError, match="mask"):
        align_tilts(series, options, Context.local(tmp_path))


def test_a_plan_says_what_was_understood(series: TiltSeries) -> None:
    resources = Resources(threads=1, memory=4 * 10**9)
    plan = plan_align_tilts(series, AlignTiltsJobOptions(), resources)
    assert f"{TILTS} images of {SHAPE[1]} × {SHAPE[0]}" in plan.understood[0]
    assert plan.memory is not None
    assert plan.memory > 4 * TILTS * SHAPE[0] * SHAPE[1]
    rebuilt = plan_reconstruct(series, ReconstructJobOptions(bin=2, thickness=400), resources)
    assert rebuilt.disk is not None
    assert rebuilt.disk >= 4 * 16 * 64 * 72


def _run(series: TiltSeries, folder: Path, **options: object) -> Tomogram:
    chosen = ReconstructJobOptions.model_validate({"bin": 1, "thickness": 300} | options)
    return reconstruct(series, chosen, Context.local(folder))


def test_halves_and_their_fsc(aligned: tuple[AlignedTiltSeries, Path], tmp_path: Path) -> None:
    made = _run(aligned[0], tmp_path, halves=True)
    assert made.even is not None
    assert made.odd is not None
    full, even, odd = (open_mrc(v.path).asarray() for v in (made.volume, made.even, made.odd))
    assert full.shape == (24, 130, 144)
    assert np.corrcoef(even.reshape(-1), odd.reshape(-1))[0, 1] > 0.05
    assert np.corrcoef((even + odd).reshape(-1), full.reshape(-1))[0, 1] > 0.9
    assert "FSC" in (tmp_path / "outputs" / "report.html").read_text()


def test_a_tilt_offset_and_a_pitch_are_in_the_tomograms_geometry(
    aligned: tuple[AlignedTiltSeries, Path], tmp_path: Path
) -> None:
    made, before = _run(aligned[0], tmp_path, bin=4, tilt_offset=3.0, pitch=-2.0), aligned[0].geometry
    assert made.tilts is not None
    np.testing.assert_allclose(made.tilts.geometry.tilt, before.tilt + 3)
    np.testing.assert_allclose(made.tilts.geometry.x_tilt, before.x_tilt - 2)
    np.testing.assert_array_equal(made.tilts.geometry.shift, before.shift)


def test_axes_hand_and_bytes_of_the_file(aligned: tuple[AlignedTiltSeries, Path], tmp_path: Path) -> None:
    plain = open_mrc(_run(aligned[0], tmp_path / "a").volume.path).asarray()
    made = _run(aligned[0], tmp_path / "b", orientation="xzy", hand="mirrored", precision="int8", multiscale=True)
    turned = open_mrc(made.volume.path).asarray()
    assert turned.dtype == np.int8
    assert turned.shape == (130, 24, 144)
    back = turned.transpose(1, 0, 2)[::-1].astype(np.float32)
    assert np.corrcoef(back.reshape(-1), plain.reshape(-1))[0, 1] > 0.99
    assert (tmp_path / "b" / "outputs" / "series_Vol.zarr" / ".zattrs").exists()


def test_the_mask_and_the_start_are_used(aligned: tuple[AlignedTiltSeries, Path], tmp_path: Path) -> None:
    mask = np.zeros((24, 130, 144), np.float32)
    mask[:, 30:90, 20:100] = 1
    write_images(tmp_path / "mask.mrc", mask, 12.5)
    made = _run(
        aligned[0],
        tmp_path / "run",
        method="SIRT",
        iterations={"number": 2},
        volume_mask=tmp_path / "mask.mrc",
    )
    volume = open_mrc(made.volume.path).asarray()
    assert np.abs(volume[mask == 0]).max() == 0
    assert np.abs(volume[mask == 1]).max() > 0
