"""Maps and halves found by name; MTF tables; RELION's postprocess.star; the figures of maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.maps import GuinierPlot, SharpenedMap, ShellCurves
from thon.data.volume import Volume
from thon.formats.maps import half_map_files, read_map, require_same_box, write_map
from thon.formats.mrc import write_mrc
from thon.formats.mtf import read_mtf
from thon.formats.relion_postprocess import read_postprocess, write_postprocess
from thon.formats.report.orientations import draw_conical_fsc, draw_orientations
from thon.formats.report.postprocess import draw_guinier, draw_half_fsc
from thon.formats.report.style import DARK, LIGHT, pixels
from thon.formats.report.volume_views import draw_local_resolution, draw_views

NAMES = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_class001.mrc")
RELION = Path(__file__).parent.parent / "data" / "relion"


class TestMaps:
    def test_a_map_is_written_and_read_with_its_voxel_size(self, tmp_path: Path) -> None:
        values = np.random.default_rng(1).normal(size=(6, 7, 8)).astype(np.float32)
        record = write_map(tmp_path / "a.mrc", values, 2.5)
        assert record == Volume(str(tmp_path / "a.mrc"), (6, 7, 8), 2.5)
        for source in (record, record.path):
            again, size = read_map(source)
            np.testing.assert_array_equal(again, values)
            assert size == pytest.approx(2.5)

    def test_nan_and_images_are_refused(self, tmp_path: Path) -> None:
        values = np.zeros((4, 4, 4), np.float32)
        values[1, 2, 3] = np.nan
        write_mrc(tmp_path / "nan.mrc", values, 1.0)
        with pytest.raises(InputError, match="NaN"):
            read_map(tmp_path / "nan.mrc")
        write_mrc(tmp_path / "image.mrc", values[:1] + 1, 1.0)
        with pytest.raises(InputError, match="no volume"):
            read_map(tmp_path / "image.mrc")
        with pytest.raises(InputError, match=r"another box.*\n.*4 × 4 × 4"):
            require_same_box(values, (5, 4, 4), "the mask", "mask.mrc")

    @pytest.mark.parametrize(
        "given", ["run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_class001.mrc"]
    )
    def test_halves_are_found_by_name(self, tmp_path: Path, given: str) -> None:
        for name in ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_class001.mrc"):
            (tmp_path / name).touch()
        first, second = half_map_files(tmp_path / given)
        assert [first.name, second.name] == ["run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc"]

    def test_a_missing_half_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "map_half1.mrc").touch()
        with pytest.raises(InputError, match=r"map_half2\.mrc"):
            half_map_files(tmp_path / "map_half1.mrc")


class TestMtf:
    def test_values_lie_on_straight_lines_between_the_tables(self, tmp_path: Path) -> None:
        path = tmp_path / "mtf.star"
        path.write_text("data_mtf\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1.0\n0.25 0.8\n0.5 0.4\n")
        np.testing.assert_allclose(read_mtf(path).at(np.array([0, 0.125, 0.375, 0.5, 0.7])), [1, 0.9, 0.6, 0.4, 0.4])

    @pytest.mark.parametrize(
        ("rows", "message"),
        [("0 1\n0.5 0.3\n0.25 0.5\n", "grow"), ("0 1\n0.5 -0.1\n", "between 0 and 1"), ("0 1\n0.5 x\n", "no number")],
    )
    def test_what_no_detector_has_is_refused(self, tmp_path: Path, rows: str, message: str) -> None:
        path = tmp_path / "mtf.star"
        path.write_text(f"data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n{rows}")
        with pytest.raises(FormatError, match=message):
            read_mtf(path)

    def test_another_star_is_no_mtf(self) -> None:
        with pytest.raises(FormatError, match="no MTF"):
            read_mtf(RELION / "postprocess_5.0.1.star")


def sharpened() -> SharpenedMap:
    """A record with curves."""
    frequency = np.arange(5) * 0.02
    curves = ShellCurves(frequency, *(np.array([1, 0.9, 0.5, 0.2, k / 10]) for k in range(4)))
    guinier = GuinierPlot(frequency**2, *(np.linspace(-1, -k, 5) for k in (3, 4, 2)), -20.0, -1.5, 0.9)
    volume = Volume("/project/job/map.mrc", (10, 10, 10), 5.0)
    halves = [Volume(f"/project/refine/half{k}.mrc", (10, 10, 10), 5.0) for k in (1, 2)]
    return SharpenedMap(
        volume=volume,
        first=halves[0],
        second=halves[1],
        unsharpened=volume,
        b_factor=-80.0,
        resolution=15.5,
        curves=curves,
        guinier=guinier,
        mask=Volume("/project/mask.mrc", (10, 10, 10), 5.0),
    )


class TestPostprocessStar:
    @pytest.mark.parametrize(
        ("version", "resolution", "b_factor", "shells"),
        [("3.1.3", 16, -1440.5716, 21), ("5.0.1", 5.32, -124.17009, 49)],
    )
    def test_relions_is_read(self, version: str, resolution: float, b_factor: float, shells: int) -> None:
        found = read_postprocess(RELION / f"postprocess_{version}.star")
        assert (found.resolution, found.b_factor) == (resolution, b_factor)
        assert len(found.curves.best) == shells
        assert found.curves.corrected is not None
        assert found.guinier is not None
        assert 4 * found.guinier.slope == pytest.approx(b_factor, rel=1e-6)
        assert found.mask is not None
        assert found.mask.endswith("mask.mrc")

    def test_what_is_written_is_read_again(self, tmp_path: Path) -> None:
        record = sharpened()
        write_postprocess(tmp_path / "p.star", record, Path("/project/job/masked.mrc"), "/project")
        found = read_postprocess(tmp_path / "p.star")
        assert found.half_maps == ("refine/half1.mrc", "refine/half2.mrc")
        assert (found.resolution, found.b_factor, found.mask) == (15.5, -80.0, "mask.mrc")
        for name in ("unmasked", "masked", "randomised", "corrected"):
            np.testing.assert_allclose(getattr(found.curves, name), getattr(record.curves, name), atol=1e-6)
        np.testing.assert_allclose(found.guinier.weighted, record.guinier.weighted, atol=1e-6)  # type: ignore[union-attr]

    def test_another_star_is_refused(self) -> None:
        with pytest.raises(FormatError, match=r"no postprocess\.star"):
            read_postprocess(RELION / "motion_truth.star")


class TestFigures:
    """Pixels differ where the data do: what is drawn is the data."""

    @pytest.mark.parametrize("theme", [LIGHT, DARK])
    def test_curves_are_drawn_and_told(self, theme) -> None:
        record = sharpened()
        figure = draw_half_fsc(record.curves, 15.5, theme, randomised_from=25.0)
        labels = figure.axes[0].get_legend_handles_labels()[1]
        assert labels == ["unmasked", "masked", "randomised", "corrected", "0.143 at 15.50 Å"]
        nothing = draw_half_fsc(ShellCurves(record.curves.frequency, record.curves.unmasked), np.nan, theme)
        assert "no resolution" in nothing.axes[0].get_title(loc="left")
        assert nothing.axes[0].get_legend_handles_labels()[1] == ["unmasked"]
        plot = draw_guinier(record.guinier, record.b_factor, theme)
        assert "−80" in plot.axes[0].get_title(loc="left")
        assert pixels(plot).std() > 1

    def test_a_map_is_drawn_in_sections_and_projections(self) -> None:
        volume = np.zeros((20, 24, 28), np.float32)
        volume[8:12, 10:14, 6:10] = 1
        figure = draw_views(volume, 4.0, LIGHT)
        shown = [axes.images[0].get_array() for axes in figure.axes]
        assert [image.shape for image in shown] == [(24, 28), (20, 28), (20, 24)] * 2
        np.testing.assert_array_equal(shown[3], volume.sum(0))

    def test_local_resolution_has_colours_within_the_mask_alone(self) -> None:
        resolution = np.broadcast_to(np.linspace(4, 12, 20)[:, None, None], (20, 20, 20)).astype(np.float32)
        inside = np.zeros((20, 20, 20), np.float32)
        inside[4:16, 4:16, 4:16] = 1
        figure = draw_local_resolution(inside, resolution, inside, LIGHT)
        section = np.asarray(figure.axes[1].images[0].get_array())
        assert np.ptp(section[10, 2]) == 0
        assert np.ptp(section[6, 10]) > 0.2
        assert np.abs(section[6, 10] - section[13, 10]).max() > 0.3

    def test_directions_fall_where_they_are(self) -> None:
        directions = np.array([[0.0, 1.0, 0.0]] * 25000 + [[1.0, 0.0, 0.0]] * 5000)
        figure = draw_orientations(directions, 0.3, LIGHT)
        counts = np.asarray(figure.axes[0].images[0].get_array())
        assert counts[18, 54] == counts.max()
        assert counts[-1].sum() == pytest.approx(counts.sum() / 6)
        assert "0.30" in figure.axes[0].get_title(loc="left")

    def test_cones_are_drawn_with_their_ratio(self) -> None:
        figure = draw_conical_fsc(np.arange(10) * 0.02, np.linspace(1, 0, 10) * np.ones((5, 1)), 0.71, LIGHT)
        assert "0.71" in figure.axes[0].get_title(loc="left")
