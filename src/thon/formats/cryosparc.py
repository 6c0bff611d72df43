"""cryoSPARC's particles: .cs files, which are NumPy's structured arrays, and the .csg files that list several of them.

What they mean, and how that is known:

- Defoci in Å, `df_angle_rad` the direction of the first as RELION has it: compared with a star file of the same
  particles.
- `alignments3D/pose`, a rotation vector whose matrix takes image to reference coordinates (x, y, z), so that its
  transpose is RELION's; `alignments2D/pose`, RELION's psi in radians; `shift`, RELION's origin (x, y) in pixels of
  `psize_A`: as converters have it, seen here only to survive a round trip.
- `location/center_x_frac` and `center_y_frac`, fractions of the micrograph's width and height from the file's first
  pixel: the same. Micrographs that another program corrected may have their rows the other way round.
- `blob/sign` −1, for images in which matter is dark: of real files whose stacks are as they were extracted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import scipy
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.optics import Optics
from thon.data.particles import ParticleCtf, ParticleOptics, Particles
from thon.formats.cryosparc_table import Table, load_table
from thon.formats.ctf_values import order_defocus
from thon.formats.particle_stacks import no_stack_headers, read_stack_headers
from thon.formats.relion_particles import ReadParticles
from thon.formats.relion_table import find_named
from thon.formats.text import PathLike

CRYOSPARC_SUFFIXES = (".cs", ".csg")

UID_LABEL = "csUid"
"""Column that carries cryoSPARC's number of each particle, by which it finds it again."""

_MISSING = -1.0
_GROUP = {
    "blob/psize_A": _MISSING,
    "blob/sign": 1.0,
    "location/micrograph_psize_A": _MISSING,
    "ctf/exp_group_id": 0.0,
    "ctf/accel_kv": _MISSING,
    "ctf/cs_mm": _MISSING,
    "ctf/amp_contrast": _MISSING,
}
"""Fields that are the same in an exposure group, with what stands for one that is not there."""
_NEEDED = ("blob/path", "blob/idx", "blob/shape", "blob/psize_A")
_LEFT_OUT = {
    "ctf/tilt_A": "beam tilt",
    "ctf/trefoil_A": "trefoil",
    "ctf/tetra_A": "tetrafoil",
    "ctf/anisomag": "anisotropic magnification",
}
_NAME = re.compile(r"exposureGroup(\d+)")


@dataclass(frozen=True)
class CryosparcParticles:
    """Particles with cryoSPARC's table about them.

    Args:
        particles: In the file's order.
        table: The table as it stands in the file.
        notes: Sentences about what was left out.
    """

    particles: Particles
    table: Table
    notes: tuple[str, ...] = ()


def read_cryosparc(path: PathLike, **how: Unpack[ReadParticles]) -> CryosparcParticles:
    """Read a .cs file of particles, or all .cs files that a .csg file lists for the same particles.

    Stacks are looked for beside the file and from each folder above it.

    Args:
        path: The file.
        how: As for RELION's stars; a pixel size is never needed.

    Raises:
        InputError: There is no such file, a stack is missing, or there is no CTF.
        FormatError: It is no such file, holds no particles, or contradicts its stacks.
    """
    path = Path(path)
    table = load_table(path)
    missing = [name for name in _NEEDED if name not in _names(table)]
    if not len(table) or missing:
        raise FormatError("holds no particles", path=path, expected=f"fields {', '.join(missing or _NEEDED)}")
    if how.get("need_ctf", True) and "ctf/df1_A" not in _names(table):
        raise InputError("the particles have no CTF", path=path, expected="fields such as ctf/df1_A")
    need_images = how.get("need_images", True)
    files, file = _files(path, table, need_images)
    optics, group = _optics(table)
    micrographs, micrograph, coordinates = _locations(path, table)
    class_number = _class_number(table)
    particles = Particles(
        optics=optics,
        group=group,
        files=files,
        file=file,
        section=table["blob/idx"].astype(np.int64),
        micrographs=micrographs,
        micrograph=micrograph,
        coordinates=coordinates,
        ctf=_ctf(table),
        **_poses(table),
        class_number=class_number,
        half=_halves(table),
        score=_field(table, "pick_stats/ncc_score"),
        columns={UID_LABEL: tuple(map(str, table["uid"].tolist()))} if "uid" in _names(table) else {},
    )
    headers = read_stack_headers(files) if need_images else no_stack_headers(len(files))
    headers.check(particles, path, check_pixel_size=how.get("check_pixel_size", True))
    left = [name for field, name in _LEFT_OUT.items() if field in _names(table) and table[field].any()]
    notes = (f"Left out, as cryoSPARC's units of it are not known: {', '.join(left)}.",) if left else ()
    return CryosparcParticles(particles, table, notes)


