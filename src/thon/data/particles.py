"""Particles: images of single molecules with where they were found, their optics, CTF and pose.

Image axes are (y, x). A pose is the active rotation that takes reference coordinates (z, y, x) into the frame of the
image, whose projection sums over z, and the place of the particle's centre relative to the image's centre (pixel
n // 2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from thon.base.errors import InputError
from thon.data.optics import Optics


@dataclass(frozen=True)
class ImageCut:
    """How images are made of their micrographs whenever they are read, where no stack holds them.

    A particle's file is then its micrograph, and its coordinates tell the pixel in the middle of its box.

    Args:
        box: Side of the box, px of the micrograph.
        invert: Whether the contrast is turned.
        normalise: Whether a plane is taken off and the background made 0 ± 1.
        background_diameter: Of the circle outside of which lies the background, over the box.
        white_dust: Standard deviations above the mean from which a pixel is replaced by noise; None for none.
        black_dust: The same below the mean.
    """

    box: int
    invert: bool = True
    normalise: bool = True
    background_diameter: float = 0.75
    white_dust: float | None = None
    black_dust: float | None = None


@dataclass(frozen=True)
class ParticleOptics:
    """What is the same for all particles of one optics group.

    Args:
        name: Of the group; particles of groups with one name belong together wherever they come from.
        optics: Microscope.
        pixel_size: Of the particle images, Å.
        box: Side of the images, px.
        micrograph_pixel_size: Of the micrographs whose pixels the coordinates count, Å; None where not known.
        beam_tilt: (y, x), mrad.
        odd_zernike: Coefficients of odd aberrations, as RELION orders and scales them.
        even_zernike: The same of even ones, beyond defocus and spherical aberration.
        magnification: Matrix that takes true to recorded frequencies (y, x); None for no anisotropy.
        mtf: File of the detector's modulation transfer, as text.
        premultiplied: Whether the images were multiplied by their CTF.
        dark: Whether matter is dark in the images as they are stored, so that whoever reads them turns their sign.
        cut: How the images are cut out of micrographs when they are read; None where stacks hold them.
        columns: The row about the group in the star file that it came from, as text by label, to be written again.
    """

    name: str
    optics: Optics
    pixel_size: float
    box: int
    micrograph_pixel_size: float | None = None
    beam_tilt: tuple[float, float] = (0.0, 0.0)
    odd_zernike: tuple[float, ...] = ()
    even_zernike: tuple[float, ...] = ()
    magnification: tuple[tuple[float, float], tuple[float, float]] | None = None
    mtf: str | None = None
    premultiplied: bool = False
    dark: bool = False
    cut: ImageCut | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)


@dataclass(frozen=True)
class ParticleCtf:
    """The CTF of each particle; angle as in `thon.data.ctf.Ctf`.

    Args:
        defocus_u: Larger defocus, Å.
        defocus_v: Smaller defocus, Å.
        angle: Direction of the larger one, degrees.
        phase_shift: Of a phase plate, degrees.
        b_factor: Additional fall-off, exp(−B s² / 4), Å².
        scale: Additional factor, 1.
    """

    defocus_u: Float[np.ndarray, "n"]
    defocus_v: Float[np.ndarray, "n"]
    angle: Float[np.ndarray, "n"]
    phase_shift: Float[np.ndarray, "n"]
    b_factor: Float[np.ndarray, "n"]
    scale: Float[np.ndarray, "n"]

    @classmethod
    def of(
        cls,
        defocus_u: Float[np.ndarray, "n"],
        defocus_v: Float[np.ndarray, "n"],
        angle: Float[np.ndarray, "n"],
        phase_shift: Float[np.ndarray, "n"] | None = None,
    ) -> Self:
        """CTFs without further fall-off."""
        zero = np.zeros(len(defocus_u))
        return cls(defocus_u, defocus_v, angle, zero if phase_shift is None else phase_shift, zero, zero + 1)

    def __len__(self) -> int:
        return len(self.defocus_u)

    def select(self, index: Int[np.ndarray, "k"] | Bool[np.ndarray, "n"]) -> Self:
        """Those of some particles."""
        return type(self)(*(getattr(self, entry.name)[index] for entry in dataclasses.fields(self)))


@dataclass(frozen=True, kw_only=True)
class Particles:
    """A set of particles; arrays have one entry each, and what is not known is None.

    Args:
        optics: Optics groups.
        group: Optics group of each particle, an index.
        files: Stacks of images, or the micrographs that images are cut out of.
        file: Stack of each particle, an index.
        section: Place of its image in the stack, from 0.
        micrographs: Micrographs that particles come from.
        micrograph: Micrograph of each, an index; −1 for none.
        coordinates: (y, x) of each particle's centre in its micrograph, px of the micrograph.
        ctf: CTF of each.
        rotation: Pose; for two-dimensional classes a rotation about z.
        shift: (y, x) of the particle's centre from the image's centre, Å.
        class_number: Class of each, from 1 as people count them; 0 for none.
        half: Half set, 1 or 2, which never changes once it is given; 0 for none.
        score: Figure of merit from picking, 1.
        probability: Share of its best pose in each particle's posterior, 0 to 1.
        likelihood: Logarithm of each particle's likelihood.
        significant: Number of poses that its posterior takes seriously.
        norm: Factor that the grey values of each had to be divided by, about 1.
        columns: What else a star file said of each, as text, by label.
    """

    optics: tuple[ParticleOptics, ...]
    group: Int[np.ndarray, "n"]
    files: tuple[str, ...]
    file: Int[np.ndarray, "n"]
    section: Int[np.ndarray, "n"]
    micrographs: tuple[str, ...] = ()
    micrograph: Int[np.ndarray, "n"]
    coordinates: Float[np.ndarray, "n 2"] | None = None
    ctf: ParticleCtf | None = None
    rotation: Float[np.ndarray, "n 3 3"] | None = None
    shift: Float[np.ndarray, "n 2"] | None = None
    class_number: Int[np.ndarray, "n"] | None = None
    half: Int[np.ndarray, "n"] | None = None
    score: Float[np.ndarray, "n"] | None = None
    probability: Float[np.ndarray, "n"] | None = None
    likelihood: Float[np.ndarray, "n"] | None = None
    significant: Int[np.ndarray, "n"] | None = None
    norm: Float[np.ndarray, "n"] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __post_init__(self) -> None:
        for name, values in self._per_particle().items():
            if len(values) != len(self.group):
                raise InputError(f"{name} and particles differ in number", got=len(values), expected=len(self.group))
        for name, index, targets in (
            ("optics group", self.group, self.optics),
            ("stack", self.file, self.files),
            ("micrograph", self.micrograph, self.micrographs),
        ):
            if len(index) and index.max() >= len(targets):
                raise InputError(f"a particle's {name} is not there", got=int(index.max()), expected=len(targets))

    def __len__(self) -> int:
        return len(self.group)

    def select(self, index: Int[np.ndarray, "k"] | Bool[np.ndarray, "n"]) -> Self:
        """Some of them, in the order asked for; groups, stacks and micrographs keep their numbers."""
        chosen = np.flatnonzero(index) if index.dtype == bool else index
        changes: dict[str, Any] = {name: _take(values, chosen) for name, values in self._per_particle().items()}
        changes["columns"] = {label: changes.pop(label) for label in self.columns}
        return dataclasses.replace(self, **changes)

    def compact(self) -> Self:
        """The same without optics groups, stacks and micrographs of which there is no particle."""
        changes: dict[str, Any] = {}
        for index, targets in (("group", "optics"), ("file", "files"), ("micrograph", "micrographs")):
            used = np.unique(getattr(self, index))
            used = used[used >= 0]
            places = np.full(len(getattr(self, targets)), -1)
            places[used] = np.arange(len(used))
            changes[index] = _renumber(getattr(self, index), places.tolist())
            changes[targets] = tuple(getattr(self, targets)[k] for k in used.tolist())
        return dataclasses.replace(self, **changes)

    def in_both_halves(self) -> Int[np.ndarray, "k"]:
        """Particles of half set 2 whose image is also in half set 1: none where the halves are independent."""
        if self.half is None:
            return np.zeros(0, np.int64)
        image = self.image_numbers()
        return np.flatnonzero((self.half == 2) & np.isin(image, image[self.half == 1]))

    def image_numbers(self) -> Int[np.ndarray, "n"]:
        """A number for each particle's image, from 0: copies of a particle have the same.

        An image is a section of a stack, or what lies at a place in a micrograph where images are cut when they are
        read.
        """
        place = np.stack([self.file, self.section, 0 * self.section, 0 * self.section], -1).astype(np.float64)
        cut = np.array([group.cut is not None for group in self.optics], bool)[self.group]
        if self.coordinates is not None:
            place[cut, 1] = -1
            place[cut, 2:] = self.coordinates[cut]
        return np.unique(place, axis=0, return_inverse=True)[1].reshape(-1)

    def plain(self) -> Particles:
        """The same as a set of particles and nothing more, where a job had yielded more with them."""
        return Particles(**{entry.name: getattr(self, entry.name) for entry in dataclasses.fields(Particles)})

    def image_name(self, k: int) -> str:
        """A particle as people name it: its place in its stack, counted from 1."""
        return f"{self.section[k] + 1:06d}@{self.files[self.file[k]]}"

    def _per_particle(self) -> dict[str, Any]:
        """Everything that has an entry for each particle, the columns by their labels."""
        values = {
            entry.name: getattr(self, entry.name)
            for entry in dataclasses.fields(Particles)
            if entry.name not in ("optics", "files", "micrographs", "columns")
        }
        return {name: value for name, value in values.items() if value is not None} | dict(self.columns)


def join_particles(sets: Sequence[Particles]) -> Particles:
    """All particles of several sets in one; optics groups are merged by name, stacks and micrographs by file.

    What only some of the sets know (poses, scores, columns) gets the neutral value for the others where there is one,
    and is left out where there is none.

    Raises:
        InputError: There is no set, or two groups of one name differ.
    """
    if not sets:
        raise InputError("there are no particles to join")
    if len(sets) == 1:
        return sets[0].plain()
    optics = _merge_optics([group for one in sets for group in one.optics])
    names = {group.name: k for k, group in enumerate(optics)}
    files = tuple(dict.fromkeys(name for one in sets for name in one.files))
    micrographs = tuple(dict.fromkeys(name for one in sets for name in one.micrographs))
    file_of, micrograph_of = ({name: k for k, name in enumerate(found)} for found in (files, micrographs))
    placed = [
        dataclasses.replace(
            one.plain(),
            optics=optics,
            group=_renumber(one.group, [names[group.name] for group in one.optics]),
            files=files,
            file=_renumber(one.file, [file_of[name] for name in one.files]),
            micrographs=micrographs,
            micrograph=_renumber(one.micrograph, [micrograph_of[name] for name in one.micrographs]),
        )
        for one in sets
    ]
    joined: dict[str, Any] = {}
    for entry in dataclasses.fields(Particles):
        values = [getattr(one, entry.name) for one in placed]
        if entry.name in ("optics", "files", "micrographs"):
            joined[entry.name] = values[0]
        elif entry.name == "columns":
            labels = [label for label in placed[0].columns if all(label in one.columns for one in placed)]
            joined["columns"] = {
                label: tuple(text for one in placed for text in one.columns[label]) for label in labels
            }
        elif entry.name == "ctf":
            joined["ctf"] = _join_ctf(values)
        else:
            joined[entry.name] = _join(entry.name, values, [len(one) for one in placed])
    return Particles(**joined)


_NEUTRAL = {"shift": 0.0, "class_number": 0, "half": 0, "norm": 1.0, "score": np.nan, "coordinates": np.nan}


def _join(name: str, values: list[Any], counts: list[int]) -> Any:
    known = [value for value in values if value is not None]
    if not known or (len(known) < len(values) and name not in _NEUTRAL):
        return None
    rest, kind = known[0].shape[1:], known[0].dtype
    filled = [
        np.full((count, *rest), _NEUTRAL[name], kind) if value is None else value
        for value, count in zip(values, counts, strict=True)
    ]
    return np.concatenate(filled)


def _join_ctf(values: list[ParticleCtf | None]) -> ParticleCtf | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return ParticleCtf(
        *(np.concatenate([getattr(one, entry.name) for one in known]) for entry in dataclasses.fields(ParticleCtf))
    )


def _merge_optics(groups: list[ParticleOptics]) -> tuple[ParticleOptics, ...]:
    merged: dict[str, ParticleOptics] = {}
    for group in groups:
        if merged.setdefault(group.name, group) != group:
            raise InputError(
                f"two optics groups are called '{group.name}' and differ",
                got=str(group),
                expected=str(merged[group.name]),
                mend="give one of them another name",
            )
    return tuple(merged.values())


def _renumber(index: np.ndarray, places: list[int]) -> np.ndarray:
    """Indices into a joint list; −1 stays."""
    return np.array([*places, -1], np.int64)[index]


def _take(values: Any, chosen: Int[np.ndarray, "k"]) -> Any:
    if isinstance(values, np.ndarray):
        return values[chosen]
    if isinstance(values, tuple):
        return tuple(values[k] for k in chosen.tolist())
    return values.select(chosen)
