"""Particles whose poses are known: projections, reconstruction, and classes without a search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from tests.algorithms.likelihood_phantom import PIXEL, Simulated, ctf_image, phantom, simulate
from tests.jobs.seen_particles import simulate_mixture
from thon.algorithms.classify3d import Classify3d, Classify3dOptions
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.likelihood.known_poses import KnownPoses
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.references import particle_mask
from thon.algorithms.particle_sets import half_sets
from thon.algorithms.project_map import MapProjector, even_rotations, project_particles
from thon.algorithms.reconstruct_particles import ReconstructParticlesOptions, reconstruct_with_poses
from thon.data.particles import Particles, join_particles
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.symmetry import symmetry_rotations

BOX = 32


def volume(seed: int = 3) -> np.ndarray:
    return phantom(seed).volume(BOX).astype(np.float32)


def mean_fsc(one: np.ndarray, other: np.ndarray) -> float:
    curve = fourier_shell_correlation(torch.from_numpy(one), torch.from_numpy(other), PIXEL).correlation
    return float(curve[1:9].mean())  # the balls have no finer detail


def slope(made: np.ndarray) -> float:
    """Grey values of a map over the true ones."""
    inside = particle_mask(BOX, 20, 3).numpy() > 0.5
    return float(np.polyfit(volume()[inside], made[inside], 1)[0])


@dataclass(frozen=True)
class Mixed:
    """Particles of several boxes, each an optics group."""

    parts: tuple[Simulated, ...]

    @property
    def particles(self) -> Particles:
        sets = [
            replace(
                one.particles,
                optics=(replace(one.particles.optics[0], name=f"group {k}"),),
                files=(f"{k}.mrcs",),
                rotation=one.rotation,
                shift=one.shift,
            )
            for k, one in enumerate(self.parts)
        ]
        return join_particles(sets)

    def read(self, indices: np.ndarray) -> np.ndarray:
        begin = np.cumsum([0, *(len(one.images) for one in self.parts)])
        part = int(np.searchsorted(begin, indices[0], "right")) - 1
        return self.parts[part].read(indices - begin[part])


class TestProjection:
    def test_it_is_the_one_written_out(self) -> None:
        data = simulate(6, BOX)
        found = MapProjector(volume(), PIXEL).project(data.rotation, data.shift).numpy()
        for i in range(6):
            clean = phantom().projection(data.rotation[i], data.shift[i] / PIXEL, BOX)
            assert np.abs(found[i] - clean).max() < 0.02 * clean.max()

    def test_with_the_ctf(self) -> None:
        data = simulate(4, BOX)
        posed = replace(data.particles, rotation=data.rotation, shift=data.shift)
        found = np.concatenate(list(project_particles(volume(), PIXEL, posed, ctf=True)))
        assert data.particles.ctf is not None
        for i in range(4):
            clean = phantom().projection(data.rotation[i], data.shift[i] / PIXEL, BOX)
            mean = (data.particles.ctf.defocus_u[i] + data.particles.ctf.defocus_v[i]) / 2
            ctf = ctf_image(BOX, mean, 300.0, data.particles.ctf.angle[i], data.particles.optics[0].optics)
            expected = np.fft.ifft2(np.fft.fft2(clean) * ctf).real
            assert np.corrcoef(found[i].ravel(), expected.ravel())[0, 1] > 0.9995

    @pytest.mark.parametrize(("step", "symmetry"), [(30.0, "C1"), (20.0, "C1"), (15.0, "D2")])
    def test_even_directions_leave_no_gap(self, step: float, symmetry: str) -> None:
        seen = even_rotations(step, symmetry)[:, 0, :]
        copies = np.einsum("nj,sji->nsi", seen, symmetry_rotations(symmetry)).reshape(-1, 3)
        some = np.random.default_rng(0).normal(size=(500, 3))
        some /= np.linalg.norm(some, axis=1, keepdims=True)
        nearest = np.degrees(np.arccos(np.clip((some @ copies.T).max(1), -1, 1)))
        assert nearest.max() < step
        assert len(seen) < 1.6 * 41253 / (step / 1.4) ** 2 / len(symmetry_rotations(symmetry)) + 12

    def test_a_map_that_is_no_cube_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cube"):
            MapProjector(np.zeros((4, 4, 6), np.float32), PIXEL)


class TestReconstruction:
    def test_true_poses_give_the_map_back_with_its_greys(self) -> None:
        data = simulate(500, BOX, noise=0.5)
        posed = replace(data.particles, rotation=data.rotation, shift=data.shift)
        found = reconstruct_with_poses(posed, data, ReconstructParticlesOptions(diameter=100))
        assert mean_fsc(found.volume, volume()) > 0.97
        assert slope(found.halves.mean(0)) == pytest.approx(1, abs=0.05)

    def test_shifts_and_rotations_matter(self) -> None:
        data = simulate(300, BOX, noise=0.5)
        right = replace(data.particles, rotation=data.rotation, shift=data.shift)
        mirrored = replace(right, shift=-data.shift)
        options = ReconstructParticlesOptions(diameter=100)
        good, bad = (mean_fsc(reconstruct_with_poses(one, data, options).volume, volume()) for one in (right, mirrored))
        assert bad < good - 0.1

    def test_half_sets_are_kept_and_the_rest_is_divided(self) -> None:
        data = simulate(40, BOX)
        half = np.array([1, 2] * 10 + [0] * 20)
        found = half_sets(replace(data.particles, half=half), np.random.default_rng(0))
        np.testing.assert_array_equal(found[:20], half[:20])
        assert set(found[20:]) == {1, 2}
        one, other = (half_sets(data.particles, np.random.default_rng(5)) for _ in range(2))
        np.testing.assert_array_equal(one, other)

    def test_images_of_another_box_have_the_maps_greys(self) -> None:
        data = simulate(500, 48, noise=0.5)
        extent, everyone = BOX * PIXEL, np.zeros(500, np.int64)
        posed = replace(data.particles, rotation=data.rotation, shift=data.shift)
        model = first_noise(posed, data, extent, BOX // 2, 100)
        known = KnownPoses(posed, data, Poses.start(posed), model, extent, BOX // 2, 100)
        made = known.sum(everyone)[0].of_class(0, np.eye(3)[None]).reconstruct(BOX).numpy()
        assert slope(made) == pytest.approx(1, abs=0.02)

    def test_boxes_may_be_mixed(self) -> None:
        data = Mixed((simulate(301, BOX, noise=0.5), simulate(300, 48, noise=0.5, seed=1)))
        found = reconstruct_with_poses(data.particles, data, ReconstructParticlesOptions(diameter=100))
        assert found.volume.shape == (BOX,) * 3
        assert slope(found.halves.mean(0)) == pytest.approx(1, abs=0.02)

    def test_noise_alone_gives_halves_without_a_resolution(self) -> None:
        data = simulate(200, BOX, signal=0.0)
        posed = replace(data.particles, rotation=data.rotation, shift=data.shift)
        found = reconstruct_with_poses(posed, data, ReconstructParticlesOptions())
        assert not np.isfinite(found.resolution) or found.resolution > 40


class TestClasses:
    def test_classes_at_poses_that_are_kept(self) -> None:
        data, kind = simulate_mixture([phantom(3), phantom(8)], 240, noise=2.0)
        posed = replace(data.particles, rotation=data.rotation, shift=data.shift)
        options = Classify3dOptions(classes=2, diameter=100, align=False, iterations=8, initial_lowpass=30)
        run = Classify3d(posed, data, PIXEL, options, seed=2)
        state = run.start(((volume(3) + volume(8)) / 2)[None])
        for _ in range(options.iterations):
            state = run.iterate(state)
        same = (state.poses.classes == kind).mean()
        assert max(same, 1 - same) > 0.95
        np.testing.assert_array_equal(state.poses.rotation, data.rotation)
        np.testing.assert_array_equal(state.poses.shift, data.shift)
        order = [0, 1] if same > 0.5 else [1, 0]
        for k, seed in zip(order, (3, 8), strict=True):
            assert mean_fsc(state.references[k], volume(seed)) > 0.8

    def test_the_first_iteration_gives_like_classes_particles_at_random(self) -> None:
        data = simulate(120, BOX, noise=1.0)
        options = Classify3dOptions(classes=3, diameter=100, level=2, offset_range=2)
        run = Classify3d(data.particles, data, PIXEL, options, seed=4)
        state = run.iterate(run.start(volume()[None]))
        np.testing.assert_array_equal(np.bincount(state.poses.classes), [40, 40, 40])
        assert not np.array_equal(state.references[0], state.references[1])
        assert all(mean_fsc(one, other) > 0.2 for one, other in zip(state.references, [volume()] * 3, strict=True))

    def test_two_references_find_their_own(self) -> None:
        data, kind = simulate_mixture([phantom(3), phantom(8)], 80, noise=1.0)
        options = Classify3dOptions(diameter=100, level=3, offset_range=2, initial_lowpass=20)
        run = Classify3d(data.particles, data, PIXEL, options, seed=4)
        state = run.start(np.stack([volume(3), volume(8)]))
        for _ in range(3):
            state = run.iterate(state)
        assert (state.poses.classes == kind).mean() > 0.95

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"symmetry": "X7"}, "no such point group"),
            ({"relax_symmetry": "X7", "local_sigma": 5.0}, "no such point group"),
            ({"relax_symmetry": "D2"}, "local_sigma"),
            ({"local_sigma": 5.0, "align": False}, "leave align on"),
            ({"local_sigma": 0.5, "level": 4}, "raise level"),
            ({"local_sigma": 31.0}, "30"),
        ],
    )
    def test_options_that_cannot_work_are_refused(self, given: dict[str, object], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            Classify3dOptions.model_validate(given)

    def test_options_that_can_work_are_not(self) -> None:
        found = Classify3dOptions(local_sigma=1.0, level=4, relax_symmetry="D2", symmetry="c1")
        assert found.relax_symmetry == "D2"

    def test_some_shells_take_part_whatever_the_resolution(self) -> None:
        data = simulate(40, BOX)
        posed = replace(data.particles, rotation=data.rotation, shift=data.shift)
        options = Classify3dOptions(classes=1, diameter=100, align=False, max_resolution=80)
        run = Classify3d(posed, data, PIXEL, options)
        assert run.iterate(run.start(volume()[None])).shells == 8

    def test_nothing_to_keep_is_refused(self) -> None:
        data = simulate(4, BOX)
        with pytest.raises(ValueError, match="poses"):
            Classify3d(data.particles, data, PIXEL, Classify3dOptions(align=False))
