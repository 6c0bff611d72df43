"""Figures draw the numbers that they were given, at the right scale; the measures behind them are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics, ThicknessProfile, TiltSigma
from thon.data.geometry import LocalField, TiltGeometry
from thon.data.tilt_series import ImageRef
from thon.formats.report import measures
from thon.formats.report.axis import draw_axis
from thon.formats.report.content import CentralSlices, FscCurve, ReportContent
from thon.formats.report.excluded import draw_excluded
from thon.formats.report.fsc import draw_fsc
from thon.formats.report.local import chosen_tilts, draw_local
from thon.formats.report.residuals import draw_residuals, vector_tilt
from thon.formats.report.shifts import draw_shifts
from thon.formats.report.slices import draw_slices
from thon.formats.report.style import DARK, LIGHT, pixels, reuse_layout
from thon.formats.report.tables import duration
from thon.formats.report.thickness import draw_thickness

TILTS = 9


@pytest.fixture(scope="module")
def content() -> ReportContent:
    random = np.random.default_rng(8)
    tilt = np.linspace(-40, 40, TILTS) + 1.0
    local = LocalField(random.normal(0, 6, (TILTS, 5, 6, 2)), (500.0, 700.0))
    magnification = 1 + 0.002 * np.sin(tilt)
    geometry = TiltGeometry(
        tilt, random.normal(0, 50, (TILTS, 2)), 84 + 0.02 * tilt, np.zeros(TILTS), magnification, local
    )
    residual = random.normal(0, 5, (12, TILTS, 2))
    residual[:, 3] = np.nan
    correlation = np.linspace(0.2, 0.8, TILTS)
    diagnostics = AlignmentDiagnostics(
        method="test",
        sigma=TiltSigma(
            np.full((TILTS, 2), 4.0), np.full(TILTS, 0.1), np.zeros(TILTS), np.zeros(TILTS), np.full(TILTS, 0.001)
        ),
        correlation=correlation,
        confidence=0.6,
        axis_angle=np.linspace(80, 90, 11),
        axis_score=-((np.linspace(80, 90, 11) - 84) ** 2),
        points=random.uniform(-900, 900, (12, 3)),
        residual=residual,
        profile=ThicknessProfile(np.linspace(-900, 900, 61), np.ones(61), -500.0, 300.0, (2.0, -1.0), (0.7, 0.5)),
    )
    series = AlignedTiltSeries(
        name="a", images=tuple(ImageRef("a.st", k) for k in range(TILTS)), image_shape=(210, 330), pixel_size=8.0,
        geometry=geometry, order=np.arange(TILTS), exposure=np.ones(TILTS), prior_exposure=np.arange(TILTS) * 1.0,
        excluded={3: "dark $", 4: "grid bar"}, diagnostics=diagnostics,
    )  # fmt: skip
    raw = random.normal(10, 1, (TILTS, 21, 33))
    raw[3] = 0
    return ReportContent(title="a", series=series, nominal=TiltGeometry.nominal(tilt - 1.0, 85.0), raw=raw)


def axes_of(figure, title):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def line(axes, label):
    return next(line for line in axes.get_lines() if line.get_label() == label)


def test_shifts_are_those_of_the_geometry_with_gaps_at_excluded_tilts(content):
    figure, series = draw_shifts(content, LIGHT), content.series
    kept = series.kept
    for label, axis in (("y", 0), ("x", 1)):
        tilt, value = line(axes_of(figure, "Shift"), label).get_data()
        np.testing.assert_array_equal(tilt, series.geometry.tilt)
        np.testing.assert_array_equal(value[kept], series.geometry.shift[kept, axis])
        assert np.isnan(value[[3, 4]]).all()
    bands = np.concatenate([path.vertices for path in axes_of(figure, "Shift").collections[0].get_paths()])
    assert bands[:, 1].max() == pytest.approx(series.geometry.shift[kept, 0].max() + 4)
    assert bands[:, 1].min() == pytest.approx(series.geometry.shift[kept, 0].min() - 4)
    titles = {axes.get_title(loc="left") for axes in figure.axes}
    assert titles == {"Shift", "Tilt axis", "Tilt correction", "Magnification"}
    percent = line(axes_of(figure, "Magnification"), "Magnification").get_ydata()
    np.testing.assert_allclose(percent[kept], 100 * (series.geometry.magnification[kept] - 1))
    correction = line(axes_of(figure, "Tilt correction"), "Tilt correction").get_ydata()
    np.testing.assert_allclose(correction[kept], 1.0)


def test_axis_search_and_correlation(content):
    figure = draw_axis(content, LIGHT)
    search, agreement = figure.axes
    np.testing.assert_array_equal(search.get_lines()[0].get_ydata(), content.diagnostics.axis_score)
    mean = content.series.geometry.rotation[content.series.kept].mean()
    assert search.get_lines()[1].get_xdata()[0] == pytest.approx(mean)
    shown = agreement.get_lines()[0].get_ydata()
    assert np.isfinite(shown).sum() == TILTS - 2
    low, high = agreement.get_ylim()
    assert low <= 0
    assert 0.8 < high <= 1


def test_slices_have_the_volume_s_proportions_and_a_true_scale_bar():
    random = np.random.default_rng(0)
    shapes = {"xy": (300, 400), "xz": (50, 400), "yz": (50, 300)}
    slices = CentralSlices(**{name: random.normal(size=shape) for name, shape in shapes.items()}, voxel_size=12.0)
    figure = draw_slices(ReportContent("a", slices=slices), LIGHT)
    size = figure.get_size_inches()
    drawn = {axes.get_title(loc="left"): np.array(axes.get_position().size) * size for axes in figure.axes}
    scale = drawn["xy"][0] / 400
    np.testing.assert_allclose(drawn["xy"], np.array([400, 300]) * scale)
    np.testing.assert_allclose(drawn["xz"], np.array([400, 50]) * scale)
    np.testing.assert_allclose(drawn["yz"], np.array([50, 300]) * scale)
    bar = axes_of(figure, "xy").collections[-1].get_paths()[0].vertices[:, 0]
    assert np.ptp(bar) * 12.0 == pytest.approx(500)
    assert axes_of(figure, "xy").texts[0].get_text() == "50 nm"
    # y points up: the first row of the data is the lowest of the picture.
    assert axes_of(figure, "xy").get_images()[0].origin == "lower"


def test_fsc_marks_the_crossing():
    frequency = np.linspace(0, 0.05, 11)
    figure = draw_fsc(ReportContent("a", fsc=FscCurve(frequency, 1 - 20 * frequency)), LIGHT)
    marker = line(figure.axes[0], "0.143 at 23.3 Å")
    assert marker.get_xdata()[0] == pytest.approx(0.857 / 20)
    assert draw_fsc(ReportContent("a", fsc=FscCurve(frequency, np.full(11, np.nan))), LIGHT) is None


def test_residual_vectors_are_at_the_points_and_of_the_least_tilted_kept_image(content):
    series, residual = content.series, content.diagnostics.residual
    assert vector_tilt(series, measures.residual_length(residual)) == 5
    axes = axes_of(draw_residuals(content, LIGHT), "Vectors at 11.0°")
    arrows = next(artist for artist in axes.collections if hasattr(artist, "U"))
    expected = series.geometry.project(content.diagnostics.points)[5] / 10
    np.testing.assert_allclose(np.stack([arrows.Y, arrows.X], -1), expected)
    ratio = np.stack([arrows.V, arrows.U], -1) / residual[:, 5]
    np.testing.assert_allclose(ratio, ratio[0, 0])
    assert ratio[0, 0] > 0


def test_local_motion_is_the_field_at_the_image_s_positions(content):
    geometry = content.series.geometry
    position = measures.image_grid(content.series, 4)
    np.testing.assert_allclose(np.abs(position).max(0), [0.375 * 210 * 8, 0.375 * 330 * 8])
    moved = measures.local_displacement(geometry, position)
    rigid = replace(geometry, local=None)
    for k in range(TILTS):
        # A plane that the rigid geometry takes to the positions is bent by exactly what is shown.
        phi = np.deg2rad(geometry.rotation[k])
        y, x = ((position - geometry.shift[k]) / geometry.magnification[k]).T
        plane = np.stack([y * np.cos(phi) - x * np.sin(phi), y * np.sin(phi) + x * np.cos(phi)], -1)
        planes = np.broadcast_to(plane, (TILTS, *plane.shape))
        np.testing.assert_allclose(rigid.to_image(planes)[k], position)
        np.testing.assert_allclose(geometry.to_image(planes)[k] - position, moved[k], atol=1e-9)
    assert np.abs(moved).max() > 3
    assert not measures.local_displacement(rigid, position).any()
    shown = [axes.get_title(loc="left") for axes in draw_local(content, LIGHT).axes]
    assert shown == ["−39.0°", "−19.0°", "21.0°", "41.0°", "Local motion per tilt"]
    assert set(chosen_tilts(content.series)) <= set(content.series.kept)


def test_faces_and_slopes_of_the_sample(content):
    profile, slab = draw_thickness(content, LIGHT).axes
    faces = [line.get_xdata()[0] for line in profile.get_lines() if line.get_linestyle() == "--"]
    assert faces == pytest.approx([-50, 30])
    along_y = line(slab, "y: 2.00 ± 0.70°")
    (left, right), (start, stop) = along_y.get_data()
    assert right - left == pytest.approx(330 * 0.8)
    assert np.degrees(np.arctan((stop - start) / (right - left))) == pytest.approx(2)
    assert (start + stop) / 2 == pytest.approx(-10)


def test_excluded_images_keep_the_grey_values_of_the_kept_ones(content):
    figure = draw_excluded(content, LIGHT)
    dark, blocked = (axes.get_images()[0].get_array() for axes in figure.axes)
    assert dark.max() == 0
    assert 100 < blocked.mean() < 155
    assert [axes.get_title() for axes in figure.axes] == ["4: −9.0°", "5: 1.0°"]
    assert figure.axes[1].get_xlabel() == "grid bar"


def test_dark_twin_has_the_same_layout_in_other_colours(content):
    light, dark = draw_axis(content, LIGHT), draw_axis(content, DARK)
    shown = pixels(light)
    reuse_layout(dark, light)
    other = pixels(dark)
    assert shown.shape == other.shape
    assert tuple(shown[0, 0]) == (255, 255, 255)
    assert other[0, 0].max() < 40
    ink, other_ink = (np.abs(p.astype(int) - p[0, 0]).sum(-1) > 150 for p in (shown, other))
    assert (ink & other_ink).sum() > 0.8 * ink.sum()


def test_root_mean_square_ignores_what_is_missing():
    values = np.array([[3.0, np.nan, np.nan], [4.0, 2.0, np.nan]])
    np.testing.assert_allclose(measures.root_mean_square(values, 0), [np.sqrt(12.5), 2, np.nan])
    np.testing.assert_allclose(measures.root_mean_square(values, 1), [3, np.sqrt(10)])
    assert measures.overall_rms(values) == pytest.approx(np.sqrt(29 / 3))


@pytest.mark.parametrize(
    ("extent", "length"), [(6400.0, 1000.0), (999.0, 100.0), (2500.0, 500.0), (1e5, 2e4), (7.0, 1.0)]
)
def test_round_lengths(extent, length):
    assert measures.nice_length(extent) == pytest.approx(length)


def test_numbers_as_text():
    assert measures.number(-1.234, 2) == "−1.23"
    assert measures.number(-0.001, 2) == "0.00"
    assert measures.number(float("nan"), 2) == "–"
    assert measures.with_sigma(-2.0, 0.25, 2) == "−2.00 ± 0.25"
    assert measures.with_sigma(-2.0, 0.0, 2) == measures.with_sigma(-2.0, float("nan"), 2) == "−2.00"
    assert [measures.length_text(value) for value in (5.0, 1000.0, 2e4)] == ["0.5 nm", "100 nm", "2 µm"]
    assert [duration(value) for value in (0.25, 3.0, 125.0, 7321.0)] == ["250 ms", "3.0 s", "2 min 5 s", "2 h 2 min"]
