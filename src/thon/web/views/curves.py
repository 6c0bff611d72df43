"""Resolution curves, Guinier plots, viewing directions, and how a result came about iteration by iteration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from fastapi import APIRouter
from jaxtyping import Float

from thon.data.maps import HalfMaps, SharpenedMap
from thon.data.particles import Particles
from thon.job.folder import JobFolder
from thon.job.iterations import ITERATIONS
from thon.web.faults import AbsentError
from thon.web.views.records import ITEM, FoundItem, plain

router = APIRouter()

STATE = "state.npz"
ROWS = 36
"""Rows of cells over the sphere at most; there are twice as many columns."""
VIEWS = 10
"""Views that a cell should have on average, or cells are made larger."""


@router.get(f"{ITEM}/fsc")
def fsc(found: FoundItem) -> dict[str, Any]:
    """Correlations of the two halves by shell, and where they fall below 0.5 and 0.143."""
    curves = found.record.curves if isinstance(found.record, HalfMaps) else None
    if curves is None:
        raise AbsentError("there is no Fourier shell correlation", got=type(found.record).__name__)
    named = {name: getattr(curves, name) for name in ("unmasked", "masked", "randomised", "corrected")}
    known = {name: values for name, values in named.items() if values is not None}
    return plain(
        {
            "frequency": curves.frequency,
            "curves": known,
            "resolution": found.record.resolution,
            "crossings": {
                name: {str(limit): crossing(curves.frequency, values, limit) for limit in (0.5, 0.143)}
                for name, values in known.items()
                if name != "randomised"
            },
        }
    )


def crossing(frequency: Float[np.ndarray, "shells"], values: Float[np.ndarray, "shells"], limit: float) -> float | None:
    """Resolution at which a curve first falls below a limit, Å, interpolated between shells; None if it does not."""
    below = np.flatnonzero((values[1:] < limit) & (frequency[1:] > 0))
    if not len(below):
        return None
    k = int(below[0]) + 1
    high, low = float(values[k - 1]), float(values[k])
    share = (high - limit) / (high - low) if high > limit else 0.0
    at = float(frequency[k - 1] + share * (frequency[k] - frequency[k - 1]))
    return 1 / at if at > 0 else None


@router.get(f"{ITEM}/guinier")
def guinier(found: FoundItem) -> dict[str, Any]:
    """Logarithms of the amplitudes of a sharpened map by squared frequency, and the line that was fitted."""
    record = found.record
    plot = record.guinier if isinstance(record, SharpenedMap) else None
    if plot is None:
        raise AbsentError("there is no Guinier plot", got=type(record).__name__)
    return plain(vars(plot) | {"b_factor": record.b_factor})


@router.get(f"{ITEM}/directions")
def directions(found: FoundItem) -> dict[str, Any]:
    """From where particles were seen: views in cells of equal solid angle over the sphere, relative to even ones.

    Rows of cells go from the south pole up in equal steps of the sine of the elevation, columns from azimuth −180°.
    """
    particles = found.record
    if not isinstance(particles, Particles) or particles.rotation is None:
        raise AbsentError("the particles have no poses", got=type(particles).__name__)
    z, y, x = particles.rotation[:, 0].T
    cells = sphere_cells(z, y, x)
    return plain({"cells": cells, "particles": len(particles), "symmetry": getattr(particles, "symmetry", "C1")}, 4)


def sphere_cells(
    z: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"], x: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "rows columns"]:
    """Unit vectors counted in cells of equal solid angle; 1 is what even ones would give."""
    rows = int(np.clip(np.sqrt(len(z) / VIEWS / 2), 6, ROWS))
    azimuth = np.degrees(np.arctan2(y, x))
    counts, _, _ = np.histogram2d(np.clip(z, -1, 1), azimuth, [rows, 2 * rows], [[-1, 1], [-180, 180]])
    return counts * (counts.size / max(len(z), 1))


@router.get(f"{ITEM}/iterations")
def iterations(found: FoundItem) -> dict[str, Any]:
    """What each iteration was and brought: columns by name; of several numbers each, a list for each iteration."""
    state = last_state(found.folder, found.name)
    if state is None:
        raise AbsentError("no iterations are kept of this", got=found.name)
    rows = iteration_records(state)
    names = [name for name in (rows[0] if rows else {}) if name != "type"]
    return plain({"columns": {name: [_numbers(row.get(name)) for row in rows] for name in names}})


def last_state(folder: JobFolder, item: str) -> Path | None:
    """The state after the last iteration that is kept; None where there is none."""
    running = folder.path / "checkpoints" / item / STATE
    kept = sorted((folder.path / ITERATIONS / item).glob(f"*/{STATE}"))
    return running if running.is_file() else kept[-1] if kept else None


def iteration_records(state: Path) -> list[dict[str, Any]]:
    """The records of iterations in a state, as JSON has them: their classes need not be known here."""
    try:
        with np.load(state) as arrays:
            record = json.loads(arrays["record"].tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise AbsentError("this state cannot be read", path=state) from error
    found = record.get("records", []) if isinstance(record, dict) else []
    return [dict(cast("dict[str, Any]", one)) for one in cast("list[Any]", found) if isinstance(one, dict)]


def _numbers(value: Any) -> Any:
    """A number, or several, as `thon.data.record` writes them; what is not finite is null."""
    if isinstance(value, list):
        return [_numbers(one) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return _numbers(table["array"]) if isinstance(table.get("array"), list) else None
    return value if isinstance(value, int | float) else None
