"""Conversions keep what the formats can say."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from thon.base.errors import InputError
from thon.cli.main import main
from thon.data.geometry import TiltGeometry
from thon.formats.alignments import read_alignment, write_alignment
from thon.formats.images import open_images, write_images
from thon.job.context import Context
from thon.jobs.convert import ConvertOptions, convert

SHAPE = (5, 12, 18)


def smooth(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Waves that a grid of half the size still holds."""
    z, y, x = np.indices(shape)
    return (np.cos(2 * np.pi * (y / shape[1] + 2 * x / shape[2])) + 0.1 * z).astype(np.float32)


@pytest.fixture
def run(tmp_path: Path):
    def run(source: Path, target: str, **options: object) -> Path:
        return convert(source, ConvertOptions(target=target, **options), Context.local(tmp_path / "context"))

    return run


@pytest.mark.parametrize("target", ["x.st", "x.mrc", "x.hdf", "x.tif"])
def test_images_come_through_every_format(tmp_path: Path, run, target: str) -> None:
    write_images(tmp_path / "in.mrc", smooth(), 3.5)
    with open_images(run(tmp_path / "in.mrc", target)) as made:
        np.testing.assert_array_equal(made.asarray(), smooth())
        assert made.pixel_size == pytest.approx(3.5)


def test_binned_images_lie_on_the_same_waves(tmp_path: Path, run) -> None:
    write_images(tmp_path / "in.st", smooth(), 3.5)
    with open_images(run(tmp_path / "in.st", "x.st", bin=2)) as made:
        assert made.shape == (5, 6, 9)
        assert made.pixel_size == pytest.approx(7.0)
        # The centre pixel n // 2 stays where it was.
        y, x = (np.arange(n) - n // 2 for n in (6, 9))
        expected = np.cos(2 * np.pi * ((2 * y[:, None] + 6) / 12 + 2 * (2 * x + 9) / 18))
        np.testing.assert_allclose(made.image(3), expected + 0.3, atol=1e-5)


def test_a_volume_is_binned_along_all_axes(tmp_path: Path, run) -> None:
    volume = np.transpose(smooth((6, 16, 12)), (2, 1, 0)).copy()
    write_images(tmp_path / "in.mrc", volume, 4.0)
    path = run(tmp_path / "in.mrc", "x.mrc", bin=2, bin_sections=True)
    with mrcfile.open(path) as made:
        assert made.data.shape == (6, 8, 3)
        assert made.voxel_size.item() == pytest.approx((8, 8, 8))
        assert made.data.mean() == pytest.approx(volume.mean(), abs=1e-4)


def test_numbers_are_stored_as_asked_and_refused_where_they_do_not_fit(tmp_path: Path, run) -> None:
    write_images(tmp_path / "in.mrc", smooth() * 1000, 3.5)
    with open_images(run(tmp_path / "in.mrc", "x.mrc", values="int16")) as made:
        assert made.dtype == np.int16
        np.testing.assert_allclose(made.asarray(), smooth() * 1000, atol=0.5)
    with pytest.raises(InputError, match="do not fit int8"):
        run(tmp_path / "in.mrc", "y.mrc", values="int8")


def test_scaled_bytes_say_how(tmp_path: Path, run) -> None:
    write_images(tmp_path / "in.mrc", smooth() * 1000, 3.5)
    path = run(tmp_path / "in.mrc", "x.mrc", scale=True)
    with mrcfile.open(path) as made:
        label = next(str(label) for label in made.get_labels() if "scale" in str(label))
        slope, offset = (float(part) for part in label.split("=")[1].replace("* stored", "").split("+"))
        np.testing.assert_allclose(made.data * slope + offset, smooth() * 1000, atol=slope)
    with pytest.raises(InputError, match="only MRC"):
        run(tmp_path / "in.mrc", "x.hdf", scale=True)


def test_an_unknown_format_and_an_unknown_pixel_size(tmp_path: Path, run) -> None:
    write_images(tmp_path / "in.mrc", smooth(), 3.5)
    with pytest.raises(InputError, match="not an image format"):
        run(tmp_path / "in.mrc", "x.jpeg")
    with mrcfile.new(tmp_path / "none.mrc") as file:
        file.set_data(smooth())
    with pytest.raises(InputError, match="--pixel-size"):
        run(tmp_path / "none.mrc", "x.mrc")


class TestAlignments:
    truth = TiltGeometry(np.linspace(-40, 50, 5), np.random.default_rng(1).normal(size=(5, 2)) * 40, np.full(5, 84.5))
    points = np.random.default_rng(2).normal(size=(9, 3)) * 300

    @pytest.mark.parametrize("target", ["x.aln", "x.star", "x.xf", "x"])
    def test_an_xf_becomes_another_and_projects_the_same(self, tmp_path: Path, run, target: str) -> None:
        write_images(tmp_path / "raw.st", np.zeros((5, 120, 180), np.int8) + np.arange(180, dtype=np.int8), 5.0)
        write_alignment(tmp_path / "in.xf", self.truth, (120, 180), 5.0)
        path = run(tmp_path / "in.xf", target, like=tmp_path / "raw.st")
        back = read_alignment(path, (120, 180), 5.0).geometry
        np.testing.assert_allclose(back.project(self.points), self.truth.project(self.points), atol=0.05)

    def test_the_raw_images_must_be_known(self, tmp_path: Path, run) -> None:
        write_alignment(tmp_path / "in.xf", self.truth, (120, 180), 5.0)
        with pytest.raises(InputError, match="--like"):
            run(tmp_path / "in.xf", "x.aln")
        assert run(tmp_path / "in.xf", "x.aln", image_size=(120, 180), pixel_size=5.0).exists()


class TestCommand:
    def test_it_needs_no_project_and_leaves_only_the_new_file(self, tmp_path: Path) -> None:
        write_images(tmp_path / "in.mrc", smooth(), 3.5)
        (tmp_path / "out").mkdir()
        command = ["convert", str(tmp_path / "in.mrc"), str(tmp_path / "out" / "x.st"), "--values", "float16"]
        assert main(command) == 0
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.st"]
        assert (tmp_path / "out" / "x.st").stat().st_mode & 0o200
        assert main(command) == 2
        assert main([*command, "--overwrite"]) == 0

    def test_companions_come_along_and_are_not_overwritten(self, tmp_path: Path) -> None:
        write_alignment(tmp_path / "in.aln", TestAlignments.truth, (120, 180), 5.0)
        (tmp_path / "x.tlt").write_text("mine")
        command = ["convert", str(tmp_path / "in.aln"), str(tmp_path / "x.xf"), "--image-size", "120", "180"]
        assert main([*command, "--pixel-size", "5"]) == 2
        assert (tmp_path / "x.tlt").read_text() == "mine"
        assert not (tmp_path / "x.xf").exists()
        assert main([*command, "--pixel-size", "5", "--overwrite"]) == 0
        assert (tmp_path / "x.tlt").read_text() != "mine"

    def test_what_fails_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "in.mrc").write_bytes(b"no image")
        assert main(["convert", str(tmp_path / "in.mrc"), str(tmp_path / "x.st")]) == 2
        assert [path.name for path in tmp_path.iterdir()] == ["in.mrc"]
