"""RELION's stars of particles, of RELION 3.0 to 5: read with all that they say, written as RELION 3.1 and later do.

What RELION 3.0 spelt otherwise (origins in pixels, the pixel size by magnification, optics in every row) is understood
and written in today's way. Columns that the house does not know are carried as text and written again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
from jaxtyping import Int

from thon.base.errors import FormatError, InputError
from thon.data.particles import ParticleOptics, Particles
from thon.formats.particle_stacks import no_stack_headers, read_stack_headers
from thon.formats.relion_particle_fields import EULER, ParticleColumns, read_ctf, read_rotation, read_shift
from thon.formats.relion_particle_optics import (
    MAGNIFICATION_LABELS,
    ROW_LABELS,
    check_magnification,
    optics_rows,
    particle_optics_table,
    read_group,
)
from thon.formats.relion_particle_rows import LABELS, particle_columns
from thon.formats.relion_table import file_value, find_named
from thon.formats.star import StarBlock, StarFile, read_star, write_star
from thon.formats.text import PathLike

_OBSOLETE = ("rlnOriginX", "rlnOriginY", *MAGNIFICATION_LABELS)
_FORMAT_SUFFIXES = (":mrcs", ":mrc")


class ReadParticles(TypedDict, total=False):
    """How particles are read.

    Keys:
        need_ctf: Whether particles without a CTF are refused; they are unless said.
        need_images: Whether the stacks must be there, and are held against the file; they must unless said.
        check_pixel_size: Whether stacks whose header tells another pixel size than the file are refused; unless said.
        pixel_size: Of the images, Å, where the file does not tell; that of the stacks' headers unless given.
    """

    need_ctf: bool
    need_images: bool
    check_pixel_size: bool
    pixel_size: float


@dataclass(frozen=True)
class ParticleStar:
    """Particles with RELION's table about them.

    Args:
        particles: In the file's order.
        block: Their table as it stands in the file.
        notes: Sentences about what was left out or is missing.
    """

    particles: Particles
    block: StarBlock
    notes: tuple[str, ...] = ()


def read_particles(path: PathLike, **how: Unpack[ReadParticles]) -> Particles:
    """The particles of a star file; `read_particle_star` says more about it and what is raised."""
    return read_particle_star(path, **how).particles


def read_particle_star(path: PathLike, **how: Unpack[ReadParticles]) -> ParticleStar:
    """Read a star file of particles.

    Stacks are looked for beside the file and from each folder above it, so that names count from the RELION project.

    Args:
        path: The file.
        how: See `ReadParticles`.

    Raises:
        InputError: There is no such file, a stack is missing, or there is no CTF.
        FormatError: There are no particles, a value is no number, a particle's optics group or image is not there,
            stacks and optics groups contradict each other in box or pixel size, or an image is in both half sets.
    """
    path = Path(path)
    blocks = read_star(path)
    block = _particle_block(path, blocks)
    need_images = how.get("need_images", True)
    files, file, section = _images(path, block, need_images)
    headers = read_stack_headers(files) if need_images else no_stack_headers(len(files))
    rows, group = optics_rows(path, blocks.get("optics"), block)
    sizes = [headers.pixel_size(k) or how.get("pixel_size") for k in range(len(files))]
    optics, group, notes = _groups(path, rows, group, [(sizes[k], headers.box(k)) for k in file.tolist()])
    micrographs, micrograph = _micrographs(path, block)
    reader = ParticleColumns(path, block)
    spacing = np.array([one.pixel_size for one in optics])[group]
    check_magnification(path, block, spacing)
    particles = Particles(
        optics=optics,
        group=group,
        files=files,
        file=file,
        section=section,
        micrographs=micrographs,
        micrograph=micrograph,
        coordinates=reader.pairs("rlnCoordinateY", "rlnCoordinateX"),
        ctf=read_ctf(reader),
        rotation=read_rotation(reader),
        shift=read_shift(reader, spacing),
        columns=_other_columns(block, "optics" in blocks),
        **reader.plain(),
    )
    headers.check(particles, path, check_pixel_size=how.get("check_pixel_size", True))
    _check_ctf(path, particles, how.get("need_ctf", True))
    for k in particles.in_both_halves()[:1].tolist():
        raise FormatError(
            f"the image {particles.image_name(k)} is in both half sets", path=path, expected="one of them"
        )
    return ParticleStar(particles, block, tuple(notes))


def write_particles(
    path: PathLike, particles: Particles, *, relative_to: PathLike | None = None, like: StarBlock | None = None
) -> list[str]:
    """Write a star file of particles; optics groups that have none are left out.

    Args:
        path: File to write.
        particles: What it lists.
        relative_to: RELION's project folder, from which file names are counted; the file's own unless given.
        like: The table that the particles were read from, row by row: columns keep their places in it, and values that
            are the same keep their text.

    Returns:
        Sentences about what was left out.

    Raises:
        InputError: There are no particles.
    """
    if not len(particles):
        raise InputError("there are no particles to write", path=path)
    project = Path(path).parent if relative_to is None else relative_to
    particles = particles.compact()
    columns, notes = particle_columns(particles, project, like)
    table = particle_optics_table(particles.optics, project)
    write_star(path, {"optics": table, "particles": StarBlock({}, columns)})
    return notes


def _particle_block(path: Path, blocks: StarFile) -> StarBlock:
    block = next((block for block in blocks.values() if "rlnImageName" in block.columns), None)
    if block is None or not len(block):
        raise FormatError("holds no particles", path=path, got=", ".join(blocks), expected="a loop with rlnImageName")
    return block


def _images(
    path: Path, block: StarBlock, need_images: bool
) -> tuple[tuple[str, ...], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Stacks, and each particle's stack and section in it."""
    places: dict[str, int] = {}
    file = np.empty(len(block), np.int64)
    section = np.empty(len(block), np.int64)
    first: list[str] = []
    for k, name in enumerate(block.columns["rlnImageName"]):
        number, mark, stack = name.partition("@")
        if not mark or not number.isdecimal() or int(number) < 1:
            raise FormatError(
                "is no image in a stack", path=path, got=name, expected="a name such as 000001@stack.mrcs"
            )
        if stack not in places:
            places[stack] = len(places)
            first.append(name)
        file[k], section[k] = places[stack], int(number) - 1
    names = zip(places, first, strict=True)
    return tuple(_find(path, stack, name, need_images) for stack, name in names), file, section


