"""How a tilt series is aligned, and what that will cost."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from thon.algorithms.bead_tracking import BeadTrackingOptions
from thon.algorithms.bundle import BundleOptions
from thon.algorithms.dark_tilts import DarkTiltOptions
from thon.algorithms.joint_refinement import JointRefinementOptions
from thon.algorithms.sample_thickness import ThicknessOptions
from thon.base.options import Advanced, Options, Unit


class AlignTiltsOptions(Options):
    """How a tilt series is aligned."""

    method: Literal["patches", "beads"] = "patches"
    """patches: without markers. beads: on gold beads that are found and tracked."""

    axis_range: Annotated[float, Unit("degrees"), Ge(0), Le(90)] = 10.0
    """How far from the stated tilt axis it is searched; 0 starts from there. Unstated, half a turn is searched."""

    max_size: Annotated[int, Unit("px"), Ge(256), Le(4096)] = 1100
    """Images are binned by a whole number until their longer side is at most this."""

    patch_size: Annotated[int, Unit("px"), Ge(32), Le(512)] = 64
    """Side of the square patches that are compared, in pixels of the binned images."""

    patches: Annotated[int | None, Unit("1"), Ge(3), Le(40)] = None
    """Patches along each side; enough to cover the image if not given."""

    max_frequency: Annotated[float, Unit("cycles/px"), Gt(0), Lt(0.5), Advanced()] = 0.35
    """Finest detail that is compared, in the binned images."""

    rounds: Annotated[int, Unit("1"), Ge(1), Le(20), Advanced()] = 3
    """Rounds of measuring and solving at each of the two fine stages."""

    starts: Annotated[int, Unit("1"), Ge(1), Le(6), Advanced()] = 2
    """Coarse alignments that are tried with different bands; the best is kept."""

    local: bool = True
    """Measure local motion, as a smooth field in each image."""

    center: bool = True
    """Put the middle of the sample at z = 0."""

    level: bool = False
    """Turn the sample so that its mid-plane is horizontal."""

    keep: tuple[int, ...] = ()
    """Images never to leave out, whatever they look like."""

    region: tuple[float, float, float, float] | None = None
    """Part of the specimen to align on: lower and upper y, lower and upper x, as shares of the image from 0 to 1."""

    dark: DarkTiltOptions = DarkTiltOptions()
    """Which images are left out as dark, blocked or empty."""

    beads: BeadTrackingOptions = BeadTrackingOptions()
    """How beads are found and followed."""

    bundle: Annotated[BundleOptions, Advanced()] = BundleOptions()
    """Freedom of the bundle adjustment on beads."""

    joint: Annotated[JointRefinementOptions, Advanced()] = JointRefinementOptions()
    """Freedom of the joint refinement."""

    thickness: Annotated[ThicknessOptions, Advanced()] = ThicknessOptions()
    """How the sample's thickness is measured."""


def alignment_memory(tilts: int, image_shape: tuple[int, int], options: AlignTiltsOptions) -> tuple[int, float]:
    """Peak memory in bytes, and CPU seconds on one core, that an alignment will take."""
    factor = max(1, -(-max(image_shape) // options.max_size))
    pixels = tilts * (image_shape[0] // factor) * (image_shape[1] // factor)
    patches = options.patches or patches_per_side(max(image_shape) // factor, options.patch_size)
    size = options.patch_size
    spectra = 3 * 8 * tilts * patches**2 * (0.7 * size) * (0.36 * size)
    # Images twice, unrolled ones and their masks, spectra with their working copies, and PyTorch itself.
    memory = 5 * 4 * pixels * 1.2 + spectra + 4 * 16 * max(image_shape) ** 2 + 750e6
    seconds = 12 + 1e-8 * tilts * image_shape[0] * image_shape[1] + 3e-3 * tilts * patches**2 + 3e-7 * pixels
    return int(memory), seconds


def patches_per_side(size: int, patch_size: int) -> int:
    """Patches along each side of an image: they overlap by a third, but are at most 16."""
    return int(np.clip(round(size / (0.65 * patch_size)), 6, 16))
