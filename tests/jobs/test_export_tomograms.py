"""What other programs are given of a tomogram: read back with the readers of their files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.jobs.examples import geometry
from thon.base.errors import InputError
from thon.data.alignment import AlignedTiltSeries
from thon.data.ctf import TiltCtf
from thon.data.optics import Optics
from thon.data.tilt_series import ImageRef
from thon.data.volume import Tomogram, Volume
from thon.formats.aretomo import aln_to_geometry, read_aln
from thon.formats.aretomo_session import read_done, read_metrics, read_session
from thon.formats.images import open_images, write_images
from thon.formats.relion_tomo import read_tomograms
from thon.formats.tomostar import read_tomostar
from thon.job.context import Context
from thon.jobs.export_tomograms import ExportTomogramsOptions, export_tomograms

SHAPE = (6, 10, 8)


def tomogram(folder: Path, name: str = "TS_03") -> Tomogram:
    """A small volume of random voxels, and a series of five images without diagnostics."""
    random = np.random.default_rng(1)
    images = random.normal(size=(5, 12, 14)).astype(np.float32)
    write_images(folder / f"{name}.st", images, 4.0)
    volume = random.normal(size=SHAPE).astype(np.float32)
    write_images(folder / f"{name}_Vol.mrc", volume, 8.0)
    series = AlignedTiltSeries(
        name=name,
        images=tuple(ImageRef(str(folder / f"{name}.st"), k) for k in range(5)),
        image_shape=(12, 14),
        pixel_size=4.0,
        geometry=geometry(5),
        order=np.array([4, 2, 0, 1, 3]),
        exposure=np.full(5, 3.0),
        prior_exposure=np.array([12.0, 6.0, 0.0, 3.0, 9.0]),
        optics=Optics(300.0, 2.7, 0.1),
        excluded={1: "dark"},
    )
    return Tomogram(name, Volume(str(folder / f"{name}_Vol.mrc"), SHAPE, 8.0), tilts=series)


def run(made: Tomogram, place: Path, **options: object) -> Path:
    context = Context.local(place / "job", item=made.series)
    return export_tomograms(made, ExportTomogramsOptions.model_validate(options), context)


def test_aretomos_folder_has_stack_volume_tables_and_rows(tmp_path: Path) -> None:
    made, out = tomogram(tmp_path), tmp_path / "out"
    run(made, tmp_path, write=("aretomo",), folder=str(out), imod=2, second_bin=2)
    with open_images(tmp_path / "TS_03_Vol.mrc") as ours, open_images(out / "TS_03_Vol.mrc") as theirs:
        np.testing.assert_array_equal(theirs.asarray(), ours.asarray()[::-1].transpose(1, 0, 2))
    with open_images(out / "TS_03_Vol.mrc") as fine, open_images(out / "TS_03_2ND_Vol.mrc") as coarse:
        blocks = fine.asarray().reshape(5, 2, 3, 2, 4, 2).mean((1, 3, 5))
        np.testing.assert_allclose(coarse.asarray(), blocks, atol=1e-6)
        assert coarse.pixel_size == pytest.approx(16.0)
    with open_images(out / "TS_03.mrc") as stack, open_images(tmp_path / "TS_03.st") as images:
        np.testing.assert_array_equal(stack.asarray(), images.asarray())
        with open_images(out / "TS_03_Imod" / "TS_03_st.mrc") as kept:
            np.testing.assert_array_equal(kept.asarray(), images.asarray()[[0, 2, 3, 4]])
    assert [row.series for row in read_metrics(out / "TiltSeries_Metrics.csv")] == ["TS_03"]
    assert read_done(out / "MdocDone.txt") == ("TS_03.mdoc",)
    assert read_session(out / "AreTomo3_Session.json").parameters["PixSize"] == 4.0


def test_a_volume_with_its_sections_along_y_comes_out_the_same(tmp_path: Path) -> None:
    made = tomogram(tmp_path)
    with open_images(tmp_path / "TS_03_Vol.mrc") as volume:
        write_images(tmp_path / "along_y.mrc", volume.asarray().transpose(1, 0, 2).copy(), 8.0)
    along_y = replace(made, volume=replace(made.volume, path=str(tmp_path / "along_y.mrc")))
    for one, name in ((made, "a"), (along_y, "b")):
        run(one, tmp_path, write=("aretomo",), folder=str(tmp_path / name), stacks=False)
    with open_images(tmp_path / "a" / "TS_03_Vol.mrc") as a, open_images(tmp_path / "b" / "TS_03_Vol.mrc") as b:
        np.testing.assert_array_equal(a.asarray(), b.asarray())


def test_relions_table_gathers_series_and_replaces_one_that_comes_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("TS_03", "TS_04", "TS_03"):
        run(tomogram(tmp_path, name), tmp_path, write=("relion", "warp"), folder=str(out))
    found = read_tomograms(out / "tomograms.star", (12, 14))
    assert sorted(one.series.name for one in found) == ["TS_03", "TS_04"]
    assert found[0].volume_shape == (12, 20, 16)
    np.testing.assert_allclose(found[0].series.geometry.shift, geometry(5).shift[[0, 2, 3, 4]], atol=1e-3)
    assert len(read_tomostar(out / "TS_03.tomostar")) == 4


def test_the_geometry_is_about_the_volumes_centre(tmp_path: Path) -> None:
    made = tomogram(tmp_path)
    moved = replace(made, volume=replace(made.volume, origin=(40.0, 0.0, 0.0)))
    run(moved, tmp_path, write=("relion", "aretomo"), folder=str(tmp_path / "out"), stacks=False)
    kept = [0, 2, 3, 4]
    expected = geometry(5).project(np.array([[40.0, 0.0, 0.0]]))[kept, 0]
    assert np.abs(expected - geometry(5).shift[kept]).max() > 5
    [found] = read_tomograms(tmp_path / "out" / "tomograms.star", (12, 14))
    np.testing.assert_allclose(found.series.geometry.shift, expected, atol=1e-3)
    theirs, _ = aln_to_geometry(read_aln(tmp_path / "out" / "TS_03.aln"), (12, 14), 4.0)
    np.testing.assert_allclose(theirs.shift[kept], expected, atol=1e-3)


def test_relion_is_told_the_defocus_at_the_tomograms_centre(tmp_path: Path) -> None:
    made = tomogram(tmp_path)
    assert made.tilts is not None
    value = np.full(5, 20_000.0)
    ctf = TiltCtf(value, value - 300, np.zeros(5), np.zeros(5), np.ones((5, 4)), np.ones(5), np.full(5, 8.0))
    series = replace(made.tilts, ctf=ctf, hand=-1)
    run(replace(made, tilts=series), tmp_path, write=("relion",), folder=str(tmp_path / "out"))
    [found] = read_tomograms(tmp_path / "out" / "tomograms.star", (12, 14))
    # The centre falls `shift` away from the image's; across an axis at φ the flat specimen rises by −u tan θ.
    phi, theta = np.deg2rad(series.geometry.rotation), np.deg2rad(series.geometry.tilt)
    across = series.geometry.shift[:, 0] * np.sin(phi) + series.geometry.shift[:, 1] * np.cos(phi)
    expected = 20_000 - 1 * -across * np.tan(theta)
    assert np.ptp(expected) > 10
    assert found.series.ctf is not None
    np.testing.assert_allclose(found.series.ctf.defocus_u, expected[[0, 2, 3, 4]], atol=0.01)


def test_nothing_is_written_unless_asked_for_and_a_lonely_volume_says_so(tmp_path: Path) -> None:
    made = tomogram(tmp_path)
    assert run(made, tmp_path).read_text() == ""
    assert sorted(path.name for path in (tmp_path / "job" / "outputs").iterdir()) == ["exported.txt"]
    with pytest.raises(InputError, match="not known"):
        run(replace(made, tilts=None), tmp_path, write=("relion",))