def _find(path: Path, stack: str, image: str, need: bool) -> str:
    """Where a stack lies; RELION's `:mrcs`, which tells the format, is no part of its name."""
    for suffix in _FORMAT_SUFFIXES:
        stack = stack.removesuffix(suffix)
    try:
        return str(find_named(path, stack))
    except InputError:
        if not need:
            return stack
        raise InputError(
            f"the stack of {image} is not there", path=path, got=stack, mend="run from a complete RELION project"
        ) from None


def _groups(
    path: Path, rows: list[dict[str, str]], group: Int[np.ndarray, "n"], images: list[tuple[float | None, int]]
) -> tuple[tuple[ParticleOptics, ...], Int[np.ndarray, "n"], list[str]]:
    """Optics groups that have particles, each particle's, and what is to be said about the others.

    Args:
        path: File, for messages.
        rows: Of the table of groups.
        group: Of each particle, an index of these.
        images: Pixel size, Å, and box of each particle's image, where the table does not tell.
    """
    used, first, group = np.unique(group, return_index=True, return_inverse=True)
    unused = [rows[k].get("rlnOpticsGroupName", str(k + 1)) for k in range(len(rows)) if k not in used]
    notes = [f"The optics group {name} has no particles and is left out." for name in unused]
    optics = tuple(
        read_group(path, rows[k], k + 1, *images[i]) for k, i in zip(used.tolist(), first.tolist(), strict=True)
    )
    names = [one.name for one in optics]
    for name in {name for name in names if names.count(name) > 1}:
        raise FormatError(f"two optics groups are called '{name}'", path=path, mend="give one of them another name")
    return optics, group.astype(np.int64), notes


def _other_columns(block: StarBlock, has_optics: bool) -> dict[str, tuple[str, ...]]:
    """Columns that the house does not know; of incomplete poses, too."""
    known = {*LABELS, *_OBSOLETE} | (set() if has_optics else set(ROW_LABELS))
    if not all(label in block.columns for label in EULER):
        known -= set(EULER)
    return {label: tuple(texts) for label, texts in block.columns.items() if label not in known}


def _micrographs(path: Path, block: StarBlock) -> tuple[tuple[str, ...], Int[np.ndarray, "n"]]:
    """Micrographs, which need not be there, and each particle's."""
    names = [file_value(name) for name in block.columns.get("rlnMicrographName", ["None"] * len(block))]
    places = {name: k for k, name in enumerate(name for name in dict.fromkeys(names) if name is not None)}
    index = np.array([-1 if name is None else places[name] for name in names], np.int64)
    return tuple(_find_or_keep(path, name) for name in places), index


def _find_or_keep(path: Path, name: str) -> str:
    try:
        return str(find_named(path, name))
    except InputError:
        return name


def _check_ctf(path: Path, particles: Particles, need_ctf: bool) -> None:
    if particles.ctf is None and need_ctf:
        raise InputError(
            "the particles have no CTF",
            path=path,
            expected="columns rlnDefocusU, rlnDefocusV and rlnDefocusAngle",
            mend="fit CTFs and extract again, or say that they have none",
        )
    missing = [one.name for one in particles.optics if one.optics.voltage is None or one.optics.cs is None]
    if particles.ctf is not None and missing:
        raise FormatError(
            f"the optics group {missing[0]} lacks its microscope",
            path=path,
            expected="rlnVoltage, rlnSphericalAberration",
        )
