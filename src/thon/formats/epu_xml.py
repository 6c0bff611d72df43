"""The `.xml` that EPU writes beside each image: optics, exposure, stage and the shifts of beam and image."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from thon.base.errors import FormatError
from thon.formats.image_stack import no_such_file
from thon.formats.xml_tree import parse_xml


@dataclass(frozen=True)
class EpuImage:
    """What EPU says about an image; None where it does not.

    Args:
        pixel_size: Å.
        voltage: kV.
        exposure: At the specimen, e/Å².
        exposure_on_camera: In a pixel of the image, e.
        exposure_time: s.
        frames: Fractions of the movie.
        defocus: Asked for, underfocus positive, Å.
        beam_shift: (y, x) in the microscope's units; images whose shifts are alike belong to one exposure group.
        beam_tilt: (y, x), the same units.
        image_shift: (y, x), the same units.
        phase_plate: Whether one was in.
        tilt: Of the stage, degrees.
        stage: Position (z, y, x), Å.
        magnification: Nominal.
        energy_slit: Width of the energy filter's slit, eV; None also where it was out.
        counting: Whether electrons were counted.
        super_resolution: Samples across a pixel of the sensor.
        binning: Pixels of the sensor across one of the image.
        detector: Commercial name.
        instrument: Microscope.
        time: When it was taken, by the microscope's clock, without its time zone.
    """

    pixel_size: float | None = None
    voltage: float | None = None
    exposure: float | None = None
    exposure_on_camera: float | None = None
    exposure_time: float | None = None
    frames: int | None = None
    defocus: float | None = None
    beam_shift: tuple[float, float] | None = None
    beam_tilt: tuple[float, float] | None = None
    image_shift: tuple[float, float] | None = None
    phase_plate: bool | None = None
    tilt: float | None = None
    stage: tuple[float, float, float] | None = None
    magnification: float | None = None
    energy_slit: float | None = None
    counting: bool | None = None
    super_resolution: int | None = None
    binning: int | None = None
    detector: str | None = None
    instrument: str | None = None
    time: datetime | None = None


def read_epu_xml(path: str | os.PathLike[str]) -> EpuImage:
    """Read EPU's `.xml` of an image. Versions differ in what they write and where; only what is there is given.

    Raises:
        InputError: If the file cannot be read.
        FormatError: If it is not XML, or not about an image of EPU.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise no_such_file(path, error) from error
    root = parse_xml(content, path, "EPU's XML")
    if root.tag != "MicroscopeImage":
        raise FormatError("not EPU's description of an image", path=path, got=root.tag, expected="MicroscopeImage")
    return _Reader(root).image()


class _Reader:
    """Looks values up by names of elements, wherever the namespaces, and by EPU's own keys."""

    def __init__(self, root: ElementTree.Element) -> None:
        self._root = root
        camera = root.find("microscopeData/acquisition/camera")
        self._camera = ElementTree.Element("camera") if camera is None else camera
        self._said = _pairs(root.find("CustomData"))
        self._input = _pairs(self._camera.find("CameraSpecificInput"))

    def image(self) -> EpuImage:
        x, y = (self._number(f"microscopeData/stage/Position/{axis}", 1e10) for axis in "XY")
        z, tilt = self._number("microscopeData/stage/Position/Z", 1e10), self._number("microscopeData/stage/Position/A")
        defocus = _number(self._said.get("AppliedDefocus"), -1e10)
        exposure = _number(self._said.get("Dose"), 1e-20)
        slit = self._text("microscopeData/optics/EnergyFilter/EnergySelectionSlitInserted")
        detector = self._said.get("BinaryResult.Detector", "")
        return EpuImage(
            pixel_size=self._number("SpatialScale/pixelSize/x/numericValue", 1e10),
            voltage=self._number("microscopeData/gun/AccelerationVoltage", 1e-3),
            exposure=exposure or None,
            exposure_on_camera=_number(
                self._said.get(f"Detectors[{detector}].TotalDose", self._said.get("DoseOnCamera"))
            ),
            exposure_time=_number(self._camera.findtext("ExposureTime")),
            frames=self._frames(),
            defocus=None if defocus is None else defocus + 0.0,
            beam_shift=self._pair("BeamShift"),
            beam_tilt=self._pair("BeamTilt"),
            image_shift=self._pair("ImageShift"),
            phase_plate=_truth(self._said.get("PhasePlateUsed")),
            tilt=None if tilt is None else math.degrees(tilt),
            stage=None if x is None or y is None or z is None else (z, y, x),
            magnification=self._number("microscopeData/optics/TemMagnification/NominalMagnification"),
            energy_slit=None
            if slit == "false"
            else self._number("microscopeData/optics/EnergyFilter/EnergySelectionSlitWidth"),
            counting=_truth(self._camera_said("ElectronCountingEnabled", f"Detectors[{detector}].ElectronCounted")),
            super_resolution=_whole(self._camera_said("SuperResolutionFactor")),
            binning=_whole(self._camera.findtext("Binning/x")),
            detector=self._said.get("DetectorCommercialName")
            or self._said.get(f"Detectors[{detector}].CommercialName")
            or self._camera.findtext("Name"),
            instrument=self._text("microscopeData/instrument/InstrumentModel"),
            time=_time(self._text("microscopeData/acquisition/acquisitionDateTime")),
        )

    def _text(self, place: str) -> str | None:
        return self._root.findtext(place)

    def _number(self, place: str, unit: float = 1.0) -> float | None:
        return _number(self._text(place), unit)

    def _pair(self, name: str) -> tuple[float, float] | None:
        y, x = (self._number(f"microscopeData/optics/{name}/_{axis}") for axis in "yx")
        return None if y is None or x is None else (y, x)

    def _camera_said(self, *keys: str) -> str | None:
        """What the camera's own settings say, or else the image's; EPU has moved some of them."""
        found = (values.get(key) for key in keys for values in (self._input, self._said))
        return next((value for value in found if value is not None), None)

    def _frames(self) -> int | None:
        whole = _whole(next((found.text for found in self._camera.iter("NumberOffractions")), None))
        # Falcon 3: the fractions are listed one by one.
        return whole or len(list(self._camera.iter("DoseFractionDefinition"))) or None


def _pairs(parent: ElementTree.Element | None) -> dict[str, str]:
    """Keys and values, as EPU writes what has no element of its own."""
    if parent is None:
        return {}
    found = ((pair.findtext("Key"), pair.findtext("Value")) for pair in parent.iter("KeyValueOfstringanyType"))
    return {key: value for key, value in found if key and value is not None}


def _number(text: str | None, unit: float = 1.0) -> float | None:
    try:
        value = float(text or "nan") * unit
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    value = _number(text)
    return None if value is None or value != int(value) else int(value)


def _truth(text: str | None) -> bool | None:
    return {"true": True, "false": False}.get((text or "").strip().lower())


def _time(text: str | None) -> datetime | None:
    """ISO 8601; .NET writes seven decimals of a second."""
    try:
        return datetime.fromisoformat((text or "")[:19])
    except ValueError:
        return None
