"""A small molecule without symmetry, and ways to measure what a movie shows."""

from __future__ import annotations

import numpy as np
import pytest

from thon.algorithms.simulation.potential import Scatterers, scatterers_from_atoms
from thon.data.atoms import AtomicModel

PIXEL_SIZE = 1.5


def random_model(atoms: int = 600, radius: float = 25.0) -> AtomicModel:
    """Atoms of a lopsided ball."""
    random = np.random.default_rng(5)
    place = random.normal(size=(atoms, 3))
    place *= (radius * random.random(atoms) ** (1 / 3) / np.linalg.norm(place, axis=1))[:, None]
    place[:, 1] *= 0.6
    place[place[:, 2] > 8, 0] *= 0.5
    element = tuple(random.choice(["C", "N", "O", "S"], atoms, p=[0.6, 0.18, 0.2, 0.02]).tolist())
    return AtomicModel(
        "ball",
        element,
        place,
        random.choice([5.0, 20.0, 60.0], atoms),
        random.uniform(0.5, 1, atoms),
        np.full(atoms, 1.0),
    )


@pytest.fixture(scope="session")
def model() -> AtomicModel:
    return random_model()


@pytest.fixture(scope="session")
def scatterers(model: AtomicModel) -> Scatterers:
    return scatterers_from_atoms(model, PIXEL_SIZE)
