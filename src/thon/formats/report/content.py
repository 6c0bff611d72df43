"""Everything that a report can show; what is absent is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Shaped
from pydantic_core import PydanticUndefined

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics
from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import TiltSeries
from thon.data.volume import Tomogram


@dataclass(frozen=True)
class CentralSlices:
    """Three slices through a tomogram's centre.

    Args:
        xy: (y, x) at the middle z.
        xz: (z, x) at the middle y.
        yz: (z, y) at the middle x.
        voxel_size: Å.
    """

    xy: Shaped[np.ndarray, "y x"]
    xz: Shaped[np.ndarray, "z x2"]
    yz: Shaped[np.ndarray, "z2 y2"]
    voxel_size: float

    def __post_init__(self) -> None:
        (y, x), z = self.xy.shape, self.xz.shape[0]
        if self.xz.shape != (z, x) or self.yz.shape != (z, y):
            raise InputError("slices do not fit together", got=(self.xy.shape, self.xz.shape, self.yz.shape))


@dataclass(frozen=True)
class FscCurve:
    """Fourier shell correlation of two half volumes.

    Args:
        frequency: Å⁻¹, ascending.
        value: Correlation, −1 to 1.
    """

    frequency: Float[np.ndarray, "shells"]
    value: Float[np.ndarray, "values"]

    def __post_init__(self) -> None:
        if self.frequency.shape != self.value.shape:
            raise InputError(
                "FSC and frequencies differ in number", got=self.value.shape, expected=self.frequency.shape
            )

    def resolution(self, threshold: float = 0.143) -> float | None:
        """Å at which the curve first falls below the threshold, by linear interpolation; None if it never does."""
        value, frequency = self.value, self.frequency
        below = np.flatnonzero((value[1:] < threshold) & (value[:-1] >= threshold))
        if not below.size:
            return None
        k = int(below[0])
        crossing = np.interp(-threshold, -value[k : k + 2], frequency[k : k + 2])
        return float(1 / crossing) if crossing > 0 else None


@dataclass(frozen=True)
class ChangedOption:
    """An option that differs from its default; the unit is empty for ratios, counts and words."""

    name: str
    value: object
    default: object
    unit: str = ""
    help: str = ""


def changed_options(options: Options, prefix: str = "") -> tuple[ChangedOption, ...]:
    """The fields that differ from their defaults; nested options are named with dots."""
    changed: list[ChangedOption] = []
    for name, info in type(options).model_fields.items():
        value, default = getattr(options, name), info.get_default(call_default_factory=True, validated_data={})
        if isinstance(value, Options) and type(value) is type(default):
            changed += changed_options(value, f"{prefix}{name}.")
        elif default is PydanticUndefined or value != default:
            units = [entry.symbol for entry in info.metadata if isinstance(entry, Unit) and entry.symbol != "1"]
            shown = None if default is PydanticUndefined else default
            changed.append(ChangedOption(prefix + name, value, shown, "".join(units[:1]), info.description or ""))
    return tuple(changed)


@dataclass(frozen=True)
class ReportContent:
    """What is known about one tilt series; anything but the title may be missing.

    Args:
        title: Name of the series.
        series: The series; an `AlignedTiltSeries` brings its diagnostics.
        nominal: Geometry before the alignment, to show what was corrected.
        aligned: Small aligned images with the tilt axis upright, one per image of the series, rows counting upwards.
        aligned_pixel_size: Their pixel size, Å.
        raw: Small raw images, one per image of the series, for the excluded ones and behind the residuals.
        slices: Central slices of the tomogram.
        tomogram: The tomogram.
        fsc: Correlation of the even and odd volumes.
        understood: What was understood from the input, by name.
        options: Options that differ from their defaults; None where they are not known.
        seconds: Time by stage, s; those of the alignment unless given.
        limit_share: By stage, the achieved fraction of what the hardware could do, 0 to 1.
        versions: Versions by program, and the machine, by name.
        warnings: Sentences for people, besides those of the alignment.
    """

    title: str
    series: TiltSeries | None = None
    nominal: TiltGeometry | None = None
    aligned: Shaped[np.ndarray, "tilts rows columns"] | None = None
    aligned_pixel_size: float | None = None
    raw: Shaped[np.ndarray, "raw_tilts raw_rows raw_columns"] | None = None
    slices: CentralSlices | None = None
    tomogram: Tomogram | None = None
    fsc: FscCurve | None = None
    understood: dict[str, str] = field(default_factory=dict[str, str])
    options: tuple[ChangedOption, ...] | None = None
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    limit_share: dict[str, float] = field(default_factory=dict[str, float])
    versions: dict[str, str] = field(default_factory=dict[str, str])
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("nominal", "aligned", "raw"):
            value = getattr(self, name)
            if value is not None and (self.series is None or len(value) != len(self.series)):
                expected = "a series" if self.series is None else len(self.series)
                raise InputError(f"{name} and the series of the report differ", got=len(value), expected=expected)

    @property
    def diagnostics(self) -> AlignmentDiagnostics | None:
        """Diagnostics of the alignment, if there was one."""
        return self.series.diagnostics if isinstance(self.series, AlignedTiltSeries) else None

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """Warnings of the alignment and of the rest, each once."""
        found = () if self.diagnostics is None else self.diagnostics.warnings
        return tuple(dict.fromkeys((*found, *self.warnings)))

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Time by stage, s."""
        return self.seconds or ({} if self.diagnostics is None else self.diagnostics.seconds)
