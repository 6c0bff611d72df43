"""Local displacements at scattered points, as AreTomo and Warp give them, fitted by the house's `LocalField`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.geometry import LocalField, spline_basis

# Weight of the spline's slope between neighbouring coefficients, against one per measured point. It only decides what
# the points leave open, for example beyond them, where the field then stays level.
_LEVEL = 1e-5


def fit_local_field(
    plane: Sequence[Float[np.ndarray, "_ 2"]],
    displacement: Sequence[Float[np.ndarray, "_ 2"]],
    *,
    nodes: tuple[int, int],
    extent: tuple[float, float],
) -> LocalField:
    """Least-squares spline through displacements at scattered points, tilt by tilt.

    Args:
        plane: Per tilt, (v, u) of the points, Å; there may be none.
        displacement: Per tilt, displacement (y, x) of each point, Å.
        nodes: Number of coefficients along v and u, at least 4.
        extent: Largest |v| and |u| that the field shall resolve, Å.

    Returns:
        The field; zero in tilts without points.

    Raises:
        InputError: If points and displacements do not match.
    """
    spacing = (2 * extent[0] / (nodes[0] - 3), 2 * extent[1] / (nodes[1] - 3))
    level = _slopes(nodes)
    coefficients = np.zeros((len(plane), *nodes, 2))
    for k, (points, moved) in enumerate(zip(plane, displacement, strict=True)):
        if len(points) != len(moved):
            raise InputError(f"points and displacements of tilt {k} differ", got=len(moved), expected=len(points))
        if len(points):
            v, u = (spline_basis(points[:, i] / spacing[i] + (nodes[i] - 1) / 2, nodes[i]) for i in (0, 1))
            design = np.einsum("pr,pc->prc", v, u).reshape(len(points), -1)
            normal = design.T @ design + _LEVEL * level
            coefficients[k] = np.linalg.solve(normal, design.T @ moved).reshape(*nodes, 2)
    return LocalField(coefficients, spacing)


def _slopes(nodes: tuple[int, int]) -> Float[np.ndarray, "all all"]:
    """Quadratic form that is the sum of squared differences between neighbouring coefficients."""
    index = np.arange(nodes[0] * nodes[1]).reshape(nodes)
    form = np.zeros((index.size, index.size))
    for first, second in ((index[1:], index[:-1]), (index[:, 1:], index[:, :-1])):
        a, b = first.ravel(), second.ravel()
        np.add.at(form, (a, a), 1)
        np.add.at(form, (b, b), 1)
        np.add.at(form, (a, b), -1)
        np.add.at(form, (b, a), -1)
    return form
