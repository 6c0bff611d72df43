"""Tilt series from what microscopes and people leave in folders."""

from __future__ import annotations

import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.data.tilt_series import TiltSeries
from thon.formats.alignments import write_alignment
from thon.formats.images import open_images, write_images
from thon.job.context import Context
from thon.job.events import Event
from thon.jobs.import_tilts import ImportTiltsOptions, import_tilts

TILTS = np.array([-30.0, -15, 0, 15, 30])


def images(count: int = 5, shape: tuple[int, int] = (12, 17)) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, *shape)).astype(np.float32)


def write_stack(path: Path, data: np.ndarray | None = None, pixel_size: float = 5.5) -> Path:
    with warnings.catch_warnings(action="ignore"), mrcfile.new(path, overwrite=True) as file:
        file.set_data(images() if data is None else data)
        file.voxel_size = pixel_size
    return path


def write_angles(path: Path, tilt: np.ndarray = TILTS) -> Path:
    path.write_text("".join(f"{angle:7.2f}\n" for angle in tilt))
    return path


def write_mdoc(path: Path, movies: list[str] | None = None, header: str = "", tilt: np.ndarray = TILTS) -> Path:
    """Dose-symmetric order: 0, 15, −15, 30, −30."""
    text = f"PixelSpacing = 5.5\nVoltage = 300\n{header}\n"
    text += "[T =     Tilt axis angle = 85.3, binning = 1  spot = 8  camera = 0]\n\n"
    seconds = {0.0: 0, 15.0: 1, -15.0: 2, 30.0: 3, -30.0: 4}
    for k, angle in enumerate(tilt):
        text += f"[ZValue = {k}]\nTiltAngle = {angle}\nExposureDose = {2 + k}\n"
        text += f"DateTime = 01-Jan-24  12:00:{seconds.get(float(angle), k):02d}\n"
        text += f"SubFramePath = X:\\frames\\{movies[k]}\n" if movies else ""
    path.write_text(text)
    return path


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def run(tmp_path: Path, events: list[Event]):
    def run(source: Path, **options: object) -> TiltSeries:
        context = Context.local(tmp_path / "context", item="series", emit=events.append)
        return import_tilts(source, ImportTiltsOptions(**options), context)

    return run


def said(events: list[Event], kind: str = "log") -> str:
    return "\n".join(event.text for event in events if event.kind == kind)  # type: ignore[union-attr]


class TestStack:
    def test_a_stack_and_its_angles(self, tmp_path: Path, run, events) -> None:
        source = write_stack(tmp_path / "s.st")
        series = run(source, angles=write_angles(tmp_path / "s.tlt"), tilt_axis=-4, dose=3, voltage=200)
        assert (series.name, series.image_shape, series.pixel_size) == ("series", (12, 17), 5.5)
        np.testing.assert_array_equal(series.geometry.tilt, TILTS)
        np.testing.assert_array_equal(series.geometry.rotation, -4)
        assert [image.section for image in series.images] == [0, 1, 2, 3, 4]
        assert {image.path for image in series.images} == {str(source)}
        np.testing.assert_array_equal(series.exposure, 3)
        np.testing.assert_array_equal(series.prior_exposure, [0, 3, 6, 9, 12])
        assert series.optics.voltage == 200
        assert "5 images of 17 × 12 px at 5.5 Å" in said(events)

    def test_unsorted_angles_are_sorted_and_each_image_keeps_its_section(self, tmp_path: Path, run, events) -> None:
        shuffled = np.array([0.0, 15, -15, 30, -30])
        series = run(write_stack(tmp_path / "s.st"), angles=write_angles(tmp_path / "s.tlt", shuffled), dose=2)
        np.testing.assert_array_equal(series.geometry.tilt, TILTS)
        assert [image.section for image in series.images] == [4, 2, 0, 1, 3]
        np.testing.assert_array_equal(series.order, [4, 2, 0, 1, 3])
        np.testing.assert_array_equal(series.prior_exposure, [8, 4, 0, 2, 6])
        assert "not in the order of its tilt angles" in said(events)

    def test_duplicate_angles_are_told_and_kept(self, tmp_path: Path, run, events) -> None:
        twice = write_angles(tmp_path / "s.tlt", np.array([-30.0, 0, 0, 15, 30]))
        assert len(run(write_stack(tmp_path / "s.st"), angles=twice)) == 5
        assert "occur more than once: 0°" in said(events, "warning")

    def test_nobody_says_where_the_axis_is(self, tmp_path: Path, run, events) -> None:
        series = run(write_stack(tmp_path / "s.st"), angles=write_angles(tmp_path / "s.tlt"))
        assert series.tilt_axis is None
        assert "--tilt-axis" in said(events, "log")

    @pytest.mark.parametrize(
        ("order", "expected"),
        [
            ("stack", [0, 1, 2, 3, 4]),
            ("recorded", [0, 1, 2, 3, 4]),
            ("ascending", [0, 1, 2, 3, 4]),
            ("descending", [4, 3, 2, 1, 0]),
            ("symmetric", [4, 2, 0, 1, 3]),
        ],
    )
    def test_the_order_of_acquisition(self, tmp_path: Path, run, order: str, expected: list[int]) -> None:
        series = run(write_stack(tmp_path / "s.st"), angles=write_angles(tmp_path / "s.tlt"), order=order)
        np.testing.assert_array_equal(series.order, expected)

    def test_angles_and_doses_of_an_extended_header(self, tmp_path: Path, run, events) -> None:
        path = write_stack(tmp_path / "s.st")
        # SerialEM's layout: two bytes of tilt × 100 for each section.
        raw = bytearray(path.read_bytes())
        extended = (TILTS * 100).astype("<i2").tobytes()
        raw[92:96] = len(extended).to_bytes(4, "little")
        raw[104:108] = b"SERI"
        raw[128:132] = np.array([2, 1], "<i2").tobytes()
        path.write_bytes(bytes(raw[:1024]) + extended + bytes(raw[1024:]))
        series = run(path)
        np.testing.assert_allclose(series.geometry.tilt, TILTS)
        np.testing.assert_array_equal(open_images(path).image(2), images()[2])
        assert "read from the extended header" in said(events)

    def test_excluded_by_hand(self, tmp_path: Path, run) -> None:
        angles = write_angles(tmp_path / "s.tlt", TILTS[::-1])
        series = run(write_stack(tmp_path / "s.st"), angles=angles, exclude=(0,))
        assert series.excluded == {4: "by hand"}
        with pytest.raises(InputError, match="do not exist"):
            run(tmp_path / "s.st", angles=angles, exclude=(5,))


