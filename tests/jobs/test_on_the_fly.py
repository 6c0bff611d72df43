"""Particles without stacks: their images are cut out of micrographs when they are read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.algorithms.reconstruct_particles import ReconstructParticlesOptions, reconstruct_with_poses
from thon.base.errors import FormatError, InputError
from thon.data.ctf import Ctf, CtfFit
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph
from thon.data.optics import Optics
from thon.data.particles import Particles, join_particles
from thon.data.record import from_json, to_json
from thon.formats.images import write_images
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_particles import read_particles
from thon.job.context import Context
from thon.jobs.classified_results import check_particles
from thon.jobs.export_particles import ExportParticlesOptions, export_particles
from thon.jobs.extract import ExtractJobOptions, extract, plan_extract
from thon.jobs.particle_source import open_particles
from thon.ops.rotation import rotation_about

PIXEL, COUNT = 4.0, 20


def picks_in(path: Path, seed: int) -> Picks:
    generator = np.random.default_rng(seed)
    image = generator.normal(80, 9, (260, 300)).astype(np.float32)
    image[40, 50] = 900  # dust
    write_images(path, image, PIXEL)
    fit = CtfFit(Ctf(15000, 13000, 30), Ctf(10, 10), 0.9, 4.0, (30, 4))
    micrograph = CtfMicrograph(path.stem, str(path), (260, 300), PIXEL, Optics(300.0, 2.7, 0.1), fit=fit)
    place = np.concatenate([[[45, 52]], generator.uniform(4, 256, (COUNT - 1, 2))])
    none = np.zeros(COUNT)
    return Picks(micrograph, place, none + 1, none + 100, none.astype(np.int64) + 1, none)


@pytest.fixture
def picks(tmp_path: Path) -> Picks:
    return picks_in(tmp_path / "m.mrc", 1)


def images(particles: Particles, order: np.ndarray | None = None) -> np.ndarray:
    with open_particles(particles) as reader:
        return reader.read(np.arange(len(particles)) if order is None else order)


def both(picks: Picks, folder: Path, **options: object) -> tuple[Particles, Particles]:
    """The same particles with a stack and without."""
    how = {"box": 48, "float16": False} | options
    stack = extract(picks, ExtractJobOptions.model_validate(how), Context.local(folder / "stack"))
    flying = ExtractJobOptions.model_validate(how | {"on_the_fly": True})
    return stack, extract(picks, flying, Context.local(folder / "fly"))


class TestBits:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"rescale": 32, "multiply_ctf": True},
            {"edges": "pad", "invert": False, "background_diameter": 0.6},
            {"white_dust": 6, "black_dust": 6},
            {"normalise": False, "multiply_ctf": True},
        ],
        ids=["plain", "premultiplied", "padded", "dust", "grey"],
    )
    def test_they_are_those_of_the_stack(self, options: dict[str, object], picks: Picks, tmp_path: Path) -> None:
        stack, flying = both(picks, tmp_path, **options)
        assert not list((tmp_path / "fly").rglob("*.mrcs"))
        assert flying.files == (picks.micrograph.path,)
        assert len(flying) > COUNT / 2
        order = np.random.default_rng(0).permutation(len(flying))
        np.testing.assert_array_equal(images(flying, order), images(stack, order))
        np.testing.assert_array_equal(images(flying, order[:1]), images(stack, order[:1]))
        assert images(flying).std() > 0.5

    def test_from_several_micrographs_and_threads(self, picks: Picks, tmp_path: Path) -> None:
        pairs = [both(one, tmp_path / str(k)) for k, one in enumerate((picks, picks_in(tmp_path / "n.mrc", 2)))]
        stack, flying = (join_particles([pair[k] for pair in pairs]) for k in (0, 1))
        order = np.random.default_rng(0).permutation(len(flying))
        expected = images(stack)
        with open_particles(flying) as reader, ThreadPoolExecutor(4) as pool:
            for part, found in zip(np.split(order, 4), pool.map(reader.read, np.split(order, 4)), strict=True):
                np.testing.assert_array_equal(found, expected[part])

    def test_a_record_keeps_how_they_are_cut(self, picks: Picks, tmp_path: Path) -> None:
        _, flying = both(picks, tmp_path, white_dust=7, rescale=32)
        again = from_json(to_json(flying))
        assert again.optics == flying.optics
        np.testing.assert_array_equal(images(again), images(flying))


class TestUse:
    @pytest.mark.parametrize("multiply", [True, False], ids=["multiplied", "aberrated"])
    def test_a_map_is_the_same(self, *, multiply: bool, picks: Picks, tmp_path: Path) -> None:
        turns = np.stack([rotation_about((1, 2, 3), 17.0 * k) for k in range(COUNT)])
        lens = {
            "odd_zernike": (0.0, 0.0, 40.0),
            "even_zernike": (0.0, 5.0, 0.0, 3.0),
            "beam_tilt": (0.3, -0.2),
            "magnification": ((1.01, 0.0), (0.005, 0.99)),
        }
        maps = []
        for one in both(picks, tmp_path, multiply_ctf=multiply, rescale=32):
            group = one.optics[0] if multiply else replace(one.optics[0], **lens)
            posed = replace(one, optics=(group,), rotation=turns[: len(one)], shift=np.zeros((len(one), 2)))
            accepted = check_particles(posed, 100.0, 2)
            with open_particles(accepted) as source:
                maps.append(reconstruct_with_poses(accepted, source, ReconstructParticlesOptions()).volume)
        np.testing.assert_array_equal(*maps)
        assert maps[0].std() > 0

    def test_other_optics_multiply_by_other_ctfs(self, picks: Picks, tmp_path: Path) -> None:
        """What is cut when it is read follows the optics table; a stack holds what it was multiplied by."""
        stack, flying = both(picks, tmp_path, multiply_ctf=True)
        stack, flying = (
            replace(one, optics=(replace(one.optics[0], even_zernike=(0.0, 0.0, 5.0)),)) for one in (stack, flying)
        )
        again = extract(
            picks,
            ExtractJobOptions(box=48, float16=False, multiply_ctf=True),
            Context.local(tmp_path / "again"),
            particles=flying,
        )
        np.testing.assert_array_equal(images(flying), images(again))
        assert np.abs(images(flying) - images(stack)).max() > 0.1

    def test_export_writes_stacks(self, picks: Picks, tmp_path: Path) -> None:
        stack, flying = both(picks, tmp_path)
        context = Context.local(tmp_path / "export")
        with pytest.raises(InputError, match="still in their micrographs"):
            export_particles((flying,), ExportParticlesOptions(), context)
        folder = export_particles((flying,), ExportParticlesOptions(stacks=True), context)
        found = read_particles(folder / "particles.star")
        assert found.optics[0].cut is None
        np.testing.assert_array_equal(images(found), images(stack))

    def test_cut_again_into_a_stack(self, picks: Picks, tmp_path: Path) -> None:
        stack, flying = both(picks, tmp_path)
        options = ExtractJobOptions(box=48, float16=False, recentre=False)
        again = extract(picks, options, Context.local(tmp_path / "again"), particles=flying)
        assert again.optics[0].cut is None
        np.testing.assert_array_equal(images(again), images(stack))

    def test_the_plan_needs_no_disk(self, picks: Picks, tmp_path: Path) -> None:
        resources = Context.local(tmp_path).resources
        plain, flying = (
            plan_extract(picks, ExtractJobOptions(box=48, on_the_fly=fly), resources).disk for fly in (False, True)
        )
        assert plain is not None
        assert flying is not None
        assert plain - flying == COUNT * 48 * 48 * 2


class TestMistakes:
    def test_a_reader_of_stacks_alone_says_what_to_do(self, picks: Picks, tmp_path: Path) -> None:
        _, flying = both(picks, tmp_path)
        with ParticleImages(flying) as reader, pytest.raises(InputError, match="without --on-the-fly"):
            reader.read(np.arange(2))

    def test_a_micrograph_that_is_gone_or_broken(self, picks: Picks, tmp_path: Path) -> None:
        _, flying = both(picks, tmp_path)
        path = Path(picks.micrograph.path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-4] + np.float32(np.nan).tobytes())
        last = replace(flying, coordinates=np.tile([236.0, 276.0], (len(flying), 1)))
        with pytest.raises(FormatError, match=r"particle 3 .*NaN"):
            images(last, np.array([3]))
        path.unlink()
        with pytest.raises(InputError, match=r"m\.mrc"):
            images(flying)

    def test_particles_without_coordinates(self, picks: Picks, tmp_path: Path) -> None:
        _, flying = both(picks, tmp_path)
        with pytest.raises(InputError, match="cannot be cut out"):
            images(replace(flying, coordinates=None))
