"""From a micrograph to particles in a stack, through the jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.algorithms.picking_scene import Scene, make_scene, matched
from tests.jobs.report_pages import read_report, sections
from thon.base.errors import InputError
from thon.data.ctf import Ctf, CtfFit
from thon.data.maps import ClassifiedParticles, HalfMaps, Picks
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.data.optics import Optics
from thon.data.particles import Particles, join_particles
from thon.data.volume import Volume
from thon.formats.images import open_images, write_images
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_coordinates import write_coordinates
from thon.formats.relion_euler import rotation_from_euler
from thon.job.context import Context
from thon.job.events import Event
from thon.jobs.extract import ExtractJobOptions, extract, plan_extract
from thon.jobs.import_coordinates import ImportCoordinatesOptions, import_coordinates
from thon.jobs.pick import PickJobOptions, pick

PIXEL = 5.0


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(contrast=2, number=30)


@pytest.fixture
def micrograph(scene: Scene, tmp_path: Path) -> CtfMicrograph:
    path = tmp_path / "m.mrc"
    write_images(path, scene.image, PIXEL)
    fit = CtfFit(Ctf(15000, 13000, 30), Ctf(10, 10), 0.9, 4.0, (30, 4))
    shape = (scene.image.shape[0], scene.image.shape[1])
    return CtfMicrograph("m", str(path), shape, PIXEL, Optics(300.0, 2.7, 0.1), fit=fit)


@pytest.fixture
def picks(micrograph: CtfMicrograph, scene: Scene) -> Picks:
    none = np.zeros(len(scene.place))
    return Picks(micrograph, scene.place + 0.3, none + 2, none + 180, none.astype(np.int64) + 1, none + 40)


def context(folder: Path, told: list[Event] | None = None) -> Context:
    return Context.local(folder, emit=None if told is None else told.append)


def images(particles: Particles) -> np.ndarray:
    with ParticleImages(particles) as reader:
        return reader.read(np.arange(len(particles)))


class TestPick:
    def test_picks_and_files(self, micrograph: CtfMicrograph, scene: Scene, tmp_path: Path) -> None:
        found = pick(micrograph, PickJobOptions(diameter=180), context(tmp_path))
        assert found.micrograph == micrograph
        assert matched(found.coordinates, scene.place, 9) > 0.9 * len(scene.place)
        assert (tmp_path / "outputs/m_pick.star").exists()
        assert (tmp_path / "previews/picks.png").stat().st_size > 10_000
        page = read_report(tmp_path / "outputs")
        assert sections(page) == ["picks"]
        assert f"circle around each of {len(found)} picks" in page.all("img")[0]["alt"]
        assert "1.40 µm" in page.text
        assert (tmp_path / "outputs/m_picks.png").exists()

    def test_a_micrograph_without_a_ctf(self, micrograph: CtfMicrograph, tmp_path: Path) -> None:
        plain = Micrograph(micrograph.name, micrograph.path, micrograph.image_shape, micrograph.pixel_size)
        found = pick(plain, PickJobOptions(diameter=180), context(tmp_path))
        assert found.micrograph.fit is None
        assert len(found) > 20

    def test_references_from_a_file(self, micrograph: CtfMicrograph, scene: Scene, tmp_path: Path) -> None:
        y, x = np.mgrid[:50, :50] - 25
        disc = np.sqrt(np.clip(1 - (y**2 + x**2) / 18**2, 0, None)).astype(np.float32)
        write_images(tmp_path / "references.mrcs", disc[None], PIXEL)
        options = PickJobOptions(diameter=180, psi_step=180, use_ctf=False)
        found = pick(micrograph, options, context(tmp_path), references=tmp_path / "references.mrcs")
        assert matched(found.coordinates, scene.place, 9) > 0.9 * len(scene.place)
        assert set(found.class_number.tolist()) == {1}

    def test_references_of_a_job(self, micrograph: CtfMicrograph, scene: Scene, tmp_path: Path) -> None:
        z, y, x = np.mgrid[:26, :26, :26] - 13
        ball = (1 / (1 + np.exp(np.sqrt(z**2 + y**2 + x**2) - 6))).astype(np.float32)
        write_images(tmp_path / "ball.mrc", ball, 10)
        write_images(tmp_path / "averages.mrcs", ball.sum(0)[None], 10)
        volume = Volume(str(tmp_path / "ball.mrc"), (26, 26, 26), 10)
        averages = Volume(str(tmp_path / "averages.mrcs"), (1, 26, 26), 10)
        none = np.zeros(0, np.int64)
        classes = ClassifiedParticles(
            optics=(), group=none, files=(), file=none, section=none, micrograph=none, classes=(), averages=averages
        )
        options = PickJobOptions(diameter=180, psi_step=180, view_step=90, use_ctf=False)
        for given in ({"map": HalfMaps(volume=volume, first=volume, second=volume)}, {"averages": classes}):
            found = pick(micrograph, options, context(tmp_path), **given)
            assert matched(found.coordinates, scene.place, 9) > 0.9 * len(scene.place)
        with pytest.raises(InputError, match="one source"):
            pick(micrograph, options, context(tmp_path), averages=classes, references=tmp_path / "ball.mrc")
        with pytest.raises(InputError, match="no two-dimensional averages"):
            pick(micrograph, options, context(tmp_path), averages=replace(classes, averages=None))

    def test_nothing_there_is_told(self, micrograph: CtfMicrograph, tmp_path: Path) -> None:
        told: list[Event] = []
        found = pick(micrograph, PickJobOptions(diameter=180, threshold=99), context(tmp_path, told))
        assert len(found) == 0
        assert any(event.kind == "warning" for event in told)


class TestExtract:
    def test_what_the_particles_know(self, picks: Picks, tmp_path: Path) -> None:
        found = extract(picks, ExtractJobOptions(box=48, rescale=24), context(tmp_path))
        (optics,) = found.optics
        assert (optics.box, optics.pixel_size, optics.micrograph_pixel_size) == (24, 10, 5)
        assert not optics.premultiplied
        assert found.micrographs == (picks.micrograph.path,)
        assert found.coordinates is not None
        assert (found.coordinates % 1 == 0).all()
        assert np.abs(found.coordinates - picks.coordinates[: len(found)]).max() <= 0.5 or len(found) < len(picks)
        assert found.ctf is not None
        assert set(found.ctf.defocus_u.tolist()) == {15000}
        assert found.score is not None
        assert set(found.score.tolist()) == {2}
        assert found.columns["rlnAnglePsi"][0] == "40.000000"
        assert (found.half, found.rotation, found.shift) == (None, None, None)
        with open_images(found.files[0]) as file:
            assert file.dtype == np.float16
            assert file.pixel_size == 10

    def test_particles_are_bright_in_the_middle_of_their_boxes(self, picks: Picks, tmp_path: Path) -> None:
        found = extract(picks, ExtractJobOptions(box=60, float16=False), context(tmp_path))
        mean = images(found).mean(0)
        y, x = np.mgrid[:60, :60] - 30
        assert mean[np.hypot(y, x) < 6].mean() > mean[np.hypot(y, x) > 22].mean() + 1
        centre = [(mean.clip(0.5) - 0.5)[18:43, 18:43] * v[18:43, 18:43] for v in (y, x)]
        assert abs(sum(part.sum() for part in centre)) / (mean.clip(0.5) - 0.5)[18:43, 18:43].sum() < 1

    def test_edges_are_skipped_and_counted_or_padded(self, picks: Picks, tmp_path: Path) -> None:
        told: list[Event] = []
        found = extract(picks, ExtractJobOptions(box=80), context(tmp_path / "a", told))
        assert 0 < len(found) < len(picks)
        said = f"{len(picks) - len(found)} of {len(picks)} particles are left out"
        assert any(said in getattr(event, "text", "") for event in told)
        padded = extract(picks, ExtractJobOptions(box=80, edges="pad"), context(tmp_path / "b"))
        assert len(padded) == len(picks)

    def test_no_picks_are_a_skip(self, picks: Picks, tmp_path: Path) -> None:
        none = replace(picks, **{name: getattr(picks, name)[:0] for name in ("coordinates", "score", "diameter")})
        none = replace(none, class_number=none.class_number[:0], psi=none.psi[:0])
        told: list[Event] = []
        empty = extract(none, ExtractJobOptions(box=48), context(tmp_path / "a", told))
        assert (len(empty), empty.files) == (0, ())
        assert any(event.kind == "warning" for event in told)
        some = extract(picks, ExtractJobOptions(box=48), context(tmp_path / "b"))
        joined = join_particles([empty, some])
        assert len(joined) == len(some)
        assert joined.ctf is not None

    def test_a_box_that_fits_the_particle(self, picks: Picks, tmp_path: Path) -> None:
        found = extract(picks, ExtractJobOptions(edges="pad"), context(tmp_path))
        # 1.5 · 180 Å / 5 Å = 54 px.
        assert found.optics[0].box == 54
        unlike = replace(picks, diameter=picks.diameter + np.arange(len(picks)))
        with pytest.raises(InputError, match="differ in diameter"):
            extract(unlike, ExtractJobOptions(), context(tmp_path))
        with pytest.raises(InputError, match="rescaled"):
            extract(picks, ExtractJobOptions(rescale=128), context(tmp_path))

    def test_premultiplied_is_said(self, picks: Picks, tmp_path: Path) -> None:
        found = extract(picks, ExtractJobOptions(box=48, multiply_ctf=True, float16=False), context(tmp_path / "a"))
        plain = extract(picks, ExtractJobOptions(box=48, float16=False), context(tmp_path / "b"))
        assert found.optics[0].premultiplied
        assert np.abs(images(found) - images(plain)).mean() > 0.1

    def test_the_plan_knows_the_size(self, picks: Picks, tmp_path: Path) -> None:
        local = context(tmp_path)
        plan = plan_extract(picks, ExtractJobOptions(box=48, edges="pad"), local.resources)
        found = extract(picks, ExtractJobOptions(box=48, edges="pad"), local)
        assert plan.disk is not None
        size = Path(found.files[0]).stat().st_size
        assert size <= plan.disk < size + 2_000_000


class TestAgain:
    def test_particles_come_into_the_middle_and_keep_what_is_known(self, picks: Picks, tmp_path: Path) -> None:
        first = extract(picks, ExtractJobOptions(box=48, float16=False), context(tmp_path / "a"))
        number = len(first)
        # What a refinement found: each particle lies (2, −3) px and a bit from the middle of its box.
        shift = np.tile([2.0 * PIXEL + 1, -3.0 * PIXEL - 2], (number, 1))
        rotation = rotation_from_euler(np.random.default_rng(0).uniform(0, 90, (number, 3)))
        refined = replace(first, shift=shift, rotation=rotation, half=np.arange(number) % 2 + 1)
        options = ExtractJobOptions(box=40, float16=False, normalise=False)
        found = extract(picks, options, context(tmp_path / "b"), particles=refined)
        assert found.coordinates is not None
        assert first.coordinates is not None
        np.testing.assert_array_equal(found.coordinates, first.coordinates + np.array([2, -3]))
        np.testing.assert_allclose(found.shift, np.tile([1.0, -2.0], (number, 1)))
        np.testing.assert_array_equal(found.rotation, rotation)
        np.testing.assert_array_equal(found.half, refined.half)
        assert found.optics[0].name == first.optics[0].name
        with open_images(picks.micrograph.path) as file:
            whole = file.image(0)
        y, x = found.coordinates[3].astype(int)
        np.testing.assert_allclose(images(found)[3], -whole[y - 20 : y + 20, x - 20 : x + 20], rtol=1e-6)

    def test_without_recentring_boxes_and_shifts_stay(self, picks: Picks, tmp_path: Path) -> None:
        first = extract(picks, ExtractJobOptions(box=48), context(tmp_path / "a"))
        moved = replace(first, shift=np.full((len(first), 2), 7.0))
        options = ExtractJobOptions(box=40, recentre=False)
        found = extract(picks, options, context(tmp_path / "b"), particles=moved)
        np.testing.assert_array_equal(found.coordinates, first.coordinates)
        np.testing.assert_array_equal(found.shift, moved.shift)

    def test_only_those_of_the_micrograph_are_taken(self, picks: Picks, tmp_path: Path) -> None:
        first = extract(picks, ExtractJobOptions(box=48), context(tmp_path / "a"))
        other = np.arange(len(first)) % 3 == 0
        mixed = replace(first, micrographs=(first.micrographs[0], "/other/n.mrc"), micrograph=other.astype(np.int64))
        found = extract(picks, ExtractJobOptions(box=48), context(tmp_path / "b"), particles=mixed)
        np.testing.assert_array_equal(found.coordinates, np.asarray(first.coordinates)[~other])


class TestMistakes:
    def test_a_box_within_the_particle(self, picks: Picks, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="smaller than the particle"):
            extract(picks, ExtractJobOptions(box=32), context(tmp_path))

    def test_a_background_within_the_particle_is_warned_of(self, picks: Picks, tmp_path: Path) -> None:
        told: list[Event] = []
        extract(picks, ExtractJobOptions(box=40), context(tmp_path, told))
        assert any("background begins" in getattr(event, "text", "") for event in told)

    def test_bad_micrographs(self, picks: Picks, scene: Scene, tmp_path: Path) -> None:
        options, path = ExtractJobOptions(box=48), Path(picks.micrograph.path)
        broken = scene.image.copy()
        broken[7, 9] = np.nan
        write_images(path, broken, PIXEL)
        with pytest.raises(InputError, match="no numbers"):
            extract(picks, options, context(tmp_path))
        write_images(path, scene.image[:-10], PIXEL)
        with pytest.raises(InputError, match="size that it had"):
            extract(picks, options, context(tmp_path))
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(InputError, match=r"truncated|shorter|bytes"):
            extract(picks, options, context(tmp_path))
        path.unlink()
        with pytest.raises(InputError, match=r"m\.mrc"):
            extract(picks, options, context(tmp_path))
        assert not list((tmp_path / "outputs").glob("*.mrcs"))

    def test_particles_without_coordinates(self, picks: Picks, tmp_path: Path) -> None:
        first = extract(picks, ExtractJobOptions(box=48), context(tmp_path))
        with pytest.raises(InputError, match="no coordinates"):
            extract(picks, ExtractJobOptions(box=48), context(tmp_path), particles=replace(first, coordinates=None))


class TestImport:
    def test_coordinates_of_others(self, picks: Picks, tmp_path: Path) -> None:
        (tmp_path / "given").mkdir()
        write_coordinates(tmp_path / "given" / "m_manual.star", picks)
        options = ImportCoordinatesOptions(diameter=150)
        found = import_coordinates(picks.micrograph, tmp_path / "given", options, context(tmp_path))
        np.testing.assert_allclose(found.coordinates, picks.coordinates, atol=1e-3)
        assert set(found.diameter.tolist()) == {150}
        turned = import_coordinates(
            picks.micrograph, tmp_path / "given", ImportCoordinatesOptions(flip_y=True), context(tmp_path)
        )
        np.testing.assert_allclose(turned.coordinates[:, 0], 486 - picks.coordinates[:, 0], atol=1e-3)

    def test_coordinates_of_another_micrograph(self, picks: Picks, tmp_path: Path) -> None:
        write_coordinates(tmp_path / "m.star", replace(picks, coordinates=picks.coordinates + 300))
        with pytest.raises(InputError, match="outside"):
            import_coordinates(picks.micrograph, tmp_path / "m.star", ImportCoordinatesOptions(), context(tmp_path))
