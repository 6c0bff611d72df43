"""Cut picked particles out of their micrographs into stacks, or cut particles again where their poses put them.

With --particles, those that a classification or refinement yielded are cut out in place of the picks: centred on where
they lie, with another box or scale if asked for, and all that is known of them kept. Writes NAME.mrcs, or nothing with
--on-the-fly: images are then cut out of the micrographs whenever they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from jaxtyping import Float

from thon.algorithms.cut_particles import cut_in_order, image_cut
from thon.algorithms.extract import ExtractOptions, boxes_inside
from thon.algorithms.particle_places import ParticlePlaces, local_ctf, recentre
from thon.base.errors import InputError
from thon.base.options import Advanced, Unit
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.data.particles import ParticleOptics, Particles
from thon.formats.images import open_images
from thon.formats.mrc import MrcWriter
from thon.formats.png import shrink, to_gray
from thon.formats.report.job_page import ReportFigure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.jobs.published import publish

_CHUNK = 1 << 26  # bytes of particles worked on at a time
_SHOWN = 40  # particles in the preview


class ExtractJobOptions(ExtractOptions):
    """Extraction into files."""

    on_the_fly: bool = False
    """Write no stacks: later steps cut the images out of the micrographs, which must stay where they are."""

    float16: bool = True
    """Write half-precision numbers (MRC mode 12): half the size, and exact enough for particles."""

    recentre: bool = True
    """With --particles: move the boxes to where the particles lie; otherwise keep boxes and shifts."""

    centre_on: Annotated[tuple[float, float, float], Unit("Å"), Advanced()] = (0.0, 0.0, 0.0)
    """With --particles: point (z, y, x) of the reference, from its centre, that is to be in the middle."""

    keep_defocus: bool = True
    """With --particles: keep the defocus of each; otherwise take that of the micrograph."""


@dataclass(frozen=True)
class Cut:
    """What is cut from where.

    Args:
        micrograph: Where the particles are.
        options: How they are cut.
        box: Side of the boxes, px of the micrograph.
        side: Side of the images, px.
    """

    micrograph: CtfMicrograph
    options: ExtractJobOptions
    box: int
    side: int

    @classmethod
    def of(cls, picks: Picks, options: ExtractJobOptions) -> Self:
        """Boxes for picks; those of all micrographs must be alike.

        Raises:
            InputError: The box follows from the particles' diameter, and that differs from pick to pick.
        """
        if options.box is None and np.ptp(picks.diameter if len(picks) else np.zeros(1)) > 0:
            raise InputError(
                "the picks differ in diameter, so the box does not follow from it",
                got=f"{picks.diameter.min():.0f} to {picks.diameter.max():.0f} Å",
                mend="give --box",
            )
        box = options.box_for(float(picks.diameter.max(initial=0)), picks.micrograph.pixel_size)
        return cls(picks.micrograph, options, box, options.rescale or box)

    @property
    def pixel_size(self) -> float:
        """Of the images, Å."""
        return self.micrograph.pixel_size * self.box / self.side


def plan_extract(picks: Picks, options: ExtractJobOptions, resources: Resources) -> Plan:
    """What extraction needs, from the number of picks and the box."""
    cut, (rows, columns) = Cut.of(picks, options), picks.micrograph.image_shape
    return Plan(
        understood=(f"{picks.micrograph.name}: {len(picks)} picks, boxes of {cut.box} px",),
        memory=400_000_000 + 8 * rows * columns + 8 * _CHUNK,
        disk=1_000_000 + (not options.on_the_fly) * len(picks) * cut.side**2 * (2 if options.float16 else 4),
        seconds=0.7 + 3e-8 * rows * columns + len(picks) * (2e-8 * cut.box**2 + 3e-8 * cut.side**2),
    )


@each(title="Extract particles", stage="particles", plan=plan_extract)
def extract(
    picks: Picks, options: ExtractJobOptions, context: Context, particles: Particles | None = None
) -> Particles:
    cut, micrograph = Cut.of(picks, options), picks.micrograph
    known = _picked(picks) if particles is None else _of_micrograph(particles, micrograph)
    _check_box(picks, cut, context)
    places = _places(known, micrograph, options, renew=particles is not None and options.recentre)
    inside = boxes_inside(places.centre, cut.box, micrograph.image_shape, options)
    known, places = known.select(inside), ParticlePlaces(places.centre[inside], places.shift[inside])
    if not inside.all():
        context.log(f"{int((~inside).sum())} of {len(inside)} particles are left out: their box runs over the edge.")
    if not len(known):
        context.warn(f"{micrograph.name} has no particles to extract: it is skipped.")
        return _describe(known, places, cut, ())
    stack = Path(micrograph.path) if options.on_the_fly else context.output(f"{micrograph.name}.mrcs")
    result = _describe(known, places, cut, (str(stack),))
    if options.on_the_fly:
        # The first are cut all the same, so that whoever cuts them later meets no surprise.
        _show(next(_images(result, cut))[1], result, cut, context)
    else:
        _write(stack, result, cut, context)
    context.log(f"{len(result)} particles of {cut.side} px at {cut.pixel_size:.4g} Å.")
    return result


def _picked(picks: Picks) -> Particles:
    """Picks as particles without images."""
    count = len(picks)
    none = np.zeros(count, np.int64)
    micrograph = picks.micrograph
    group = ParticleOptics(_group_name(micrograph), micrograph.optics, micrograph.pixel_size, 0, micrograph.pixel_size)
    return Particles(
        optics=(group,),
        group=none,
        files=("",),
        file=none,
        section=none,
        micrographs=(micrograph.path,),
        micrograph=none,
        coordinates=np.rint(picks.coordinates),
        score=picks.score,
        class_number=picks.class_number,
        columns={"rlnAnglePsi": tuple(f"{angle:.6f}" for angle in picks.psi)},
    )


def _group_name(micrograph: Micrograph) -> str:
    """A name that tells the optics, so that particles of one microscope come together and of two do not."""
    optics = micrograph.optics
    known = [(optics.voltage, "kV"), (optics.cs, "mm"), (optics.amplitude_contrast, ""), (micrograph.pixel_size, "A")]
    return "optics_" + "_".join(f"{value:.6g}{unit}" for value, unit in known if value is not None)


def _of_micrograph(particles: Particles, micrograph: Micrograph) -> Particles:
    """The particles of one micrograph, found by its path or else by its file's name."""
    if particles.coordinates is None:
        raise InputError("the particles have no coordinates", mend="import them with their micrographs' coordinates")
    named = [k for k, path in enumerate(particles.micrographs) if path == micrograph.path]
    stem = Path(micrograph.path).stem
    named = named or [k for k, path in enumerate(particles.micrographs) if Path(path).stem == stem]
    found = particles.plain().select(np.isin(particles.micrograph, named))
    none = np.zeros(len(found), np.int64)
    scale = [(one.micrograph_pixel_size or micrograph.pixel_size) / micrograph.pixel_size for one in found.optics]
    coordinates = np.asarray(found.coordinates) * np.array(scale)[found.group][:, None]
    if not np.isfinite(coordinates).all():
        raise InputError(f"particles of {micrograph.name} have no coordinates", got="NaN")
    return replace(found, micrographs=(micrograph.path,), micrograph=none, coordinates=coordinates)


