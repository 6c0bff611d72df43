"""Images of particles out of their stacks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.formats.particle_files import write_particle_star, write_stacks
from thon.base.errors import FormatError, InputError
from thon.data.optics import Optics
from thon.data.particles import ParticleOptics, Particles
from thon.formats import particle_images
from thon.formats.mrc import write_mrc
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_particles import read_particles


@pytest.fixture
def stacks(tmp_path: Path) -> list[np.ndarray]:
    return write_stacks(tmp_path)


@pytest.fixture
def particles(stacks: list[np.ndarray], tmp_path: Path) -> Particles:
    return read_particles(write_particle_star(tmp_path))


def test_the_images_come_in_the_order_asked_for(particles: Particles, stacks: list[np.ndarray]) -> None:
    a, b = stacks
    with ParticleImages(particles) as images:
        found = images.read(np.array([5, 0, 2, 5, 1]))
    np.testing.assert_array_equal(found, np.stack([b[0], b[1], a[0], b[0], a[4]]))
    assert found.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.int16, np.int8, np.uint16])
def test_every_type_becomes_float32(dtype: type, particles: Particles, tmp_path: Path) -> None:
    values = np.arange(5 * 144).reshape(5, 12, 12) % 120
    write_mrc(tmp_path / "Extract/a.mrcs", values.astype(dtype), 1.7)
    with ParticleImages(particles) as images:
        np.testing.assert_array_equal(images.read(np.array([1])), values[4:].astype(np.float32))


def test_few_files_stay_open(particles: Particles, stacks: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(particle_images, "_OPEN_FILES", 1)
    with ParticleImages(particles) as images:
        for _ in range(3):
            np.testing.assert_array_equal(images.read(np.array([0, 1])), np.stack([stacks[1][1], stacks[0][4]]))
        assert len(vars(images)["_open"]) == 1


def test_several_threads_read_at_once(
    particles: Particles, stacks: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(particle_images, "_OPEN_FILES", 1)
    expected = np.stack([stacks[1][1], stacks[0][4], stacks[0][0]])
    with ParticleImages(particles) as images, ThreadPoolExecutor(4) as pool:
        for found in pool.map(images.read, [np.array([0, 1, 2])] * 200):
            np.testing.assert_array_equal(found, expected)


def test_groups_of_different_boxes_are_read_apart(particles: Particles, tmp_path: Path) -> None:
    small = np.random.default_rng(0).normal(size=(4, 8, 8)).astype(np.float32)
    write_mrc(tmp_path / "Extract/b.mrcs", small, 2.5)
    optics = (particles.optics[0], ParticleOptics("small", Optics(300, 2.7, 0.1), 2.5, 8))
    mixed = replace(particles, optics=optics, group=(particles.file == 0).astype(np.int64))
    with ParticleImages(mixed) as images:
        np.testing.assert_array_equal(images.read(np.array([0, 3])), small[[1, 3]])
        assert images.read(np.array([1, 2])).shape == (2, 12, 12)
        with pytest.raises(InputError, match="one optics group at a time"):
            images.read(np.array([0, 1]))


class TestBadImages:
    @pytest.mark.parametrize(
        ("value", "message"),
        [(np.nan, "holds NaN or infinity"), (np.inf, "holds NaN or infinity"), (None, "has no contrast")],
    )
    def test_values(
        self, value: float | None, message: str, stacks: list[np.ndarray], particles: Particles, tmp_path: Path
    ) -> None:
        stacks[0][2] = 3.0 if value is None else stacks[0][2]
        if value is not None:
            stacks[0][2, 4, 5] = value
        write_mrc(tmp_path / "Extract/a.mrcs", stacks[0], 1.7)
        with ParticleImages(particles) as images:
            assert len(images.read(np.array([0, 1, 2, 3, 5]))) == 5
            with pytest.raises(FormatError, match=rf"particle 4 \(000003@.*/a.mrcs from mic1.mrc\) {message}"):
                images.read(np.array([0, 4]))

    def test_a_truncated_stack_names_particle_and_file(self, particles: Particles, tmp_path: Path) -> None:
        path = tmp_path / "Extract/a.mrcs"
        path.write_bytes(path.read_bytes()[:-500])
        with ParticleImages(particles) as images, pytest.raises(FormatError, match="truncated") as caught:
            images.read(np.array([1]))
        assert "000005@" in str(caught.value)
        assert str(path) in str(caught.value)

    def test_a_stack_that_is_gone(self, particles: Particles, tmp_path: Path) -> None:
        (tmp_path / "Extract/b.mrcs").unlink()
        with ParticleImages(particles) as images, pytest.raises(InputError, match=r"000002@.*b\.mrcs"):
            images.read(np.array([0]))

    def test_beyond_the_end(self, particles: Particles) -> None:
        beyond = replace(particles, section=particles.section + 2)
        with ParticleImages(beyond) as images, pytest.raises(FormatError, match="beyond the end of its stack"):
            images.read(np.array([1]))

    def test_another_box(self, particles: Particles, tmp_path: Path) -> None:
        write_mrc(tmp_path / "Extract/a.mrcs", np.ones((5, 12, 10), np.float32), 1.7)
        with ParticleImages(particles) as images, pytest.raises(FormatError, match="not its optics group's size"):
            images.read(np.array([1]))
