"""What to simulate."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from thon.algorithms.simulation.camera import CameraOptions
from thon.algorithms.simulation.motion import MotionOptions
from thon.algorithms.simulation.optics import MicroscopeOptions
from thon.base.options import Advanced, Options, Unit
from thon.data.optics import Optics


class SimulateOptions(Options):
    """What movies of single particles and of tilt series have in common."""

    target: str = "simulated"
    """Name of the new folder."""

    size: Annotated[int, Unit("px"), Ge(64), Le(16384)] = 4096
    """Rows of the frames, and columns unless given."""

    columns: Annotated[int | None, Unit("px"), Ge(64), Le(16384)] = None
    """Columns of the frames."""

    format: Literal["tiff", "eer", "mrc"] = "tiff"
    """Of the movies: LZW-compressed TIFF, EER, or MRC."""

    bfactor: Annotated[float | None, Unit("Å²"), Ge(0)] = None
    """B-factor of all atoms, in place of the model's own."""

    contour: Annotated[float | None, Unit("1")] = None
    """For a map: voxels below are left out; the mean and three deviations unless given."""

    ice: bool = True
    """Noise of vitreous ice."""

    carbon: Annotated[float, Unit("Å"), Ge(0)] = 0.0
    """Thickness of a carbon film."""

    mean_free_path: Annotated[float, Unit("Å"), Gt(0)] = 4000.0
    """In ice; electrons that lose energy are filtered out."""

    damage: bool = True
    """Radiation damage."""

    truth_images: bool = False
    """Also write each image without noise, damage and motion."""

    microscope: MicroscopeOptions = MicroscopeOptions()
    """Lens."""

    camera: Annotated[CameraOptions, Advanced()] = CameraOptions()
    """Camera."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the frames."""
        return self.size, self.columns or self.size

    @property
    def optics(self) -> Optics:
        """The microscope's constants."""
        return Optics(self.microscope.voltage, self.microscope.cs, self.microscope.amplitude_contrast)


class SimulateSpaOptions(SimulateOptions):
    """Movies of single particles to simulate."""

    movies: Annotated[int, Unit("1"), Ge(1), Le(100000)] = 4
    """Number of movies."""

    pixel_size: Annotated[float, Unit("Å"), Gt(0.1), Lt(20)] = 0.885
    """Of the frames."""

    frames: Annotated[int, Unit("1"), Ge(1), Le(5000)] = 40
    """Frames of a movie; raw frames for EER."""

    dose: Annotated[float, Unit("e/Å²"), Gt(0)] = 40.0
    """Exposure of a movie."""

    density: Annotated[float, Unit("1/µm²"), Gt(0)] = 1000.0
    """Particles on the grid, as far as they fit without overlap."""

    thickness: Annotated[float, Unit("Å"), Gt(0)] = 350.0
    """Of the ice."""

    motion: MotionOptions = MotionOptions()
    """How the specimen moves."""


class SimulateTomoOptions(SimulateOptions):
    """Tilt series to simulate."""

    series: Annotated[int, Unit("1"), Ge(1), Le(1000)] = 1
    """Number of tilt series."""

    pixel_size: Annotated[float, Unit("Å"), Gt(0.1), Lt(50)] = 1.7
    """Of the frames."""

    frames: Annotated[int, Unit("1"), Ge(1), Le(1000)] = 8
    """Frames of each tilt; raw frames for EER."""

    dose: Annotated[float, Unit("e/Å²"), Gt(0)] = 3.0
    """Exposure of each tilt."""

    max_tilt: Annotated[float, Unit("degrees"), Gt(0), Lt(80)] = 60.0
    """Largest tilt, on either side."""

    step: Annotated[float, Unit("degrees"), Gt(0), Le(80)] = 3.0
    """Between neighbouring tilts."""

    order: Literal["symmetric", "ascending"] = "symmetric"
    """How tilts are taken: from zero outwards on alternating sides, or from one end to the other."""

    tilt_axis: Annotated[float, Unit("degrees")] = 84.0
    """As the microscope states it, anticlockwise from +y; the true one differs by up to 1°."""

    hand: Literal["+", "-"] = "+"
    """Sign of the change of defocus with height, as RELION's rlnTomoHand."""

    density: Annotated[float, Unit("1/µm³"), Gt(0)] = 3000.0
    """Particles in the ice, as far as they fit without overlap."""

    thickness: Annotated[float, Unit("Å"), Gt(0)] = 1500.0
    """Of the ice."""

    beads: Annotated[float, Unit("1/µm²"), Ge(0)] = 30.0
    """Gold beads."""

    bead_diameter: Annotated[float, Unit("Å"), Gt(0)] = 100.0
    """Of the gold beads."""

    tracking: Annotated[float, Unit("Å"), Ge(0)] = 150.0
    """How far the stage lets the specimen go astray between tilts, standard deviation."""

    motion: MotionOptions = MotionOptions(drift=4.0, decay=1.5, local=1.0)
    """How the specimen moves during each tilt."""

    microscope: MicroscopeOptions = MicroscopeOptions(defocus=(20000.0, 40000.0))
    """Lens."""