def exposure_group(name: str) -> int | None:
    """cryoSPARC's number of the exposure group that an optics group was named after here."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def _names(table: Table) -> tuple[str, ...]:
    return table.dtype.names or ()


def _field(table: Table, name: str, default: float | None = None) -> np.ndarray | None:
    """A field as numbers; where it is missing the default, or None."""
    if name in _names(table):
        return table[name].astype(np.float64)
    return None if default is None else np.full(len(table), default)


def _texts(table: Table, name: str) -> list[str]:
    """A field of names, which cryoSPARC keeps as bytes; `>` marks a place beside the file."""
    return [value.decode() if isinstance(value, bytes) else value for value in table[name].tolist()]


def _files(path: Path, table: Table, need: bool) -> tuple[tuple[str, ...], Int[np.ndarray, "n"]]:
    texts = [text.removeprefix(">") for text in _texts(table, "blob/path")]
    places = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    return tuple(_find(path, text, need) for text in places), np.array([places[text] for text in texts], np.int64)


def _find(path: Path, name: str, need: bool) -> str:
    try:
        return str(find_named(path, name))
    except InputError:
        if need:
            mend = "run from cryoSPARC's project folder"
            raise InputError("a stack of particles is not there", path=path, got=name, mend=mend) from None
        return name


def _optics(table: Table) -> tuple[tuple[ParticleOptics, ...], Int[np.ndarray, "n"]]:
    """An optics group for each exposure group, box and microscope."""
    known = [_field(table, name, default) for name, default in _GROUP.items()]
    values = np.column_stack([*(one for one in known if one is not None), table["blob/shape"][:, 0]])
    different, group = np.unique(values, axis=0, return_inverse=True)
    optics = [_optics_group(row) for row in different.tolist()]
    names = [one.name for one in optics]
    for k, name in enumerate(names):
        if name in names[:k]:
            raise InputError("an exposure group has several microscopes, pixel sizes or boxes", got=name)
    return tuple(optics), group.reshape(-1).astype(np.int64)


def _optics_group(row: list[float]) -> ParticleOptics:
    pixel_size, sign, micrograph, number, *microscope, box = row
    name = f"exposureGroup{int(number)}"
    optics = Optics(*map(_known, microscope))
    return ParticleOptics(name, optics, _short(pixel_size), int(box), _known(micrograph), dark=sign < 0)


def _known(value: float) -> float | None:
    return None if value == _MISSING else _short(value)


def _short(value: float) -> float:
    """The decimal number that a float32 stands for."""
    return float(str(np.float32(value)))


def _locations(
    path: Path, table: Table
) -> tuple[tuple[str, ...], Int[np.ndarray, "n"], Float[np.ndarray, "n 2"] | None]:
    """Micrographs, that of each particle, and where it lies there, px."""
    if "location/micrograph_path" not in _names(table):
        return (), np.full(len(table), -1), None
    texts = [text.removeprefix(">") for text in _texts(table, "location/micrograph_path")]
    places = {text: k for k, text in enumerate(dict.fromkeys(texts))}
    fractions = np.column_stack([table["location/center_y_frac"], table["location/center_x_frac"]])
    micrograph = np.array([places[text] for text in texts], np.int64)
    shape = table["location/micrograph_shape"].astype(np.float64)
    return tuple(_find(path, text, False) for text in places), micrograph, fractions.astype(np.float64) * shape


def _ctf(table: Table) -> ParticleCtf | None:
    if "ctf/df1_A" not in _names(table):
        return None
    first, second, angle, phase_shift, b_factor, scale = (
        table[name].astype(np.float64) if name in _names(table) else np.full(len(table), default)
        for name, default in (
            *(("ctf/df1_A", 0.0), ("ctf/df2_A", 0.0), ("ctf/df_angle_rad", 0.0)),
            *(("ctf/phase_shift_rad", 0.0), ("ctf/bfactor", 0.0), ("ctf/scale", 1.0)),
        )
    )
    ordered = order_defocus(first, second, np.rad2deg(angle))
    return ParticleCtf(*ordered, np.rad2deg(phase_shift), b_factor, scale)


def _poses(table: Table) -> dict[str, Any]:
    """Rotations and shifts, those of three dimensions where there are both."""
    slot = next((slot for slot in ("alignments3D", "alignments2D") if f"{slot}/pose" in _names(table)), None)
    if slot is None:
        return {}
    pose = table[f"{slot}/pose"].astype(np.float64)
    vectors = pose if pose.ndim == 2 else np.column_stack([np.zeros((len(pose), 2)), pose])
    # From image to reference: the transpose is the house's; and its axes are (z, y, x).
    matrix = scipy.spatial.transform.Rotation.from_rotvec(vectors).as_matrix().transpose(0, 2, 1)
    size = _field(table, f"{slot}/psize_A")
    spacing = table["blob/psize_A"].astype(np.float64) if size is None else size
    origin = table[f"{slot}/shift"].astype(np.float64) * spacing[:, None]
    return {"rotation": matrix[:, ::-1, ::-1].copy(), "shift": -origin[:, ::-1]}


def _class_number(table: Table) -> Int[np.ndarray, "n"] | None:
    """Classes, which cryoSPARC counts from 0."""
    name = next((name for name in ("alignments2D/class", "alignments3D/class") if name in _names(table)), None)
    return None if name is None else table[name].astype(np.int64) + 1


def _halves(table: Table) -> Int[np.ndarray, "n"] | None:
    """Half sets; where all particles are in one, nobody has divided them."""
    for name in ("alignments3D/split", "alignments2D/split"):
        if name in _names(table) and np.isin((0, 1), table[name]).all():
            return table[name].astype(np.int64) + 1
    return None