class TestBadImages:
    def test_constant_and_nan_images_are_left_out_and_told(self, tmp_path: Path, run, events) -> None:
        data = images()
        data[1] = 7
        data[3, 4, 5] = np.nan
        series = run(write_stack(tmp_path / "s.st", data), angles=write_angles(tmp_path / "s.tlt"))
        assert series.excluded == {1: "constant, 7 throughout", 3: "1 pixels are NaN or infinite"}
        assert list(series.kept) == [0, 2, 4]
        assert "Image 3 (s.st, section 3) is left out" in said(events, "warning")

    def test_too_few_are_left(self, tmp_path: Path, run) -> None:
        data = images() * 0
        with pytest.raises(InputError, match=r"too few usable images(.|\n)*constant, 0 throughout"):
            run(write_stack(tmp_path / "s.st", data), angles=write_angles(tmp_path / "s.tlt"))

    def test_a_stack_of_one(self, tmp_path: Path, run) -> None:
        with pytest.raises(InputError, match="too few images"):
            run(write_stack(tmp_path / "s.st", images(1)), angles=write_angles(tmp_path / "s.tlt", TILTS[:1]))

    def test_a_truncated_stack(self, tmp_path: Path, run) -> None:
        path = write_stack(tmp_path / "s.st")
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(FormatError, match=r"s\.st"):
            run(path, angles=write_angles(tmp_path / "s.tlt"))

    def test_numbers_that_differ(self, tmp_path: Path, run) -> None:
        with pytest.raises(InputError, match=r"4 angles(.|\n)*5 images"):
            run(write_stack(tmp_path / "s.st"), angles=write_angles(tmp_path / "s.tlt", TILTS[:4]))

    def test_no_angles_anywhere(self, tmp_path: Path, run) -> None:
        with pytest.raises(InputError, match="--angles"):
            run(write_stack(tmp_path / "s.st"))

    @pytest.mark.parametrize("pixel_size", [0, 1])
    def test_a_pixel_size_that_nobody_set(self, tmp_path: Path, run, pixel_size: float) -> None:
        source = write_stack(tmp_path / "s.st", pixel_size=pixel_size)
        angles = write_angles(tmp_path / "s.tlt")
        with pytest.raises(InputError, match="--pixel-size"):
            run(source, angles=angles)
        assert run(source, angles=angles, pixel_size=1.0).pixel_size == 1.0


