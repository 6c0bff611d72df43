"""Every tunable of the reconstruction."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import model_validator

from thon.algorithms.ctf_correction import CtfCorrectionOptions
from thon.base.options import Advanced, Options, Provided, Unit
from thon.ops.filters import Window

Method = Literal["BPT", "WBP", "FBP", "SIRT", "SART", "ADMM", "CG"]
Orientation = Literal["xyz", "xzy"]
Hand = Literal["same", "mirrored"]
Precision = Literal["float32", "float16", "int8"]


class FilterOptions(Options):
    """Filter across the tilt axis, for WBP and FBP."""

    window: Window = "none"
    """Factor on the weights that falls towards the Nyquist frequency."""

    cutoff: Annotated[float, Unit("1/voxel"), Gt(0), Le(0.71)] = 0.35
    """Frequency beyond which a Gaussian dampens, as the first number of IMOD's RADIAL."""

    falloff: Annotated[float, Unit("1/voxel"), Ge(0)] = 0.035
    """Standard deviation of that Gaussian, as the second number of IMOD's RADIAL."""

    sirt_iterations: Annotated[int, Unit("1"), Ge(0)] = 0
    """Dampen as this many SIRT iterations would; 0 for the full weights."""

    support: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Thickness of the specimen by which WBP finds how many views overlap; that of the volume if not given."""


class IterationOptions(Options):
    """Settings of SIRT, SART, CG and ADMM."""

    number: Annotated[int, Unit("1"), Ge(1), Le(1000)] = 10
    """Iterations; of SART: passes over all tilts; of ADMM: outer iterations."""

    tolerance: Annotated[float, Unit("1"), Ge(0), Le(1)] = 0.0
    """Stop when the residual, relative to the images, is below this. 0 never stops early. All rows stop together, hence
    a tolerance needs the whole volume at once."""

    relaxation: Annotated[float | None, Unit("1"), Gt(0), Le(2)] = None
    """Step length of SIRT (1 if not given) and SART (0.3 if not given)."""

    subset: Annotated[int, Unit("tilts"), Ge(1)] = 4
    """Tilts that SART takes at a time."""

    positive: bool = False
    """Keep every voxel at zero or above. SIRT, SART and ADMM. Needs images in which matter is bright, see `invert` and
    `background`."""

    extension: Annotated[float, Unit("1"), Ge(0), Le(4)] = 0.25
    """Height solved in addition above and below, as a share of the thickness. It takes up what lies outside a thin
    volume and would streak; it is cut off in the end."""


class AdmmOptions(Options):
    """Regularisation by ADMM. Strengths are relative to the standard deviation of the images over √tilts."""

    total_variation: Annotated[float, Unit("1"), Ge(0)] = 0.5
    """Weight of the isotropic total variation, which favours even regions with sharp borders."""

    sparsity: Annotated[float, Unit("1"), Ge(0)] = 0.0
    """Weight of the sum of the voxels' absolute values, which favours an empty volume."""

    penalty: Annotated[float, Unit("1"), Gt(0)] = 2.0
    """Stiffness of the coupling between volume and split variables; changes the speed, not the limit."""

    inner: Annotated[int, Unit("1"), Ge(1), Le(100)] = 4
    """Conjugate-gradient steps in each outer iteration."""


