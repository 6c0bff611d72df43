"""What records have for each particle, pick or tilt, as columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from thon.data.maps import Picks
from thon.data.particles import ParticleCtf, Particles
from thon.data.tilt_series import TiltSeries
from thon.web.faults import AbsentError


def record_columns(record: Any) -> dict[str, np.ndarray]:
    """The columns of a record.

    Raises:
        AbsentError: It has nothing of that kind.
    """
    if isinstance(record, Particles):
        return _particle_columns(record)
    if isinstance(record, Picks):
        return _pick_columns(record)
    if isinstance(record, TiltSeries):
        return tilt_columns(record)
    raise AbsentError("this record has no table", got=type(record).__name__)


def as_column(values: Sequence[Any]) -> np.ndarray:
    """Numbers where all values are numbers, or empty; else texts."""
    if all(isinstance(value, bool) for value in values):
        return np.array([str(value).lower() for value in values])
    try:
        numbers = np.array([np.nan if value in ("", None) else value for value in values], np.float64)
    except (TypeError, ValueError):
        return np.array([value if isinstance(value, str) else json.dumps(value) for value in values])
    return numbers if not np.isnan(numbers).all() else np.array([str(value or "") for value in values])


def _pick_columns(picks: Picks) -> dict[str, np.ndarray]:
    y, x = picks.coordinates.T
    known = {"y": y, "x": x, "score": picks.score, "diameter": picks.diameter, "psi": picks.psi}
    return {"number": np.arange(1, len(picks) + 1), **known, "class_number": picks.class_number}


def _particle_columns(particles: Particles) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {"number": np.arange(1, len(particles) + 1)}
    if particles.micrographs:
        names = np.array([*(Path(name).stem for name in particles.micrographs), ""])
        found["micrograph"] = names[particles.micrograph]
    if particles.coordinates is not None:
        found |= {"y": particles.coordinates[:, 0], "x": particles.coordinates[:, 1]}
    if particles.ctf is not None:
        found |= {entry.name: getattr(particles.ctf, entry.name) for entry in fields(ParticleCtf)}
    if particles.rotation is not None:
        z, y, x = particles.rotation[:, 0].T
        found |= {"azimuth": np.degrees(np.arctan2(y, x)), "elevation": np.degrees(np.arcsin(np.clip(z, -1, 1)))}
    if particles.shift is not None:
        found |= {"shift_y": particles.shift[:, 0], "shift_x": particles.shift[:, 1]}
    plain = ("class_number", "half", "score", "probability", "likelihood", "significant", "norm")
    found |= {name: getattr(particles, name) for name in plain if getattr(particles, name) is not None}
    if len(particles.optics) > 1:
        found["optics"] = np.array([one.name for one in particles.optics])[particles.group]
    return found | {label: as_column(values) for label, values in particles.columns.items()}


def tilt_columns(series: TiltSeries) -> dict[str, np.ndarray]:
    """Of a tilt series, a row for each image."""
    geometry = series.geometry
    found: dict[str, np.ndarray] = {
        "number": np.arange(1, len(series) + 1),
        "tilt": geometry.tilt,
        "order": series.order,
        "prior_exposure": series.prior_exposure,
        "shift_y": geometry.shift[:, 0],
        "shift_x": geometry.shift[:, 1],
        "axis": geometry.rotation,
        "x_tilt": geometry.x_tilt,
        "magnification": geometry.magnification,
    }
    if series.ctf is not None:
        names = ("defocus_u", "defocus_v", "angle", "score", "resolution")
        found |= {name if name != "angle" else "astigmatism_angle": getattr(series.ctf, name) for name in names}
    return found | {"excluded": np.array([series.excluded.get(k, "") for k in range(len(series))])}
