"""Sets of particles."""

from __future__ import annotations

import dataclasses

import numpy as np

from thon.data.optics import Optics
from thon.data.particles import ParticleOptics, Particles


def test_compact_keeps_what_particles_are_of() -> None:
    """Names stay with their particles, those of none go, and a particle of no micrograph stays of none."""
    optics = tuple(ParticleOptics(name, Optics(300, 2.7, 0.1), 1.0, 8) for name in "abc")
    particles = Particles(
        optics=optics,
        group=np.array([2, 0, 2]),
        files=("one", "two", "three"),
        file=np.array([1, 1, 2]),
        section=np.array([4, 5, 6]),
        micrographs=("left", "middle", "right"),
        micrograph=np.array([2, -1, 0]),
    )
    found = particles.compact()
    assert [found.optics[k].name for k in found.group] == ["c", "a", "c"]
    assert [found.image_name(k) for k in range(3)] == [particles.image_name(k) for k in range(3)]
    assert (found.files, found.micrographs) == (("two", "three"), ("left", "right"))
    assert found.micrograph.tolist() == [1, -1, 0]
    only = particles.select(np.array([1])).compact()
    assert (len(only.optics), only.files, only.micrographs, only.micrograph.tolist()) == (1, ("two",), (), [-1])


def test_an_image_in_both_halves_is_found_and_one_that_comes_twice_in_one_is_not() -> None:
    particles = Particles(
        optics=(ParticleOptics("a", Optics(300, 2.7, 0.1), 1.0, 8),),
        group=np.zeros(6, np.int64),
        files=("one", "two"),
        file=np.array([0, 0, 1, 1, 1, 0]),
        section=np.array([3, 3, 3, 3, 5, 9]),
        micrograph=np.full(6, -1),
        half=np.array([1, 1, 1, 2, 2, 0]),
    )
    assert particles.in_both_halves().tolist() == [3]
    assert particles.select(np.array([0, 1, 4, 5])).in_both_halves().tolist() == []
    assert dataclasses.replace(particles, half=None).in_both_halves().tolist() == []