class TestMdoc:
    def test_the_stack_beside_it(self, tmp_path: Path, run) -> None:
        stack = write_stack(tmp_path / "s.mrc")
        mdoc = write_mdoc(tmp_path / "s.mrc.mdoc")
        for series in (run(mdoc), run(stack)):
            np.testing.assert_array_equal(series.geometry.tilt, TILTS)
            np.testing.assert_array_equal(series.order, [4, 2, 0, 1, 3])
            np.testing.assert_array_equal(series.exposure, [2, 3, 4, 5, 6])
            np.testing.assert_array_equal(series.prior_exposure, [4 + 5 + 3 + 6, 4 + 5, 0, 4, 4 + 5 + 3])
            np.testing.assert_array_equal(series.geometry.rotation, 85.3)
            assert series.optics.voltage == 300
            assert {image.path for image in series.images} == {str(stack)}

    def test_what_is_typed_wins(self, tmp_path: Path, run) -> None:
        write_stack(tmp_path / "s.mrc")
        series = run(
            write_mdoc(tmp_path / "s.mrc.mdoc"), tilt_axis=80, dose=1, voltage=200, pixel_size=6, order="stack"
        )
        assert (series.geometry.rotation[0], series.optics.voltage, series.pixel_size) == (80, 200, 6)
        np.testing.assert_array_equal(series.prior_exposure, [0, 1, 2, 3, 4])

    def test_a_stack_that_was_binned_since(self, tmp_path: Path, run) -> None:
        write_stack(tmp_path / "s.mrc", images(shape=(12, 16)))
        assert run(write_mdoc(tmp_path / "s.mrc.mdoc", header="ImageSize = 64 48")).pixel_size == 22.0

    def test_one_image_per_tilt(self, tmp_path: Path, run) -> None:
        names = [f"s_{k}.mrc" for k in range(5)]
        (tmp_path / "corrected").mkdir()
        for name, image in zip(names, images(), strict=True):
            write_images(tmp_path / "corrected" / name, image, 5.5)
        series = run(write_mdoc(tmp_path / "s.mdoc", [name.replace(".mrc", ".eer") for name in names]))
        assert [Path(image.path).name for image in series.images] == names
        assert [image.section for image in series.images] == [0] * 5
        assert series.image_shape == (12, 17)

    def test_movies_are_no_images(self, tmp_path: Path, run) -> None:
        names = [f"s_{k}.mrc" for k in range(5)]
        for name in names:
            write_stack(tmp_path / name, images(4))
        with pytest.raises(InputError, match=r"is a movie(.|\n)*4 frames"):
            run(write_mdoc(tmp_path / "s.mdoc", names))

    def test_missing_movies_are_named(self, tmp_path: Path, run) -> None:
        names = [f"s_{k}.mrc" for k in range(5)]
        for name in names[:3]:
            write_images(tmp_path / name, images()[0], 5.5)
        with pytest.raises(InputError, match=r"2 of 5 movies are missing(.|\n)*s_3.mrc, s_4.mrc"):
            run(write_mdoc(tmp_path / "s.mdoc", names))

    def test_a_missing_stack(self, tmp_path: Path, run) -> None:
        with pytest.raises(InputError, match=r"stack that this mdoc describes is missing"):
            run(write_mdoc(tmp_path / "s.mrc.mdoc"))

    def test_numbers_that_differ(self, tmp_path: Path, run) -> None:
        write_stack(tmp_path / "s.mrc")
        with pytest.raises(InputError, match="4 images in the mdoc"):
            run(write_mdoc(tmp_path / "s.mrc.mdoc", tilt=TILTS[:4]))


class TestAlignment:
    @pytest.mark.parametrize("suffix", [".aln", ".xf"])
    def test_an_alignment_to_start_from(self, tmp_path: Path, run, suffix: str) -> None:
        from thon.data.geometry import TiltGeometry  # noqa: PLC0415

        random = np.random.default_rng(0)
        shuffled = np.array([0.0, 15, -15, 30, -30])
        truth = TiltGeometry(shuffled, random.normal(size=(5, 2)) * 30, np.full(5, -4.0))
        path = tmp_path / f"a{suffix}"
        write_alignment(path, truth, (12, 17), 5.5)
        series = run(write_stack(tmp_path / "s.st"), alignment=path)
        assert [image.section for image in series.images] == [4, 2, 0, 1, 3]
        points = random.normal(size=(7, 3)) * 40
        np.testing.assert_allclose(
            series.geometry.project(points), truth.select([4, 2, 0, 1, 3]).project(points), atol=0.05
        )

    def test_two_tilt_axes_contradict(self, tmp_path: Path, run) -> None:
        with pytest.raises(InputError, match="contradict"):
            run(
                write_stack(tmp_path / "s.st"),
                angles=write_angles(tmp_path / "s.tlt"),
                alignment=tmp_path / "a.xf",
                tilt_axis=3,
            )
