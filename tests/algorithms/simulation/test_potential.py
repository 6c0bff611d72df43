"""Projections against the sum over atoms, written out in double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.simulation.conftest import PIXEL_SIZE
from thon.algorithms.simulation.potential import Projector, Scatterers, scatterers_from_atoms, scatterers_from_map
from thon.algorithms.simulation.specimen import random_rotations
from thon.data.atoms import AtomicModel
from thon.ops.scattering import phase_per_scattering, solvated_scattering


def projected(
    model: AtomicModel, centre: np.ndarray, rotation: np.ndarray, shift: np.ndarray, side: int, pixel_size: float
) -> np.ndarray:
    """Phase behind the atoms, frequency by frequency and atom by atom."""
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = torch.from_numpy(np.hypot(rows, columns) / pixel_size)
    total = np.zeros(frequency.shape, np.complex128)
    factors: dict[tuple[str, float, float], np.ndarray] = {}
    places = (model.position - centre) @ rotation.T
    for k, (_, y, x) in enumerate(places):
        kind = model.element[k], float(model.bfactor[k]), float(model.hydrogens[k])
        if kind not in factors:
            factors[kind] = solvated_scattering(kind[0], frequency, bfactor=kind[1], hydrogens=kind[2]).numpy()
        row, column = y / pixel_size + side // 2 + shift[0], x / pixel_size + side // 2 + shift[1]
        wave = np.exp(-2j * np.pi * rows * row) * np.exp(-2j * np.pi * columns * column)
        total += model.occupancy[k] * factors[kind] * wave
    total[side // 2], total[:, -1] = 0, 0
    return np.fft.irfft2(total, s=(side, side)) * phase_per_scattering(300.0) / pixel_size**2


def test_a_projection_is_the_sum_over_atoms(model: AtomicModel, scatterers: Scatterers) -> None:
    projector = Projector(scatterers, PIXEL_SIZE, 300.0)
    rotation, shift = random_rotations(1, np.random.default_rng(2))[0], np.array([0.3, -1.6])
    seen = projector(rotation, shift).numpy()
    expected = projected(model, scatterers.centre, rotation, shift, projector.side, PIXEL_SIZE)
    assert expected.std() > 0.005
    assert np.abs(seen - expected).max() < 0.01 * np.abs(expected).max()
    assert np.sqrt(((seen - expected) ** 2).mean()) < 0.006 * expected.std()


def test_one_bfactor_for_all_takes_the_place_of_the_atoms_own(model: AtomicModel) -> None:
    carbon = replace(model, element=("C",) * len(model), hydrogens=np.zeros(len(model)))
    sharp, blunt = (
        Projector(scatterers_from_atoms(carbon, PIXEL_SIZE, bfactor=b), PIXEL_SIZE, 300.0) for b in (0.0, 200.0)
    )
    seen = [torch.fft.rfft2(projector(np.eye(3), np.zeros(2)))[3, 2:12] for projector in (blunt, sharp)]
    frequency = np.hypot(3, np.arange(2, 12)) / (PIXEL_SIZE * blunt.side)
    factors = [solvated_scattering("C", torch.from_numpy(frequency), bfactor=b) for b in (200.0, 0.0)]
    torch.testing.assert_close((seen[0] / seen[1]).real, (factors[0] / factors[1]).float(), atol=0.01, rtol=0)


def test_a_map_of_a_molecule_projects_like_the_molecule() -> None:
    # Gaussian balls, wide enough for the map's voxels; their projections are known.
    side, voxel, sigma = 36, 3.0, 6.0
    balls = np.array([[-10.0, 4.0, 12.0], [8.0, -15.0, 3.0], [5.0, 14.0, -9.0]])
    z, y, x = ((np.arange(side) - side // 2) * voxel for _ in range(3))
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"), -1)
    density = sum(np.exp(-((grid - ball) ** 2).sum(-1) / (2 * sigma**2)) for ball in balls)
    found = scatterers_from_map(density.astype(np.float32), voxel, 2.0, contour=0.001)
    np.testing.assert_allclose(found.centre, balls.mean(0) + side // 2 * voxel, atol=0.1)
    rotation = random_rotations(1, np.random.default_rng(8))[0]
    projector = Projector(found, 2.0, 300.0)
    seen = projector(rotation, np.array([0.5, 0.0])).numpy()
    rows, columns = np.mgrid[: projector.side, : projector.side].astype(float)
    expected = np.zeros(seen.shape)
    for _, row, column in (balls - balls.mean(0)) @ rotation.T / 2.0 + projector.side // 2:
        expected += np.exp(-((rows - row - 0.5) ** 2 + (columns - column) ** 2) * 4 / (2 * sigma**2))
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.9995
    assert seen.max() > 0.05


def test_an_empty_map_and_an_unknown_element_are_refused(model: AtomicModel) -> None:
    with pytest.raises(ValueError, match="no voxel"):
        scatterers_from_map(np.zeros((4, 5, 6), np.float32), 3.0, 2.0)
    strange = AtomicModel("x", ("XX",), np.zeros((1, 3)), np.zeros(1), np.ones(1), np.zeros(1))
    with pytest.raises(ValueError, match="XX"):
        scatterers_from_atoms(strange, 2.0)
