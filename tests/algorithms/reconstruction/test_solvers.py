"""The solvers against dense linear algebra, and how the pieces of the weights behave."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from thon.algorithms.reconstruction.admm import Admm, Penalties
from thon.algorithms.reconstruction.blocks import BlockSystem, RayGain, image_edges, overlaps
from thon.algorithms.reconstruction.iterative import Monitor, ordered_subsets, solve_cg, solve_sirt
from thon.algorithms.reconstruction.options import IterationOptions
from thon.algorithms.reconstruction.weights import Rays
from thon.data.geometry import TiltGeometry
from thon.ops import total_variation
from thon.ops.projection import SlabProjector

DEPTH, WIDTH, ROWS = 4, 8, 6


def make_system(x_tilt=0.0, cuts=(ROWS,), tilts=None):
    """A small system in float64, the rays, and images of a random volume with noise."""
    tilts = np.linspace(-80, 80, 17) if tilts is None else tilts
    geometry = TiltGeometry(tilt=tilts, shift=np.zeros((len(tilts), 2)), rotation=0.0, x_tilt=x_tilt)
    projector = SlabProjector.from_geometry(geometry, 10.0, DEPTH, WIDTH, ROWS)
    like = torch.empty(0, dtype=torch.float64)
    rays = Rays.of(projector, like)
    generator = torch.Generator().manual_seed(1)
    volume = torch.rand(DEPTH, WIDTH, ROWS, generator=generator, dtype=torch.float64)
    images = projector.forward(volume)
    images += 0.1 * torch.randn(images.shape, generator=generator, dtype=torch.float64)
    system = BlockSystem(projector, cuts, projector.rows_halo, rays.plain(), like.new_empty, coupled=x_tilt != 0)
    edges = image_edges(cuts, projector.rows_halo)
    return system, rays, [images[..., a:b].clone() for a, b in itertools.pairwise(edges)]


def dense(system: BlockSystem) -> torch.Tensor:
    """The weighted projector as a matrix."""
    unit = torch.eye(DEPTH * WIDTH * ROWS, dtype=torch.float64).reshape(-1, DEPTH, WIDTH, ROWS)
    return torch.stack([system.forward([u], system.new_images())[0].flatten() for u in unit], 1)


@pytest.mark.parametrize("x_tilt", [0.0, 12.0])
@pytest.mark.parametrize("cuts", [(6,), (2, 1, 3)])
def test_forward_and_adjoint_are_transposes(x_tilt, cuts):
    system, _, images = make_system(x_tilt, cuts)
    generator = torch.Generator().manual_seed(3)
    volume = [torch.randn(DEPTH, WIDTH, n, generator=generator, dtype=torch.float64) for n in cuts]
    left = sum((a * b).sum() for a, b in zip(system.forward(volume, system.new_images()), images, strict=True))
    right = sum((system.adjoint(b, images) * v).sum() for b, v in enumerate(volume))
    assert left.item() == pytest.approx(right.item(), rel=1e-12)


def test_each_row_of_the_images_belongs_to_one_block_and_is_met_by_all_that_see_it():
    rows, halo = (2, 1, 3), 2
    assert image_edges(rows, halo) == (0, 4, 5, 10)
    met = [[(i, own.start, own.stop) for i, own, _ in overlaps(rows, halo, b)] for b in range(3)]
    assert met == [
        [(0, 0, 4), (1, 0, 1), (2, 0, 1)],
        [(0, 2, 4), (1, 0, 1), (2, 0, 2)],
        [(0, 3, 4), (1, 0, 1), (2, 0, 5)],
    ]


@pytest.mark.parametrize("x_tilt", [0.0, 12.0])
def test_cg_reaches_the_least_squares_solution(x_tilt):
    system, _, images = make_system(x_tilt)
    exact = torch.linalg.lstsq(dense(system), system.gain.apply(images[0]).flatten(), driver="gelsd").solution
    volume = system.new_volume()
    solve_cg(system, images, volume, options=IterationOptions(number=600), monitor=Monitor())
    assert torch.allclose(volume[0].flatten(), exact, atol=1e-6)


def test_cg_with_a_mask_solves_for_the_rest_alone():
    system, _, images = make_system()
    mask = torch.ones(DEPTH, WIDTH, ROWS, dtype=torch.float64)
    mask[:2, 3:] = 0
    exact = torch.zeros(mask.numel(), dtype=torch.float64)
    kept = mask.flatten() == 1
    exact[kept] = torch.linalg.lstsq(
        dense(system)[:, kept], system.gain.apply(images[0]).flatten(), driver="gelsd"
    ).solution
    volume = system.new_volume()
    solve_cg(system, images, volume, options=IterationOptions(number=600), monitor=Monitor(), mask=[mask])
    assert torch.allclose(volume[0].flatten(), exact, atol=1e-6)


def test_sirt_converges_to_least_squares_weighted_by_ray_length():
    system, rays, images = make_system(tilts=np.linspace(-80, 80, 33))
    weighted = BlockSystem(system.projector, system.rows, 0, rays.by_length(), system.allocate)
    exact = torch.linalg.lstsq(dense(weighted), weighted.gain.apply(images[0]).flatten(), driver="gelsd").solution
    volume, monitor = weighted.new_volume(), Monitor()
    options = IterationOptions(number=1000, relaxation=1.9)
    every = [torch.arange(33)]
    solve_sirt(weighted, rays, images, volume, subsets=every, options=options, monitor=monitor)
    assert torch.linalg.norm(volume[0].flatten() - exact) < 0.1 * torch.linalg.norm(exact)
    best = weighted.gain.apply(images[0]).flatten() - dense(weighted) @ exact
    least = float(torch.linalg.norm(best)) / weighted.power(images) ** 0.5
    assert monitor.residuals[-1] == pytest.approx(least, rel=0.02)
    assert (np.diff(monitor.residuals) <= 1e-12).all()


def test_admm_without_regularisation_is_cg():
    system, _, images = make_system()
    reference, volume = system.new_volume(), system.new_volume()
    solve_cg(system, images, reference, options=IterationOptions(number=600), monitor=Monitor())
    Admm(system, images, volume, Penalties(0, 0, False, 1.0)).solve(100, 20, Monitor())
    assert torch.allclose(volume[0], reference[0], atol=1e-5)


@pytest.mark.parametrize(("variation", "sparsity"), [(1e-5, 0.0), (0.0, 1e-5)])
def test_admm_converges_to_cg_as_the_penalty_vanishes(variation, sparsity):
    system, _, images = make_system()
    reference, volume = system.new_volume(), system.new_volume()
    solve_cg(system, images, reference, options=IterationOptions(number=600), monitor=Monitor())
    Admm(system, images, volume, Penalties(variation, sparsity, False, 1e-3)).solve(60, 20, Monitor())
    assert torch.linalg.norm(volume[0] - reference[0]) < 0.02 * torch.linalg.norm(reference[0])


def test_admm_finds_the_minimum_of_its_objective():
    system, _, images = make_system(x_tilt=8.0, cuts=(2, 4))
    whole, _, joined = make_system(x_tilt=8.0)
    matrix, data = dense(whole), whole.gain.apply(joined[0]).flatten()

    def objective(x: torch.Tensor) -> torch.Tensor:
        fit = (matrix @ x.flatten() - data).square().sum() / (2 * system.tilts)
        return fit + 0.05 * total_variation.total_variation(x) + 0.03 * x.abs().sum()

    volume = system.new_volume()
    Admm(system, images, volume, Penalties(0.05, 0.03, True, 0.5)).solve(150, 8, Monitor())
    found = torch.cat(volume, -1)
    assert found.min() >= 0
    best = objective(found)
    generator = torch.Generator().manual_seed(8)
    for size in (0.1, 0.01, 0.001):
        for _ in range(20):
            nudge = torch.randn(found.shape, generator=generator, dtype=torch.float64)
            assert objective((found + size * nudge).clamp(min=0)) > best - 1e-6
    assert objective(torch.zeros_like(found)) > best
    # Down any descent direction there is nothing to gain either.
    smooth = found.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(objective(smooth + 1e-9), smooth)
    for size in (1e-2, 1e-3, 1e-4):
        assert objective((found - size * slope).clamp(min=0)) > best - 1e-4


def test_penalties_shrink_towards_their_constraints():
    values = torch.tensor([-3.0, -0.5, 0.2, 2.0])
    assert Penalties(0, 1.0, False, 1.0).settle(values).tolist() == [-2, 0, 0, 1]
    assert Penalties(0, 1.0, True, 2.0).settle(values).tolist() == [0, 0, 0, 1.5]
    assert Penalties(0, 0.0, True, 2.0).settle(values).tolist() == pytest.approx([0, 0, 0.2, 2.0])


def test_subsets_are_disjoint_and_far_apart_in_angle():
    tilt = torch.arange(-60.0, 61, 3)
    single = ordered_subsets(tilt, 1)
    assert sorted(int(s) for s in single) == list(range(41))
    steps = torch.stack([tilt[s[0]] for s in single]).diff().abs()
    assert torch.minimum(steps, 180 - steps).min() > 40
    groups = ordered_subsets(tilt, 6)
    assert sorted(i for g in groups for i in g.tolist()) == list(range(41))
    assert all(len(g) in (5, 6) for g in groups)
    assert all(tilt[g].max() - tilt[g].min() > 80 for g in groups)


def test_rays_through_a_side_are_incomplete():
    _, rays, _ = make_system(tilts=np.array([-60.0, 0.0, 60.0]))
    assert torch.allclose(rays.across[1], torch.ones(WIDTH, 1, dtype=torch.float64))
    assert torch.allclose(rays.length[1], torch.full((WIDTH, 1), float(DEPTH), dtype=torch.float64))
    assert rays.across[0, 0] < 0.6
    assert rays.across[0, WIDTH // 2] > 0.7
    assert (rays.along == 1).all()
    _, tilted, _ = make_system(x_tilt=30.0)
    assert (tilted.along[:, 0, 0] < 0.5).all()
    assert tilted.along.max() == 1


def test_gain_of_rows():
    gain = RayGain(torch.rand(2, 3, 1), torch.rand(2, 1, 5))
    images = torch.rand(2, 3, 2)
    assert torch.allclose(gain.rows(1, 3).apply(images), images * gain.across * gain.along[..., 1:3])
