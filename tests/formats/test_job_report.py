"""Reports on particles and maps: pages that need nothing else, and figures whose marks lie where the data are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.algorithms.particle_set import particles_with
from tests.formats.report_page import Page, decode
from thon.data.maps import GuinierPlot, ParticleClass, ShellCurves
from thon.formats.html_report import write_job_report
from thon.formats.report.class_flow import draw_class_flow, flow_figure
from thon.formats.report.classes import draw_gallery, draw_maps, gallery_figure
from thon.formats.report.content import ChangedOption
from thon.formats.report.convergence import (
    ClassHistory,
    RefinementHistory,
    class_history_figure,
    draw_class_history,
    draw_refinement_history,
    refinement_history_figure,
)
from thon.formats.report.job_page import JobReport, ReportFigure
from thon.formats.report.origin import draw_origin, origin_figure
from thon.formats.report.posterior import draw_sharpness
from thon.formats.report.postprocess import draw_guinier, fsc_figure, guinier_figure
from thon.formats.report.style import DARK, LIGHT, pixels
from thon.formats.report.symmetries import draw_symmetries
from thon.formats.report.volume_views import draw_mask

NAN = float("nan")


def curves() -> ShellCurves:
    """FSCs that cross 0.143 at known places: without a mask at 0.06, corrected at 0.08 Å⁻¹."""
    frequency = np.arange(11) * 0.01
    return ShellCurves(
        frequency,
        np.interp(frequency, [0, 0.06, 0.1], [1, 0.143, 0]),
        np.interp(frequency, [0, 0.09, 0.1], [1, 0.143, 0]),
        np.interp(frequency, [0, 0.04, 0.1], [1, 0.05, 0]),
        np.interp(frequency, [0, 0.08, 0.1], [1, 0.143, 0]),
    )


def refinement() -> RefinementHistory:
    n = np.arange(5.0)
    return RefinementHistory(
        resolution=np.array([NAN, 20, 15, 12, 11]),
        finest=30 - 4 * n,
        steps=np.stack([15 / 2**n, 3 / (n + 1)], -1),
        accuracy=np.stack([5 - n, 2 - n / 4], -1),
        changes=np.stack([40 / 3**n, 8 / 2**n], -1),
        probability=0.1 + 0.15 * n,
        significant=200 / 3**n,
        local=n > 2,
    )


def classes(shares: tuple[float, ...]) -> tuple[ParticleClass, ...]:
    return tuple(ParticleClass(share, 10.0 + k, 0.5 - 0.1 * k) for k, share in enumerate(shares))


def axes_of(figure, title: str):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def line(axes, label: str):
    return next(one for one in axes.lines if one.get_label() == label)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("page")
    gallery = np.random.default_rng(1).integers(0, 255, (60, 90), dtype=np.uint8)
    report = JobReport(
        title='<b>Refine</b> & "more" \'</script>',
        figures=[
            refinement_history_figure(refinement()),
            fsc_figure(curves(), 12.5),
            ReportFigure("gallery", "Images", lambda theme: gallery, "Noise <side> by side", "Each & its greys.", 85),
        ],
        numbers={"Resolution": "12.50 Å", "<i>Box</i>": "40 px"},
        warnings=["Something <odd> was seen."],
        options=[
            ChangedOption("mask", "/a/<b>.mrc", None, "", "A mask."),
            ChangedOption("classes", (1, 4), (), "", "Classes."),
        ],
        versions={"thon": "0.1"},
        prefix="map_",
    )
    pictures = write_job_report(folder / "report.html", report)
    return (folder / "report.html").read_text("utf-8"), pictures


class TestPage:
    def test_each_figure_is_a_png_and_in_the_page_in_the_colours_that_it_has(self, written) -> None:
        text, pictures = written
        page = Page(text)
        assert [path.name for path in pictures.values()] == ["map_convergence.png", "map_fsc.png", "map_gallery.png"]
        light = [decode(image["src"]).mean() for image in page.all("img")]
        dark = [decode(source["srcset"]).mean() for source in page.all("source")]
        # Pixels without colours of a theme are in the page once.
        assert len(light) == 3
        assert len(dark) == 2
        assert min(light[:2]) > 200
        assert max(dark) < 80
        for path in pictures.values():
            with Image.open(path) as image:
                assert np.asarray(image).std() > 5

    def test_nothing_comes_from_outside_and_what_does_is_escaped(self, written) -> None:
        text, _ = written
        page = Page(text)
        assert not re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", re.sub(r"data:image/webp;base64,[\w+/=]+", "", text))
        assert not any(page.all(tag) for tag in ("link", "script", "b", "i", "side"))
        assert "default-src 'none'" in next(m["content"] for m in page.all("meta") if "http-equiv" in m)
        for given in ('<b>Refine</b> & "more" \'</script>', "Something <odd> was seen.", "<i>Box</i>", "/a/<b>.mrc"):
            assert given in page.text

    def test_pictures_have_words_and_sections_have_names(self, written) -> None:
        page = Page(written[0])
        assert [image["alt"] for image in page.all("img")][2] == "Noise <side> by side"
        assert all(len(image["alt"]) > 15 for image in page.all("img"))
        identities = [tag["id"] for _, tag in page.tags if "id" in tag]
        assert len(identities) == len(set(identities))
        assert {tag["aria-labelledby"] for _, tag in page.tags if "aria-labelledby" in tag} <= set(identities)
        assert all("aria-label" in tag for name, tag in page.tags if tag.get("role") == "region")

    def test_numbers_behind_the_figures_are_in_tables(self, written) -> None:
        page = Page(written[0])
        assert page.row("4")[:4] == ["4", "12.00", "18.00", "1.88"]
        assert page.row("1")[1] == "–"
        assert page.row("classes")[1:3] == ["1, 4", "none"]
        assert page.row("20.00")[1:] == ["0.0500", "0.286", "0.524", "0.042", "0.464"]


def test_the_fsc_in_words_says_where_each_curve_crosses() -> None:
    text = fsc_figure(curves(), 12.5).text
    for expected in ("resolution is 12.50 Å", "unmasked at 16.67 Å", "masked at 11.11 Å", "corrected at 12.50 Å"):
        assert expected in text
    nothing = ShellCurves(curves().frequency, np.full(11, 0.5))
    assert "no resolution" in fsc_figure(nothing, NAN).text
    assert "unmasked nowhere" in fsc_figure(nothing, NAN).text


class TestGuinier:
    plot = GuinierPlot(np.linspace(0, 0.01, 12), *np.linspace((-3, -3, -3), (-4, -4.2, -3.1), 12).T, NAN, NAN, NAN)

    def test_where_nothing_was_fitted_there_is_neither_a_line_nor_a_b_factor(self) -> None:
        figure = draw_guinier(self.plot, None, LIGHT)
        assert "not sharpened" in figure.axes[0].get_title(loc="left")
        assert figure.axes[0].get_legend_handles_labels()[1] == ["map", "weighted"]
        told = guinier_figure(self.plot, None, "No B-factor was fitted: the halves have no resolution.")
        assert "No B-factor was fitted" in told.text
        assert "No B-factor was fitted" in told.caption
        assert "0 Å²" not in told.text + told.caption

    def test_the_line_has_four_times_the_slope(self) -> None:
        fitted = replace(self.plot, slope=-25.0, intercept=-3.0, correlation=0.99)
        axes = draw_guinier(fitted, -100.0, DARK).axes[0]
        x, y = line(axes, "fit: −100 Å²").get_data()
        np.testing.assert_allclose(np.diff(y) / np.diff(x), -25)
        assert "B-factor of −100 Å²" in guinier_figure(fitted, -100.0, "").text


class TestFlow:
    members = np.array([[-1, -1, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1]])

    def test_bars_are_as_high_as_classes_and_bands_as_wide_as_those_who_went(self) -> None:
        axes = draw_class_flow(self.members, [1, 5, 9], 2, LIGHT).axes[0]
        first, second, unseen = (np.array([bar.get_height() for bar in bars]) for bars in axes.containers)
        np.testing.assert_allclose(first, [2 / 8, 2 / 8, 1 / 8])
        np.testing.assert_allclose(second, [4 / 8, 6 / 8, 7 / 8])
        np.testing.assert_allclose(unseen, [2 / 8, 0, 0])
        widths = [sorted(np.ptp(path.vertices[path.vertices[:, 0] == path.vertices[:, 0].min(), 1])
                         for path in bands.get_paths()) for bands in axes.collections]  # fmt: skip
        np.testing.assert_allclose(widths[0], [1 / 8, 1 / 8, 1 / 8, 1 / 8, 4 / 8])
        np.testing.assert_allclose(widths[1], [1 / 8, 1 / 8, 6 / 8])
        assert [text.get_text() for text in axes.texts] == ["1", "2", "1", "2"]

    def test_bands_begin_and_end_within_their_bars(self) -> None:
        members = np.random.default_rng(2).integers(-1, 7, (3, 400))
        axes = draw_class_flow(members, [1, 2, 3], 7, DARK).axes[0]
        bars = [[(b[k].get_y(), b[k].get_y() + b[k].get_height()) for b in axes.containers] for k in range(3)]
        for column, bands in enumerate(axes.collections):
            for path in bands.get_paths():
                x, y = path.vertices.T
                for side, edge in ((column, x.min()), (column + 1, x.max())):
                    low, high = y[x == edge].min(), y[x == edge].max()
                    assert any(foot - 1e-9 <= low and high <= top + 1e-9 for foot, top in bars[side])

    def test_in_words_and_numbers(self) -> None:
        shown = flow_figure(self.members, [1, 5, 9], 2)
        assert "88 % of the particles stayed" in shown.text
        assert shown.numbers is not None
        assert shown.numbers.rows == [["1", "25.0", "25.0", "12.5"], ["2", "50.0", "75.0", "87.5"]]


class TestConvergence:
    def test_lines_of_a_refinement_are_its_numbers(self) -> None:
        history = refinement()
        figure = draw_refinement_history(history, LIGHT)
        np.testing.assert_array_equal(line(axes_of(figure, "Resolution"), "reached").get_ydata(), history.resolution)
        for k, title in enumerate(("Rotations", "Shifts")):
            for label, values in (("step", history.steps), ("accuracy", history.accuracy), ("change", history.changes)):
                np.testing.assert_array_equal(line(axes_of(figure, title), label).get_ydata(), values[:, k])
        # Iterations 4 and 5 looked near the last poses only.
        shaded = [patch.get_x() for patch in axes_of(figure, "Poses").patches]
        assert shaded == [3.5, 4.5]

    def test_lines_of_a_classification_are_its_numbers(self) -> None:
        history = ClassHistory(
            shares=np.array([[0.5, 0.5, 0], [0.2, 0.7, 0.1]]),
            resolution=np.array([[20, 30, NAN], [12, 10, 40]]),
            probability=np.array([0.2, 0.6]),
            changed=np.array([1.0, 0.25]),
            finest=np.array([15.0, 9.0]),
        )
        figure = draw_class_history(history, DARK)
        np.testing.assert_array_equal(line(axes_of(figure, "Resolution"), "finest").get_ydata(), [20, 10])
        np.testing.assert_array_equal(line(axes_of(figure, "Resolution"), "median").get_ydata(), [30, 12])
        np.testing.assert_array_equal(axes_of(figure, "Changed").lines[0].get_ydata(), [100, 25])
        np.testing.assert_array_equal(axes_of(figure, "Best pose").lines[0].get_ydata(), [0.2, 0.6])
        assert "finest class 10.0 Å" in class_history_figure(history).text
        one = replace(history, shares=np.ones((2, 1)), resolution=np.full((2, 1), NAN), changed=None)
        assert not any(axes.get_title(loc="left").startswith("Shares") for axes in draw_class_history(one, LIGHT).axes)
        assert "not known" in class_history_figure(one).text


class TestClasses:
    images = np.stack([np.full((12, 12), k, float) + np.eye(12) for k in range(3)])

    def test_the_largest_class_comes_first_with_what_is_known_of_it(self) -> None:
        axes = draw_gallery(self.images, classes((0.2, 0.5, 0.3)), 1000, 5.0, LIGHT, taken=[2]).axes[0]
        assert [text.get_text() for text in axes.texts] == [
            "2: 500  11.0 Å  0.40",
            "3: 300  12.0 Å  0.30",
            "1: 200  10.0 Å  0.50",
        ]
        shown = gallery_figure(self.images, classes((0.2, 0.5, 0.3)), 1000, 5.0, taken=[2])
        assert "largest is class 2 with 500 of 1,000 particles at 11.0 Å" in shown.text
        assert shown.numbers is not None
        assert [list(row) for row in shown.numbers.rows] == [
            ["2", "500", "50.0", "11.00", "0.40", "yes"],
            ["3", "300", "30.0", "12.00", "0.30", ""],
            ["1", "200", "20.0", "10.00", "0.50", ""],
        ]

    def test_maps_have_a_row_each(self) -> None:
        maps = np.random.default_rng(1).normal(size=(2, 8, 8, 8))
        axes = draw_maps(maps, classes((0.4, 0.6)), 50, 5.0, DARK).axes[0]
        assert len(axes.images) == 12
        assert [text.get_text()[:5] for text in axes.texts] == ["2: 30", "1: 20"]
        first = np.asarray(axes.images[0].get_array())[::-1]
        assert np.corrcoef(first.ravel(), maps[1, 4].ravel())[0, 1] > 0.97


def test_histograms_of_the_posterior_count_every_particle() -> None:
    probability, significant = np.array([0.0, 0.5, 0.5, 1.0]), np.array([1, 10, 100, 0])
    left, right = draw_sharpness(probability, significant, LIGHT).axes
    for axes in (left, right):
        assert sum(patch.get_height() for patch in axes.patches) == 4
    assert left.get_legend_handles_labels()[1] == ["mean 0.50"]
    assert right.get_xscale() == "log"


def test_the_mask_is_outlined_where_it_is_one_half() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(24) - 12.0] * 3, indexing="ij"))
    mask = np.clip((8 - np.sqrt((grid**2).sum(0))) / 4 + 0.5, 0, 1)
    axes = draw_mask(mask, mask, 2.0, LIGHT).axes[0]
    half = axes.collections[1].get_paths()[0].vertices - 12.5
    np.testing.assert_allclose(np.hypot(*half.T), 8, atol=0.15)


def test_bars_of_point_groups_are_the_correlations() -> None:
    axes = draw_symmetries(["C2", "D2"], [0.9, 0.5], [0.8, -0.1], LIGHT).axes[0]
    mean, lowest = ([bar.get_height() for bar in bars] for bars in axes.containers)
    assert mean == [0.9, 0.5]
    assert lowest == [0.8, -0.1]


def test_where_particles_come_from_is_drawn_as_far_as_it_is_known() -> None:
    particles = particles_with(np.tile(np.eye(3), (6, 1, 1)), np.zeros((6, 2)))
    known = replace(particles, micrographs=("a", "b", "c"), micrograph=np.array([0, 0, 0, 0, 2, -1]),
                    score=np.array([1, 2, 3, 4, 5, NAN]))  # fmt: skip
    shown = origin_figure(known)
    assert shown is not None
    assert "1 to 4 particles from each of 2 micrographs" in shown.text
    assert "scores 1 to 5, median 3" in shown.text
    axes = axes_of(draw_origin(known, LIGHT), "Scores")
    assert sum(patch.get_height() for patch in axes.patches) == 5
    assert pixels(draw_origin(known, DARK)).std() > 5
    nothing = replace(particles, micrographs=(), micrograph=np.full(6, -1), score=None, ctf=None)
    assert origin_figure(nothing) is None
