"""Stacks of particle images written anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.formats.particle_files import write_particle_star, write_stacks
from thon.data.particles import Particles
from thon.formats.mrc import open_mrc
from thon.formats.particle_copies import copy_stacks
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_particles import read_particles


@pytest.fixture
def particles(tmp_path: Path) -> Particles:
    write_stacks(tmp_path)
    (tmp_path / "copies").mkdir()
    return read_particles(write_particle_star(tmp_path))


def images(particles: Particles) -> np.ndarray:
    with ParticleImages(particles) as reader:
        return reader.read(np.arange(len(particles)))


@pytest.mark.parametrize("float16", [False, True])
def test_the_same_images_in_the_same_order(particles: Particles, float16: bool, tmp_path: Path) -> None:
    some = particles.select(np.array([4, 0, 1, 3]))
    done: list[float] = []
    copied = copy_stacks(some, tmp_path / "copies", float16=float16, progress=done.append)
    np.testing.assert_allclose(images(copied), images(some), rtol=1e-3 if float16 else 0, atol=1e-3 * float16)
    assert {Path(name).name for name in copied.files} == {"a.mrcs", "b.mrcs"}
    assert done[-1] == 1
    with open_mrc(copied.files[0]) as stack:
        assert (len(stack), stack.pixel_size) == (2, pytest.approx(1.7))
        assert stack.dtype == (np.float16 if float16 else np.float32)
    np.testing.assert_array_equal(copied.coordinates, some.coordinates)


def test_dark_matter_becomes_bright(particles: Particles, tmp_path: Path) -> None:
    dark = replace(particles, optics=(replace(particles.optics[0], dark=True),))
    copied = copy_stacks(dark, tmp_path / "copies")
    assert not copied.optics[0].dark
    np.testing.assert_array_equal(images(copied), -images(particles))


def test_stacks_of_one_name_stay_apart(particles: Particles, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "Extract/b.mrcs").rename(tmp_path / "other/a.mrcs")
    renamed = replace(particles, files=(str(tmp_path / "other/a.mrcs"), particles.files[1]))
    copied = copy_stacks(renamed, tmp_path / "copies")
    assert {Path(name).name for name in copied.files} == {"a.mrcs", "a_2.mrcs"}
    np.testing.assert_array_equal(images(copied), images(renamed))