def _check_box(picks: Picks, cut: Cut, context: Context) -> None:
    pixel_size, diameter = cut.micrograph.pixel_size, float(picks.diameter.max(initial=0))
    size = cut.box * pixel_size
    if size < diameter:
        raise InputError(
            "the box is smaller than the particle",
            got=f"{cut.box} px of {pixel_size:g} Å, {size:.0f} Å",
            expected=f"more than {diameter:.0f} Å",
            mend="give a larger --box, or none to have one that fits",
        )
    if cut.side > cut.box:
        raise InputError("the box is smaller than what it is rescaled to", got=f"{cut.box} px", expected=f"{cut.side}")
    background = cut.options.background_diameter * size
    if cut.options.normalise and background < diameter:
        context.warn(
            f"The background begins at a diameter of {background:.0f} Å, within particles of {diameter:.0f} Å: take a "
            "larger --box or --background-diameter."
        )


def _places(known: Particles, micrograph: Micrograph, options: ExtractJobOptions, *, renew: bool) -> ParticlePlaces:
    """Where boxes are cut: around the coordinates, or around where the particles turned out to lie."""
    coordinates = np.asarray(known.coordinates, np.float64)
    if not renew:
        none = np.zeros((len(known), 2)) if known.shift is None else known.shift
        return ParticlePlaces(np.floor(coordinates).astype(np.int64), none)
    rotation = known.rotation if any(options.centre_on) else None
    return recentre(coordinates, micrograph.pixel_size, shift=known.shift, rotation=rotation, target=options.centre_on)


