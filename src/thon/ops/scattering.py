"""How atoms scatter electrons, and what that does to the phase of the wave.

Scattering factors are five Gaussians in s = k / 2: f(k) = Σ aᵢ exp(−bᵢ k² / 4), in Å, of isolated neutral atoms.

Source: Peng, Ren, Dudarev & Whelan 1996, as in International Tables C, table 4.3.2.2; volumes of atoms in solution of
Fraser, MacRae & Suzuki 1978.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import gemmi
import torch
from jaxtyping import Float

from thon.ops.ctf import electron_wavelength

WATER_DENSITY = 0.0314
"""Molecules of vitreous ice in 1 Å³ (0.94 g/cm³)."""

DISPLACED = {"H": 5.15, "C": 16.44, "N": 2.49, "O": 9.13, "P": 5.73, "S": 19.86}
"""Water that an atom takes the place of, Å³."""

_OTHER_DISPLACED = 10.0
_LAST_ELEMENT = 98
_REST_ENERGY = 510.99895
_BOND_BLUR = 26.0


def electron_scattering(element: str, frequency: Float[torch.Tensor, "*grid"]) -> Float[torch.Tensor, "*grid"]:
    """Scattering factor of an element at spatial frequencies k in 1/Å; Å.

    Raises:
        ValueError: There is no such element in the table.
    """
    if not _is_known(element):
        raise ValueError(f"no electron scattering factors are known for {element}")
    numbers = gemmi.Element(element).c4322.get_coefs()
    k2 = frequency.square() / 4
    terms = [a * torch.exp(-b * k2) for a, b in zip(numbers[:5], numbers[5:], strict=True)]
    return torch.stack(terms).sum(0)


def water_scattering(frequency: Float[torch.Tensor, "*grid"]) -> Float[torch.Tensor, "*grid"]:
    """Scattering factor of one water molecule in any orientation, its three atoms taken as one; Å."""
    return electron_scattering("O", frequency) + 2 * electron_scattering("H", frequency)


def solvated_scattering(
    element: str, frequency: Float[torch.Tensor, "*grid"], *, bfactor: float = 0.0, hydrogens: float = 0.0
) -> Float[torch.Tensor, "*grid"]:
    """Scattering of an atom in ice, less that of the ice that it displaces; Å.

    Args:
        element: Symbol of the element.
        frequency: Spatial frequency, 1/Å.
        bfactor: Isotropic displacement, Å².
        hydrogens: Hydrogen atoms that it carries, about 1 Å away.
    """
    k2 = frequency.square()
    carried = electron_scattering("H", frequency) * torch.exp(-_BOND_BLUR * k2 / 4)
    atom = electron_scattering(element, frequency) + hydrogens * carried
    ice = 0 * k2
    for symbol, count in ((element, 1.0), ("H", hydrogens)):
        volume = DISPLACED.get(symbol, _OTHER_DISPLACED)
        ice = ice + count * volume * torch.exp(-math.pi * volume ** (2 / 3) * k2)
    density = WATER_DENSITY * float(water_scattering(torch.zeros(1, dtype=torch.float64)))
    return atom * torch.exp(-bfactor * k2 / 4) - density * ice


def phase_per_scattering(voltage: float) -> float:
    """Phase shift, rad, of electrons of `voltage` kV per Å of scattering factor and Å² of area: λ · m / m₀.

    It is the interaction constant σ = 2π m e λ / h² times h² / (2π m₀ e), which turns Å of scattering into V Å³.
    """
    return electron_wavelength(voltage) * (1 + voltage / _REST_ENERGY)


def unknown_elements(elements: Sequence[str]) -> list[str]:
    """Elements, sorted and once each, that have no scattering factors."""
    return sorted({element for element in elements if not _is_known(element)})


def _is_known(symbol: str) -> bool:
    # gemmi takes what it does not know for oxygen.
    return 0 < gemmi.Element(symbol).atomic_number <= _LAST_ELEMENT