class ReconstructOptions(Options):
    """How a tilt series becomes a volume."""

    method: Method = "WBP"
    """BPT: plain back-projection. WBP: exact view-density weights. FBP: ramp. SIRT, SART, CG: least squares by
    iteration. ADMM: least squares with total variation or sparsity."""

    bin: Annotated[float | None, Unit("1"), Ge(1), Le(64)] = None
    """Voxel size over the images' pixel size; any number. The images are cropped in Fourier space, without aliasing.
    If not given, the whole number that brings voxels nearest to 10 Å."""

    thickness: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Extent of the volume along z. Without this and `thickness_px`: as measured, else 3000 Å."""

    thickness_px: Annotated[int | None, Unit("px"), Gt(0)] = None
    """The same in pixels of the images, unbinned, as IMOD's THICKNESS."""

    margin: Annotated[float, Unit("1"), Ge(0), Le(2)] = 0.15
    """Added to a measured thickness on either side, as a share of it."""

    width: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Extent along x, perpendicular to the tilt axis; that of the images if not given."""

    length: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Extent along y, the tilt axis; that of the images if not given."""

    tilt_offset: Annotated[float, Unit("°"), Ge(-90), Le(90)] = 0.0
    """Added to every tilt: levels the sample along x."""

    pitch: Annotated[float, Unit("°"), Ge(-60), Le(60)] = 0.0
    """Added to every x-tilt: levels the sample along y."""

    z_shift: Annotated[float, Unit("Å")] = 0.0
    """Height of the volume's centre above the specimen's origin."""

    background: Literal["mean", "none"] = "mean"
    """Subtract each image's mean, so that the volume shows the density above or below its surroundings."""

    invert: bool = False
    """Flip the contrast, so that matter, dark in the images, becomes positive."""

    ctf: CtfCorrectionOptions = CtfCorrectionOptions()
    """What is done about the CTF."""

    dose_weight: bool = True
    """Weight each frequency of each image by what the exposure so far has left of the signal there, so that noise of
    late images does not drown early ones. Images without a known exposure, or weighted before, stay as they are."""

    filter: FilterOptions = FilterOptions()
    """Filter of WBP and FBP."""

    iterations: IterationOptions = IterationOptions()
    """Iterations of SIRT, SART, CG and ADMM."""

    admm: AdmmOptions = AdmmOptions()
    """Regularisation of ADMM."""

    halves: bool = False
    """Also make two volumes of independent data, and their FSC."""

    halves_from: Literal["auto", "tilts", "frames"] = "auto"
    """What the halves are made of. tilts: every other image in the order of acquisition. frames: all images, from the
    even and the odd frames of each. auto: frames where the series has such images."""

    orientation: Orientation = "xyz"
    """Order of the axes in the output, fastest first. xyz: sections are planes of the specimen. xzy: sections are
    perpendicular to the tilt axis, as IMOD's tilt writes them."""

    hand: Hand = "same"
    """same: z rises as in thon's and RELION's convention. mirrored: sections run the other way along z, as IMOD's."""

    precision: Precision = "float32"
    """Number format of the output. int8 maps the mean ± `int8_range` standard deviations to ±127."""

    int8_range: Annotated[float, Unit("1"), Gt(0), Advanced()] = 6.0
    """Standard deviations from the mean that int8 can hold; what is beyond is clipped."""

    memory: Annotated[float, Unit("GB"), Gt(0), Provided()] = 4.0
    """Memory that may be used. Smaller slabs, and files in place of arrays, keep within it."""

    strategy: Annotated[Literal["auto", "slabs", "whole"], Advanced()] = "auto"
    """slabs: one after the other, where rows do not depend on each other. whole: all rows together."""

    threads: Annotated[int, Unit("1"), Ge(0), Provided()] = 1
    """Threads; 0 leaves the number to PyTorch."""

    @model_validator(mode="after")
    def _fits(self) -> ReconstructOptions:
        if self.iterations.positive and self.method not in ("SIRT", "SART", "ADMM"):
            raise ValueError(f"positivity needs SIRT, SART or ADMM; {self.method} is linear")
        if self.thickness is not None and self.thickness_px is not None:
            raise ValueError("give the thickness in Å or in pixels, not both")
        if self.strategy == "slabs" and self.couples_rows:
            raise ValueError("total variation, or a tolerance, couples all rows: strategy 'slabs' cannot do it")
        return self

    def bin_for(self, pixel_size: float) -> float:
        """The bin to use for images of a pixel size, Å."""
        return float(max(1, round(10 / pixel_size))) if self.bin is None else self.bin

    @property
    def iterative(self) -> bool:
        """Whether the method solves a system by iteration."""
        return self.method in ("SIRT", "SART", "ADMM", "CG")

    @property
    def couples_rows(self) -> bool:
        """Whether neighbouring rows depend on each other whatever the geometry."""
        if not self.iterative:
            return False
        return self.iterations.tolerance > 0 or (self.method == "ADMM" and self.admm.total_variation > 0)