def _describe(known: Particles, places: ParticlePlaces, cut: Cut, files: tuple[str, ...]) -> Particles:
    """The particles as they will be in their stack."""
    used, group = np.unique(known.group, return_inverse=True)
    micrograph, options = cut.micrograph, cut.options
    optics = tuple(
        replace(
            known.optics[k],
            pixel_size=cut.pixel_size,
            box=cut.side,
            micrograph_pixel_size=micrograph.pixel_size,
            premultiplied=options.multiply_ctf,
            dark=False,
            cut=image_cut(options, cut.box) if options.on_the_fly else None,
        )
        for k in used.tolist()
    )
    ctf = known.ctf if options.keep_defocus else None
    if ctf is None and micrograph.fit is not None:
        ctf = local_ctf(micrograph.fit, places.centre, micrograph.image_shape, micrograph.pixel_size)
    return replace(
        known,
        optics=optics,
        group=group,
        files=files,
        file=np.zeros(len(known), np.int64),
        section=np.arange(len(known)),
        coordinates=places.centre.astype(np.float64),
        shift=None if known.shift is None and not places.shift.any() else places.shift,
        ctf=ctf,
        norm=None,
    )


def _images(particles: Particles, cut: Cut) -> Iterator[tuple[slice, Float[np.ndarray, "n side side"]]]:
    """The images of the particles, some at a time, with their places in the stack."""
    how = image_cut(cut.options, cut.box)
    particles = replace(particles, optics=tuple(replace(one, cut=how) for one in particles.optics))
    return cut_in_order(particles, _read(cut.micrograph), max(1, _CHUNK // (8 * cut.box**2)))


def _write(stack: Path, particles: Particles, cut: Cut, context: Context) -> None:
    count = len(particles)
    shape, stored = (count, cut.side, cut.side), np.float16 if cut.options.float16 else np.float32
    with MrcWriter(stack, shape, cut.pixel_size, dtype=stored) as writer:
        for place, images in _images(particles, cut):
            writer[place] = images
            if place.start == 0:
                _show(images, particles, cut, context)
            context.progress(place.stop, count, "particles")


def _show(images: Float[np.ndarray, "n side side"], particles: Particles, cut: Cut, context: Context) -> None:
    """Write the report, with the first particles."""
    width, shown = cut.side * cut.pixel_size, images[:_SHOWN]
    gallery = ReportFigure(
        name="particles",
        title="Particles",
        draw=lambda theme: _gallery(shown),
        text=f"The first {len(shown)} of {len(particles):,} particles side by side, each {width:.0f} Å wide",
        caption=f"Boxes of {width:.0f} Å, each in its own greys; y points up. Matter should be bright, and particles "
        "in the middle.",
        photo=85,
    )
    ctf = particles.ctf
    defocus = np.zeros(0) if ctf is None else (ctf.defocus_u + ctf.defocus_v) / 2e4
    publish(
        context,
        f"Particles of {cut.micrograph.name}",
        [gallery],
        numbers={
            "Particles": f"{len(particles):,}",
            "Images": f"{cut.side} px of {cut.pixel_size:.4g} Å",
            "Cut as": f"{cut.box} px of {cut.micrograph.pixel_size:.4g} Å",
            "Defocus": f"{defocus.mean():.2f} µm on average" if len(defocus) else "not known",
        },
        options=cut.options,
    )


def _read(micrograph: Micrograph) -> Float[np.ndarray, "rows columns"]:
    """The micrograph.

    Raises:
        InputError: It is missing, has another size than it was picked in, or holds what is no number.
    """
    with open_images(micrograph.path) as file:
        image = file.image(0).astype(np.float32)
    if image.shape != tuple(micrograph.image_shape):
        raise InputError(
            "the micrograph has not the size that it had",
            path=micrograph.path,
            got=f"{image.shape[1]} × {image.shape[0]} px",
            expected=f"{micrograph.image_shape[1]} × {micrograph.image_shape[0]} px",
        )
    if not np.isfinite(image).all():
        wrong = int((~np.isfinite(image)).sum())
        raise InputError("the micrograph has values that are no numbers", path=micrograph.path, got=f"{wrong} pixels")
    return image


def _gallery(images: np.ndarray) -> np.ndarray:
    """Particles in rows of eight, their grey values each by themselves; the first row is the upper one."""
    shown = [np.pad(to_gray(shrink(image, 120))[::-1], 1) for image in images]
    blank = np.zeros_like(shown[0])
    shown += [blank] * (-len(shown) % 8)
    return np.concatenate([np.concatenate(shown[k : k + 8], 1) for k in range(0, len(shown), 8)])
