"""Choosing among particles: by what is known of them, at random, in parts; and finding those picked twice."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from thon.base.errors import InputError
from thon.data.particles import Particles

FIELDS = ("score", "probability", "likelihood", "significant", "norm", "class_number", "half")
"""Fields of `Particles` that hold one number each."""

_CTF = ("defocus_u", "defocus_v", "angle", "phase_shift", "b_factor", "scale")


def particle_values(particles: Particles, name: str) -> Float[np.ndarray, "n"]:
    """What is known of each particle under a name: a field (score, defocus, shift, …) or a column of a star file.

    `defocus` is the mean of both, Å; `shift` the length of the shift, Å; `astigmatism` the difference of the defoci.

    Raises:
        InputError: Nothing of that name is known, or it is no number.
    """
    known = _known_values(particles)
    label = name.removeprefix("_")
    if name in known:
        return known[name]
    if label in particles.columns:
        try:
            return np.array(particles.columns[label], np.float64)
        except ValueError:
            raise InputError(f"the column {label} holds no numbers", got=particles.columns[label][0]) from None
    raise InputError(f"nothing is known of the particles as '{name}'", expected=", ".join([*known, *particles.columns]))


def in_range(
    values: Float[np.ndarray, "n"], minimum: float | None = None, maximum: float | None = None
) -> Bool[np.ndarray, "n"]:
    """Which values lie within limits, both included; what is not known (NaN) lies in none."""
    low = -np.inf if minimum is None else minimum
    high = np.inf if maximum is None else maximum
    return (values >= low) & (values <= high)


def of_micrographs(particles: Particles, patterns: Sequence[str]) -> Bool[np.ndarray, "n"]:
    """Which particles are of micrographs with these names, with or without folder and ending; `*` stands for anything.

    Raises:
        InputError: No micrograph is called so.
    """
    chosen = np.zeros(len(particles.micrographs) + 1, bool)
    for pattern in patterns:
        fits = [_is_called(name, pattern) for name in particles.micrographs]
        if not any(fits):
            raise InputError("no micrograph is called so", got=pattern)
        # The last entry, which stays false, is what −1 finds: a particle of no micrograph.
        chosen[:-1] |= fits
    return chosen[particles.micrograph]


def repeated_images(particles: Particles) -> Bool[np.ndarray, "n"]:
    """Which particles have an image that one before them has."""
    first = np.unique(particles.image_numbers(), return_index=True)[1]
    repeated = np.ones(len(particles), bool)
    repeated[first] = False
    return repeated


def half_sets(particles: Particles, generator: np.random.Generator) -> Int[np.ndarray, "n"]:
    """Half sets, 1 and 2: those that are known, the others at random; copies of an image are in one."""
    _, first, image = np.unique(particles.image_numbers(), return_index=True, return_inverse=True)
    half = np.empty(len(first), np.int64)
    half[np.argsort(first)] = generator.permutation(np.arange(len(first)) % 2) + 1
    if particles.half is None:
        return half[image]
    known = particles.half > 0
    half[image[known]] = particles.half[known]
    return np.where(known, particles.half, half[image])


def choose_random(count: int, number: int, seed: int) -> Int[np.ndarray, "k"]:
    """So many of `count` at random, in their order.

    Raises:
        InputError: There are not so many.
    """
    if number > count:
        raise InputError("there are fewer particles than are asked for", got=count, expected=f"at least {number}")
    return np.sort(np.random.default_rng(seed).permutation(count)[:number])


def split(count: int, parts: int, seed: int | None = None) -> list[Int[np.ndarray, "k"]]:
    """`count` things in parts of nearly the same size: in their order, or at random.

    Raises:
        InputError: There are fewer than parts.
    """
    if parts > count:
        raise InputError("there are fewer particles than parts", got=count, expected=f"at least {parts}")
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    return [np.sort(part) for part in np.array_split(order, parts)]


def positions(particles: Particles) -> Float[np.ndarray, "n 2"]:
    """Where particles lie in their micrographs, (y, x), Å: where they were picked, and shifted as alignment says.

    Raises:
        InputError: The places, the micrographs or the pixel size of these are not known.
    """
    if particles.coordinates is None or not np.isfinite(particles.coordinates).all():
        raise InputError("the places of the particles in their micrographs are not known")
    if (particles.micrograph < 0).any():
        raise InputError(
            "some particles are of no micrograph", got=particles.image_name(int(particles.micrograph.argmin()))
        )
    size = [one.micrograph_pixel_size for one in particles.optics]
    if None in size:
        raise InputError(
            "the pixel size of the micrographs is not known",
            got=particles.optics[size.index(None)].name,
            mend="give it with --micrograph-pixel-size",
        )
    places = particles.coordinates * np.array(size, np.float64)[particles.group][:, None]
    return places if particles.shift is None else places + particles.shift


def find_duplicates(
    places: Float[np.ndarray, "n 2"],
    micrograph: Int[np.ndarray, "n"],
    distance: float,
    score: Float[np.ndarray, "n"] | None = None,
) -> Bool[np.ndarray, "n"]:
    """Which particles lie closer than a distance to a better one of the same micrograph that stays.

    The best of all stays, then the best of those that are not too close to it, and so on; without scores, and among
    equal ones, the first.

    Args:
        places: (y, x), Å.
        micrograph: Of each.
        distance: Å.
        score: Higher is better; unknown (NaN) is worst.
    """
    rank = np.zeros(len(places)) if score is None else -np.nan_to_num(score, nan=-np.inf)
    removed = np.zeros(len(places), bool)
    order = np.lexsort((np.arange(len(places)), rank, micrograph))
    borders = np.flatnonzero(np.diff(micrograph[order])) + 1
    for members in np.split(order, borders):
        removed[members] = _too_close(places[members], distance)
    return removed


def _too_close(places: Float[np.ndarray, "n 2"], distance: float) -> Bool[np.ndarray, "n"]:
    """The same within one micrograph, best first."""
    neighbours: Sequence[list[int]] = scipy.spatial.cKDTree(places).query_ball_point(places, distance * (1 - 1e-9))
    removed = np.zeros(len(places), bool)
    for k, near in enumerate(neighbours):
        if not removed[k]:
            removed[[other for other in near if other > k]] = True
    return removed


def _is_called(name: str, pattern: str) -> bool:
    path = PurePosixPath(name)
    return any(fnmatchcase(text, pattern) for text in (name, path.name, path.stem))


def _known_values(particles: Particles) -> dict[str, Float[np.ndarray, "n"]]:
    found = {name: getattr(particles, name) for name in FIELDS}
    known = {name: values.astype(np.float64) for name, values in found.items() if values is not None}
    if particles.ctf is not None:
        known |= {name: getattr(particles.ctf, name) for name in _CTF}
        known["defocus"] = (particles.ctf.defocus_u + particles.ctf.defocus_v) / 2
        known["astigmatism"] = particles.ctf.defocus_u - particles.ctf.defocus_v
    if particles.shift is not None:
        known["shift"] = np.hypot(*particles.shift.T)
    if particles.coordinates is not None:
        known |= {"y": particles.coordinates[:, 0], "x": particles.coordinates[:, 1]}
    return known
