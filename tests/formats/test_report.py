"""The report shows what it was given, leaves out what it was not, and needs nothing from outside."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import Annotated

import numpy as np
import pytest
from PIL import Image

from tests.formats.report_page import Page, decode
from thon.base.errors import InputError, StoreError
from thon.base.options import Options, Unit
from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics, ThicknessProfile, TiltSigma, Tracks
from thon.data.geometry import LocalField, TiltGeometry
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.data.volume import Tomogram, Volume
from thon.formats.html_report import DRAWINGS, write_report
from thon.formats.report.content import CentralSlices, ChangedOption, FscCurve, ReportContent, changed_options

TITLE = '<b>x & "y" \'</script>'
WARNING = "Tilts <3 of them> & more are dark."
EXCLUDED = {0: "blocked by a grid bar over <80 %> of the image", 7: "dark $x$", 20: "excluded by hand"}
TILTS, POINTS = 21, 30


@pytest.fixture(scope="module")
def content() -> ReportContent:
    return make_content()


@pytest.fixture(scope="module")
def written(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    pictures = write_report(folder / "report.html", content)
    return (folder / "report.html").read_text("utf-8"), pictures


def make_content(tilts: int = TILTS, side: tuple[int, int] = (46, 64)) -> ReportContent:
    """A series whose every number is known: geometry, σ, tracks with residuals of 7 Å, and a slab of 1800 Å."""
    random = np.random.default_rng(3)
    tilt = np.linspace(-60, 60, tilts) + 0.4
    shift = np.stack([120 * np.sin(tilt / 25), 2.5 * tilt + 40 * np.cos(tilt / 9)], -1)
    local = LocalField(
        random.normal(0, 12, (tilts, 6, 7, 2)) * (0.3 + np.abs(tilt) / 60)[:, None, None, None], (900.0, 1200.0)
    )
    geometry = TiltGeometry(
        tilt,
        shift,
        -4.2 + 0.1 * np.sin(tilt / 30),
        x_tilt=np.full(tilts, 0.3),
        magnification=1 + 0.001 * np.sin(tilt / 11),
        local=local,
    )
    points = random.uniform((-800, -2000, -2900), (800, 2000, 2900), (POINTS, 3))
    residual = random.normal(0, 7 / np.sqrt(2), (POINTS, tilts, 2))
    residual[random.random((POINTS, tilts)) < 0.1] = np.nan
    excluded = {k * (tilts - 1) // (TILTS - 1): reason for k, reason in EXCLUDED.items()}
    residual[:, list(excluded)] = np.nan
    position = np.swapaxes(geometry.project(points), 0, 1) + residual
    correlation = 0.75 * np.cos(np.deg2rad(tilt))
    correlation[list(excluded)] = np.nan
    angle = np.linspace(-14, 6, 41)
    z = np.linspace(-2000, 2000, 161)
    diagnostics = AlignmentDiagnostics(
        method="projection matching",
        sigma=TiltSigma(
            shift=np.full((tilts, 2), 3.0) + 0.2 * np.abs(tilt)[:, None],
            rotation=np.full(tilts, 0.06),
            tilt=np.full(tilts, 0.09),
            x_tilt=np.zeros(tilts),
            magnification=np.full(tilts, 0.0004),
        ),
        correlation=correlation,
        confidence=0.8734,
        warnings=(WARNING,),
        axis_angle=angle,
        axis_score=np.exp(-((angle + 4.3) ** 2) / 8) + 0.02 * random.normal(size=41),
        tracks=Tracks(position, np.full((POINTS, tilts), 5.0)),
        points=points,
        residual=residual,
        rejected=17,
        profile=ThicknessProfile(
            z,
            np.exp(-(((z - 60) / 850) ** 6)) + 0.03 * random.normal(size=161),
            -840.0,
            960.0,
            (1.25, -0.5),
            (0.4, 0.3),
        ),
        seconds={"read": 1.5, "coarse alignment": 6.25, "joint refinement": 17.25},
    )
    raw = random.normal(100, 12, (tilts, *side)) * np.cos(np.deg2rad(tilt))[:, None, None]
    blocked, dark, _ = sorted(excluded)
    raw[dark] *= 0.12
    raw[blocked, :, side[1] // 5 :] *= 0.05
    series = AlignedTiltSeries(
        name=TITLE,
        images=tuple(ImageRef("series.st", k) for k in range(tilts)),
        image_shape=(460, 640),
        pixel_size=10.0,
        geometry=geometry,
        order=np.argsort(np.argsort(np.abs(tilt), kind="stable")),
        exposure=np.full(tilts, 3.0),
        prior_exposure=3.0 * np.argsort(np.argsort(np.abs(tilt), kind="stable")),
        excluded=excluded,
        diagnostics=diagnostics,
    )
    return ReportContent(
        title=TITLE,
        series=series,
        nominal=TiltGeometry.nominal(tilt - 0.4 - 0.05 * np.sin(tilt / 20), -4.0),
        aligned=raw,
        aligned_pixel_size=100.0,
        raw=raw,
        slices=CentralSlices(
            xy=make_slice(random, (230, 320)),
            xz=make_slice(random, (90, 320)),
            yz=make_slice(random, (90, 230)),
            voxel_size=20.0,
        ),
        tomogram=Tomogram("x", Volume("x.mrc", (90, 230, 320), 20.0), method="weighted back-projection"),
        fsc=FscCurve(np.linspace(0, 0.025, 51), 1 / (1 + np.exp(np.linspace(-6, 4, 51)))),
        understood={
            "Stack": "<i>21 images</i> of 640 × 460 px, int16",
            "Angles": "from series.tlt",
            "Order": "dose-symmetric",
        },
        options=(
            ChangedOption("reconstruct.method", "sirt", "wbp"),
            ChangedOption("thickness", 2000, None, "Å", "Of <z>."),
        ),
        limit_share={"joint refinement": 0.37},
        versions={"thon": "0.1.0", "Python": "3.11"},
        warnings=("Few features were tracked.",),
    )


def make_slice(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    image = random.normal(size=shape)
    y, x = np.indices(shape)
    for _ in range(14):
        centre, radius = random.uniform(0, 1, 2) * shape, random.uniform(6, 15)
        image -= 2 * np.exp(-((np.hypot(y - centre[0], x - centre[1]) - radius) ** 2) / 4)
    return image


def shown_number(text: str) -> float:
    return float(text.split(" ", maxsplit=1)[0].replace("−", "-"))


def test_every_picture_is_written_and_not_blank(written):
    _, pictures = written
    assert [path.name for path in pictures] == [f"{name}.png" for name in DRAWINGS]
    for path in pictures:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width == pytest.approx(1500, abs=250)
            assert image.height > 300
            pixels = np.asarray(image.convert("L"))
        assert pixels.std() > 10, path.name
        assert len(np.unique(pixels)) > 50, path.name


def test_nothing_comes_from_outside(written):
    text, _ = written
    page = Page(text)
    assert not re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", re.sub(r"data:image/webp;base64,[\w+/=]+", "", text))
    assert not page.all("link")
    addresses = [tag.get(key) for _, tag in page.tags for key in ("src", "srcset", "href") if key in tag]
    assert len(addresses) == 2 * len(DRAWINGS) + 1
    for address in addresses:
        assert decode(address).std() > 5
    assert "default-src 'none'" in next(m["content"] for m in page.all("meta") if "http-equiv" in m)


def test_names_from_outside_are_escaped(written):
    text, _ = written
    page = Page(text)
    assert not page.all("b")
    assert not page.all("i")
    assert len(page.all("script")) == 2
    for given in (TITLE, WARNING, "<i>21 images</i> of 640 × 460 px, int16", *EXCLUDED.values(), "Of <z>."):
        assert given in page.text


def test_every_picture_has_words_and_every_control_a_name(written):
    page = Page(written[0])
    pictures = page.all("img")
    assert len(pictures) == len(DRAWINGS) + 1
    assert all(len(picture["alt"]) > 15 for picture in pictures)
    slope = "1.25 ± 0.40° along y and −0.50 ± 0.30° along x"
    assert f"thickness 180.0 nm; inclination {slope}" in " ".join(p["alt"] for p in pictures)
    assert all("aria-label" in control for control in page.all("input") + page.all("meter"))
    identities = {tag["id"] for _, tag in page.tags if "id" in tag}
    assert {tag["aria-labelledby"] for _, tag in page.tags if "aria-labelledby" in tag} <= identities
    assert page.all("html")[0]["lang"] == "en"


def test_table_per_tilt_equals_the_data(written, content):
    page, series = Page(written[0]), content.series
    rows = page.rows
    first = next(k for k, row in enumerate(rows) if row[:2] == ["Image", "Tilt, °"])
    head, body = rows[first], rows[first + 1 : first + 1 + TILTS]
    columns = {name: [row[k] for row in body] for k, name in enumerate(head)}
    expected = {
        "Tilt, °": (series.geometry.tilt, 0.005),
        "Shift y, Å": (series.geometry.shift[:, 0], 0.005),
        "Shift x, Å": (series.geometry.shift[:, 1], 0.005),
        "Axis, °": (series.geometry.rotation, 0.005),
        "Magnification": (series.geometry.magnification, 0.00005),
        "Exposure before, e/Å²": (series.prior_exposure, 0.005),
    }
    for name, (value, rounding) in expected.items():
        np.testing.assert_allclose([shown_number(text) for text in columns[name]], value, atol=rounding * 1.001)
    sigma = [float(text.split("± ")[1]) for text in columns["Shift x, Å"]]
    np.testing.assert_allclose(sigma, series.diagnostics.sigma.shift[:, 1], atol=0.00501)
    assert all("±" not in text for text in columns["x-tilt, °"])
    assert [k for k, text in enumerate(columns["Excluded"]) if text] == sorted(EXCLUDED)
    residual = series.diagnostics.residual
    for k, text in enumerate(columns["Residual RMS, Å"]):
        if k in EXCLUDED:
            assert text == "–"
        else:
            assert float(text) == pytest.approx(np.sqrt(np.nanmean((residual[:, k] ** 2).sum(-1))), abs=0.00501)


def test_key_numbers_have_units_and_are_right(written, content):
    page = Page(written[0])
    text = re.sub(r"\s+", " ", page.text)
    residual = content.series.diagnostics.residual
    rms = np.sqrt(np.nanmean((residual**2).sum(-1)))
    median = np.nanmedian(np.hypot(*np.moveaxis(residual, -1, 0)))
    for expected in (
        f"Images used {TILTS - 3} of {TILTS}",
        "640 × 460 px of 10 Å",
        "Confidence 0.87 of 1, high. Aligned by projection matching.",
        f"RMS residual {rms:.2f} Å ({rms / 10:.2f} px)",
        f"Median residual {median:.2f} Å ({median / 10:.2f} px)",
        "Sample thickness 180.0 nm",
        "Tomogram, x × y × z 320 × 230 × 90 voxels",
        "Voxel 20 Å",
        "Total exposure 63.0 e/Å²",
        "2 warnings",
        "Few features were tracked.",
        "± 0.06°",
    ):
        assert expected in text
    assert 6.5 < rms < 7.5
    assert page.all("meter")[0]["value"] == "0.873"


def test_times_have_shares_and_limits(written):
    page = Page(written[0])
    assert [text.strip() for text in page.row("joint refinement")] == ["joint refinement", "17.2 s", "69 %", "37 %"]
    assert [text.strip() for text in page.row("read")] == ["read", "1.5 s", "6 %", "–"]
    assert page.row("Total")[1] == "25.0 s"


def test_options_show_value_default_and_unit(written):
    page = Page(written[0])
    assert page.row("thickness") == ["thickness", "2000 Å", "none", "Of <z>."]
    assert page.row("reconstruct.method")[1:3] == ["sirt", "wbp"]


def test_animation_has_the_kept_tilts_in_order_and_fits(written, content):
    data = json.loads(re.search(r'id="frames-data">(.*?)</script>', written[0], re.S)[1])
    kept = content.series.kept
    assert [shown_number(text.rstrip("°")) for text in data["tilts"]] == pytest.approx(
        content.series.geometry.tilt[kept], abs=0.0501
    )
    assert len(set(data["frames"])) == len(kept)
    assert sum(map(len, data["frames"])) < 1_500_000
    for k, frame in zip(kept, data["frames"], strict=True):
        shown = decode(frame)[..., 0].astype(float)
        # y points up on the page, rows count upwards in the data.
        assert np.corrcoef(shown.ravel(), content.aligned[k][::-1].ravel())[0, 1] > 0.8
    slider = next(control for control in Page(written[0]).all("input"))
    assert slider["max"] == str(len(kept) - 1)
    assert slider["aria-valuetext"] == "0.4°"


def test_report_of_nothing_is_a_page_without_figures(tmp_path):
    assert write_report(tmp_path / "empty.html", ReportContent(title="nothing")) == []
    page = Page((tmp_path / "empty.html").read_text("utf-8"))
    assert "nothing" in page.text
    assert not page.all("img")
    assert not page.all("table")
    assert not page.all("script")
    assert [path.name for path in tmp_path.iterdir()] == ["empty.html"]


def test_unaligned_series_shows_what_there_is(tmp_path):
    geometry = TiltGeometry.nominal(np.array([-3.0, 0.0, 3.0]), 85.0)
    nothing = np.full(3, np.nan)
    images = tuple(ImageRef("a.st", k) for k in range(3))
    series = TiltSeries("a", images, (20, 30), 2.0, geometry, np.arange(3), nothing, nothing)
    pictures = write_report(tmp_path / "a.html", ReportContent(title="a", series=series))
    assert [path.name for path in pictures] == ["shifts.png"]
    text = Page((tmp_path / "a.html").read_text("utf-8")).text
    assert "Every image takes part." in text
    assert "Exposure" not in text
    assert "Confidence" not in text


@pytest.mark.parametrize(
    ("missing", "figures"),
    [
        ({"slices": None, "fsc": None, "tomogram": None}, {"slices", "fsc"}),
        ({"raw": None, "aligned": None, "nominal": None, "options": None, "limit_share": {}}, {"excluded"}),
    ],
)
def test_missing_parts_are_left_out(tmp_path, content, missing, figures):
    pictures = write_report(tmp_path / "part.html", replace(content, **missing))
    assert {path.stem for path in pictures} == set(DRAWINGS) - figures
    page = Page((tmp_path / "part.html").read_text("utf-8"))
    identities = {tag["id"] for _, tag in page.tags if "id" in tag}
    assert not {f"figure-{name}" for name in figures} & identities
    assert ("options" in identities) == ("options" not in missing)


def test_diagnostics_without_details(tmp_path, content):
    bare = replace(
        content.series.diagnostics,
        tracks=None, points=None, residual=None, profile=None, seconds={}, warnings=(),
        axis_angle=np.zeros(0), axis_score=np.zeros(0), correlation=np.full(TILTS, np.nan), confidence=0.2,
    )  # fmt: skip
    rigid = replace(content.series.geometry, local=None)
    series = replace(content.series, diagnostics=bare, geometry=rigid, excluded={})
    bare_content = ReportContent(title="bare", series=series)
    assert [path.stem for path in write_report(tmp_path / "bare.html", bare_content)] == ["shifts"]
    text = Page((tmp_path / "bare.html").read_text("utf-8")).text
    assert "low: look at the plots" in text
    assert "No warnings." in text


def test_everything_excluded_still_makes_a_report(tmp_path, content):
    series = replace(content.series, excluded=dict.fromkeys(range(TILTS), "dark"))
    pictures = write_report(tmp_path / "dark.html", replace(content, series=series))
    assert "excluded.png" in {path.name for path in pictures}
    assert f"0 of {TILTS}" in Page((tmp_path / "dark.html").read_text("utf-8")).text


def test_a_report_is_whole_or_not_there(tmp_path, content):
    with pytest.raises(StoreError):
        write_report(tmp_path / "missing" / "report.html", content)
    assert list(tmp_path.iterdir()) == []


def test_contents_that_do_not_fit_are_refused(content):
    with pytest.raises(InputError, match="aligned"):
        replace(content, aligned=content.aligned[1:])
    with pytest.raises(InputError, match="slices"):
        CentralSlices(np.zeros((5, 7)), np.zeros((3, 7)), np.zeros((3, 6)), 1.0)
    with pytest.raises(InputError, match="FSC"):
        FscCurve(np.zeros(3), np.zeros(4))


def test_resolution_is_interpolated():
    frequency = np.linspace(0, 0.05, 11)
    curve = FscCurve(frequency, 1 - 20 * frequency)
    assert curve.resolution(0.143) == pytest.approx(20 / 0.857)
    assert curve.resolution(-1.0) is None
    assert FscCurve(frequency, np.full(11, 0.05)).resolution() is None


def test_changed_options_are_found_in_nested_options():
    class Inner(Options):
        band: Annotated[float, Unit("Å")] = 20.0
        """Finest detail."""
        ratio: Annotated[float, Unit("1")] = 1.0

    class Outer(Options):
        inner: Inner = Inner()
        steps: int = 3
        name: str

    changed = changed_options(Outer(inner=Inner(band=30.0, ratio=2.0), name="a"))
    assert changed == (
        ChangedOption("inner.band", 30.0, 20.0, "Å", "Finest detail."),
        ChangedOption("inner.ratio", 2.0, 1.0),
        ChangedOption("name", "a", None),
    )
    assert changed_options(Inner()) == ()


def test_reading_the_module_leaves_matplotlib_alone():
    code = "import sys, thon.formats.html_report; print('matplotlib' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_drawing_leaves_pyplot_alone(written):
    code = (
        "import sys; import numpy as np; from thon.formats.report.content import *; "
        "from thon.formats.report.fsc import draw_fsc; from thon.formats.report.style import LIGHT, pixels; "
        "f = FscCurve(np.linspace(0, .1, 9), np.linspace(1, 0, 9)); "
        "assert pixels(draw_fsc(ReportContent('a', fsc=f), LIGHT)).std() > 5; print('matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
