"""Classes of two dimensions, of particles whose kinds are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.likelihood_phantom import PIXEL, Simulated, phantom, simulate
from tests.jobs.seen_particles import simulate_mixture
from thon.algorithms.classify2d import Classify2d, Classify2dOptions
from thon.algorithms.likelihood.averages import FirstAverages, centred, centres, revive
from thon.algorithms.likelihood.classes import ClassState
from thon.algorithms.likelihood.expectation import NoiseModel, Poses
from thon.algorithms.likelihood.references import particle_mask
from thon.data.particles import ParticleOptics

DIAMETER = 100.0


def classify(data: Simulated, **settings: object) -> ClassState:
    options = Classify2dOptions.model_validate({"diameter": DIAMETER, **settings})
    run = Classify2d(data.particles, data, options, seed=1)
    state = run.start()
    while len(state.records) < run.total:
        state = run.iterate(state)
    return state


def purity(classes: np.ndarray, kind: np.ndarray) -> float:
    table = np.zeros((classes.max() + 1, kind.max() + 1), int)
    np.add.at(table, (classes, kind), 1)
    return table.max(1).sum() / len(kind)


def state_of(references: np.ndarray, count: int = 4, **changes: object) -> ClassState:
    classes, box = len(references), references.shape[-1]
    poses = Poses(
        rotation=np.tile(np.eye(3), (count, 1, 1)),
        shift=np.zeros((count, 2)),
        classes=np.arange(count) % classes,
        probability=np.ones(count),
        likelihood=np.zeros(count),
        significant=np.ones(count, np.int64),
    )
    model = NoiseModel(np.ones((1, box // 2)), np.ones(1), np.ones(count), 10.0)
    power = np.arange(classes)[:, None] + np.ones((classes, box // 2))
    state = ClassState(references, np.full(classes, 1 / classes), power, poses, model, 8)
    return replace(state, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method", [{"method": "EM", "iterations": 8}, {"method": "VDAM", "mini_batches": 12}], ids=["EM", "VDAM"]
)
def test_two_kinds_seen_from_one_side_are_told_apart(method: dict[str, object]) -> None:
    data, kind = simulate_mixture([phantom(3), phantom(8)], 240, noise=2.5, still=True)
    state = classify(data, classes=3, **method)
    assert purity(state.poses.classes, kind) > 0.97
    assert state.records[-1].shells > state.records[0].shells
    assert all(share > 0.02 for share in state.shares), "no class is left empty"


def test_averages_look_like_the_projection_in_the_plane() -> None:
    data, _ = simulate_mixture([phantom()], 120, noise=2.0, still=True)
    state = classify(data, classes=1, iterations=6)
    average, clean = state.references[0], phantom().projection(np.eye(3), np.zeros(2), 32)
    spread = np.sort(average[8:24, 8:24].ravel()), np.sort(clean[8:24, 8:24].ravel())
    assert np.corrcoef(*spread)[0, 1] > 0.97, "the greys are the same, however the average is turned"


class TestCentring:
    def test_the_average_moves_to_the_centre_and_its_particles_with_it(self) -> None:
        y, x = np.mgrid[:32, :32] - 16
        off = np.exp(-((y - 3) ** 2 + (x + 2) ** 2) / 8)
        references = np.stack([off, np.roll(off, (-3, 2), (0, 1))]).astype(np.float32)
        turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
        state = state_of(references, momentum=references.copy())
        state = replace(state, poses=replace(state.poses, rotation=np.stack([turn, turn, np.eye(3), turn])))
        moved = centred(state, DIAMETER, PIXEL)
        assert np.abs(centres(moved.references)).max() < 0.1
        np.testing.assert_allclose(moved.references[0], moved.references[1], atol=1e-6)
        # The first class's centre lay at (3, -2): turned by 90°, that is (2, 3).
        np.testing.assert_allclose(moved.poses.shift, np.array([[2, 3], [0, 0], [3, -2], [0, 0]]) * PIXEL)
        assert moved.momentum is not None
        assert np.abs(centres(moved.momentum)).max() < 0.1

    def test_what_is_centred_stays_bit_by_bit(self) -> None:
        y, x = np.mgrid[:32, :32] - 16
        state = state_of(np.exp(-(y**2 + x**2) / 8).astype(np.float32)[None])
        assert centred(state, DIAMETER, PIXEL) is state


class TestRevival:
    def test_a_dead_class_becomes_a_variant_of_the_largest(self) -> None:
        noise = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
        references = noise * particle_mask(32, 25, 2).numpy()
        state = state_of(references, shares=np.array([0.7, 0.295, 0.005]), momentum=references.copy())
        new = revive(state, 0.1, np.random.default_rng(1))
        np.testing.assert_allclose(new.shares, [0.35, 0.295, 0.35])
        np.testing.assert_array_equal(new.references[:2], references[:2])
        assert 0.9 < np.corrcoef(new.references[2].ravel(), references[0].ravel())[0, 1] < 0.995
        assert not new.references[2][references[0] == 0].any(), "nothing outside the mask"
        np.testing.assert_array_equal(new.power[2], state.power[0])
        assert new.momentum is not None
        np.testing.assert_array_equal(new.momentum[2], references[0])

    def test_living_classes_are_left_alone(self) -> None:
        state = state_of(np.ones((3, 32, 32), np.float32), shares=np.array([0.6, 0.35, 0.05]))
        assert revive(state, 0.1, np.random.default_rng(1)) is state


class _TwoBoxes:
    """Images of the first half as they are, of the second half cropped in Fourier space to 24 px."""

    def __init__(self, data: Simulated) -> None:
        self.images, self.half = data.images, len(data.images) // 2

    def read(self, indices: np.ndarray) -> np.ndarray:
        chosen = self.images[indices]
        if indices.max() < self.half:
            return chosen
        spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(chosen, (1, 2))), (1, 2))[:, 4:28, 4:28]
        spectrum[:, 0], spectrum[:, :, 0] = 0, 0
        small = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum, (1, 2))).real, (1, 2))
        return (small * 24 / 32).astype(np.float32)


def test_images_of_another_box_and_pixel_size_count_like_others() -> None:
    data, _ = simulate_mixture([phantom()], 80, noise=0.5, still=True)
    optics = data.particles.optics[0]
    small = ParticleOptics("small", optics.optics, PIXEL * 32 / 24, 24)
    mixed = replace(data.particles, optics=(optics, small), group=np.arange(80) // 40)
    model = NoiseModel(np.ones((2, 16)), np.ones(2), np.ones(80), 10.0)
    first, second = (
        FirstAverages(mixed.select(part), source, model, 32, PIXEL, DIAMETER, 10).make(1, 0)[0]
        for part, source in (
            (np.arange(40), _TwoBoxes(data)),
            (np.arange(40, 80), _Later(_TwoBoxes(data), 40)),
        )
    )
    # Turned in the plane at random, both are round: they agree but for noise.
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.95
    assert abs(first.std() / second.std() - 1) < 0.1
    both = FirstAverages(mixed, _TwoBoxes(data), model, 32, PIXEL, DIAMETER, 10).make(1, 0)[0]
    assert np.corrcoef(both.ravel(), (first + second).ravel())[0, 1] > 0.99


class _Later:
    """Images from some index on."""

    def __init__(self, source: _TwoBoxes, first: int) -> None:
        self.source, self.first = source, first

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.source.read(indices + self.first)


def test_a_seed_gives_the_same_bits_with_more_threads() -> None:
    data = simulate(600, noise=2.0)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(classify(data, classes=2, iterations=2))
    torch.set_num_threads(1)
    np.testing.assert_array_equal(found[0].references, found[1].references)
    np.testing.assert_array_equal(found[0].poses.shift, found[1].poses.shift)
