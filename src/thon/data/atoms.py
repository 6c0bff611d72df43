"""An atomic model, as much of it as scatters electrons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError


@dataclass(frozen=True)
class AtomicModel:
    """Atoms of one molecule or complex.

    Args:
        name: Name of the entry.
        element: Symbol of each atom's element, such as "C" or "MG".
        position: (z, y, x) of each atom, Å.
        bfactor: Isotropic displacement of each atom, Å².
        occupancy: Share of the molecules that have the atom there, 0 to 1.
        hydrogens: Hydrogen atoms that each atom carries and the model does not list.
    """

    name: str
    element: tuple[str, ...]
    position: Float[np.ndarray, "atoms 3"]
    bfactor: Float[np.ndarray, "atoms"]
    occupancy: Float[np.ndarray, "atoms"]
    hydrogens: Float[np.ndarray, "atoms"]

    def __post_init__(self) -> None:
        counts = {len(getattr(self, name)) for name in ("element", "position", "bfactor", "occupancy", "hydrogens")}
        if len(counts) != 1 or not len(self.element):
            raise InputError("a model needs the same number of everything about its atoms, and one or more", got=counts)

    def __len__(self) -> int:
        return len(self.element)
