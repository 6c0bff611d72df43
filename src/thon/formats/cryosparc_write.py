"""cryoSPARC's particles written; `thon.formats.cryosparc` says what the fields mean."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import scipy
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.particles import ParticleCtf, Particles
from thon.formats.cryosparc import UID_LABEL, exposure_group
from thon.formats.cryosparc_table import Table, build_table, write_cs, write_group
from thon.formats.mrc import open_mrc
from thon.formats.relion_table import relative_name
from thon.formats.text import PathLike

_TWO_DIMENSIONS = 1e-6


def write_cryosparc(
    path: PathLike, particles: Particles, *, relative_to: PathLike | None = None, like: Table | None = None
) -> list[str]:
    """Write a .cs file of particles, and beside it the .csg file by which cryoSPARC imports it.

    Args:
        path: File to write.
        particles: What it lists.
        relative_to: Folder from which file names are counted; the file's own unless given.
        like: The table that the particles were read from, row by row, for fields that the house does not know.

    Returns:
        Sentences about what was left out.

    Raises:
        InputError: There are no particles.
    """
    if not len(particles):
        raise InputError("there are no particles to write", path=path)
    path, particles = Path(path), particles.compact()
    project = path.parent if relative_to is None else relative_to
    fields = {"uid": _uids(particles)} | _blob(particles, project) | _ctf(particles)
    locations, notes = _locations(particles, project)
    fields |= locations | _alignments(particles)
    if particles.score is not None:
        fields["pick_stats/ncc_score"] = particles.score.astype(np.float32)
    if like is not None:
        fields = {name: fields.get(name, like[name]) for name in like.dtype.names or ()} | fields
    table = build_table(fields)
    write_cs(path, table)
    write_group(path.with_suffix(".csg"), path.name, table, sorted({name.split("/")[0] for name in fields} - {"uid"}))
    return notes + _optics_left_out(particles)


def _uids(particles: Particles) -> np.ndarray:
    """cryoSPARC's numbers, or else numbers that the images' names yield again and again."""
    if UID_LABEL in particles.columns:
        return np.array([int(text) for text in particles.columns[UID_LABEL]], np.uint64)
    names = (f"{particles.section[k]}@{particles.files[particles.file[k]]}" for k in range(len(particles)))
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(digest, "little") for digest in digests], np.uint64)


def _blob(particles: Particles, project: PathLike) -> dict[str, np.ndarray]:
    names = np.array([relative_name(name, project).encode() for name in particles.files])
    box, size, dark = (np.array([getattr(one, name) for one in particles.optics])[particles.group] for name in _OPTICS)
    return {
        "blob/path": names[particles.file],
        "blob/idx": particles.section.astype(np.uint32),
        "blob/shape": np.stack([box, box], -1).astype(np.uint32),
        "blob/psize_A": size.astype(np.float32),
        "blob/sign": np.where(dark, -1, 1).astype(np.float32),
    }


_OPTICS = ("box", "pixel_size", "dark")


def _ctf(particles: Particles) -> dict[str, np.ndarray]:
    ctf = particles.ctf
    if ctf is None:
        return {}
    numbers = [exposure_group(one.name) for one in particles.optics]
    microscope = [(one.optics.voltage, one.optics.cs, one.optics.amplitude_contrast) for one in particles.optics]
    voltage, cs, contrast = np.array(microscope, np.float32)[particles.group].T
    # Numbers of cryoSPARC's own stay; where some groups have none, all are counted anew, so that none meet.
    named = [k if None in numbers else number for k, number in enumerate(numbers)]
    return {
        "ctf/type": np.full(len(particles), b"imported"),
        "ctf/exp_group_id": np.array(named, np.uint32)[particles.group],
        "ctf/accel_kv": voltage,
        "ctf/cs_mm": cs,
        "ctf/amp_contrast": contrast,
    } | _ctf_values(ctf)


def _ctf_values(ctf: ParticleCtf) -> dict[str, np.ndarray]:
    values = {
        "ctf/df1_A": ctf.defocus_u,
        "ctf/df2_A": ctf.defocus_v,
        "ctf/df_angle_rad": np.deg2rad(ctf.angle),
        "ctf/phase_shift_rad": np.deg2rad(ctf.phase_shift),
        "ctf/scale": ctf.scale,
        "ctf/bfactor": ctf.b_factor,
    }
    return {name: numbers.astype(np.float32) for name, numbers in values.items()}


def _locations(particles: Particles, project: PathLike) -> tuple[dict[str, np.ndarray], list[str]]:
    """Places as fractions of the micrographs, whose size only their files tell."""
    if particles.coordinates is None or (particles.micrograph < 0).any():
        return {}, []
    try:
        shapes = np.array([_shape(name) for name in particles.micrographs], np.float64)
    except InputError as error:
        return {}, [f"Places in the micrographs are left out: {error.path} cannot be read."]
    names = np.array([relative_name(name, project).encode() for name in particles.micrographs])
    shape = shapes[particles.micrograph]
    y, x = (particles.coordinates / shape).T.astype(np.float32)
    sizes = np.array([one.micrograph_pixel_size or np.nan for one in particles.optics], np.float32)
    known = {} if np.isnan(sizes).any() else {"location/micrograph_psize_A": sizes[particles.group]}
    return known | {
        "location/micrograph_path": names[particles.micrograph],
        "location/micrograph_shape": shape.astype(np.uint32),
        "location/center_x_frac": x,
        "location/center_y_frac": y,
    }, []


def _shape(name: str) -> tuple[int, int]:
    with open_mrc(name) as image:
        return image.shape[1], image.shape[2]


def _alignments(particles: Particles) -> dict[str, np.ndarray]:
    """Poses: of two dimensions where all rotations are about z."""
    rotation, shift = particles.rotation, particles.shift
    if rotation is None:
        return {}
    flat = bool((np.abs(rotation[:, 0, 0] - 1) < _TWO_DIMENSIONS).all())
    slot = "alignments2D" if flat else "alignments3D"
    vectors = _vectors(rotation)
    size = np.array([one.pixel_size for one in particles.optics])[particles.group]
    origin = np.zeros((len(particles), 2)) if shift is None else -shift[:, ::-1] / size[:, None]
    classes = np.ones(len(particles), np.int64) if particles.class_number is None else particles.class_number
    fields = {
        f"{slot}/pose": (vectors[:, 2] if flat else vectors).astype(np.float32),
        f"{slot}/shift": origin.astype(np.float32),
        f"{slot}/psize_A": size.astype(np.float32),
        f"{slot}/class": np.maximum(classes - 1, 0).astype(np.uint32),
        f"{slot}/class_posterior": np.ones(len(particles), np.float32),
    }
    if particles.half is not None:
        fields[f"{slot}/split"] = np.maximum(particles.half - 1, 0).astype(np.uint32)
    return fields


def _vectors(rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """Rotation vectors (x, y, z) from image to reference."""
    matrix = rotation[:, ::-1, ::-1].transpose(0, 2, 1)
    return scipy.spatial.transform.Rotation.from_matrix(matrix).as_rotvec()


def _optics_left_out(particles: Particles) -> list[str]:
    notes: list[str] = []
    if any(
        one.beam_tilt != (0, 0) or one.odd_zernike or one.even_zernike or one.magnification is not None
        for one in particles.optics
    ):
        notes.append("Beam tilt, aberrations and anisotropic magnification are left out.")
    if any(one.premultiplied for one in particles.optics):
        notes.append("The images were multiplied by their CTFs, which the file cannot tell: extract them anew without.")
    return notes
