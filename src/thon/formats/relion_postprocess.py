"""RELION's postprocess.star: resolution, B-factor, the FSC curves and the Guinier plot of a post-processed map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError
from thon.data.maps import GuinierPlot, SharpenedMap, ShellCurves
from thon.formats.relion_table import relative_name
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import PathLike

_CURVES = {
    "corrected": "rlnFourierShellCorrelationCorrected",
    "unmasked": "rlnFourierShellCorrelationUnmaskedMaps",
    "masked": "rlnFourierShellCorrelationMaskedMaps",
    "randomised": "rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
}
_LOGARITHMS = {
    "original": "rlnLogAmplitudesOriginal",
    "weighted": "rlnLogAmplitudesWeighted",
    "sharpened": "rlnLogAmplitudesSharpened",
}


@dataclass(frozen=True)
class PostprocessStar:
    """What such a file says.

    Args:
        resolution: Å.
        b_factor: Å²; NaN where the map was not sharpened.
        curves: FSCs.
        guinier: The Guinier plot, where there is one.
        half_maps: Names of the half maps.
        mask: Name of the mask, if there was one.
    """

    resolution: float
    b_factor: float
    curves: ShellCurves
    guinier: GuinierPlot | None
    half_maps: tuple[str, str]
    mask: str | None


def read_postprocess(path: PathLike) -> PostprocessStar:
    """Read a postprocess.star of RELION or of thon.

    Raises:
        InputError: There is no such file.
        FormatError: It is none.
    """
    blocks = read_star(path)
    if "general" not in blocks or "fsc" not in blocks:
        raise FormatError("is no postprocess.star", path=path, expected="data_general and data_fsc")
    pairs, fsc = blocks["general"].pairs, blocks["fsc"]
    known = {name: fsc.numbers(label) for name, label in _CURVES.items() if label in fsc.columns}
    if "unmasked" not in known:
        known["unmasked"] = known.pop("corrected", fsc.numbers("rlnFourierShellCorrelationCorrected"))
    return PostprocessStar(
        resolution=_number(pairs.get("rlnFinalResolution")),
        b_factor=_number(pairs.get("rlnBfactorUsedForSharpening")),
        curves=ShellCurves(fsc.numbers("rlnResolution"), **known),
        guinier=_guinier(blocks.get("guinier"), pairs),
        half_maps=(pairs.get("rlnUnfilteredMapHalf1", ""), pairs.get("rlnUnfilteredMapHalf2", "")),
        mask=pairs.get("rlnMaskName"),
    )


def write_postprocess(path: PathLike, found: SharpenedMap, masked: Path | None, project: PathLike) -> None:
    """Write what was found as RELION does, so that its jobs (polishing, model building) take it.

    Args:
        path: File to write.
        found: The map with its curves.
        masked: The sharpened map within its mask, where there is one.
        project: Folder from which file names count.
    """
    general = {
        "rlnFinalResolution": f"{found.resolution:.6f}",
        "rlnBfactorUsedForSharpening": f"{found.b_factor:.6f}",
        "rlnUnfilteredMapHalf1": relative_name(found.first.path, project),
        "rlnUnfilteredMapHalf2": relative_name(found.second.path, project),
        "rlnPostprocessedMap": relative_name(found.volume.path, project),
    }
    if found.mask is not None and masked is not None:
        general["rlnMaskName"] = relative_name(found.mask.path, project)
        general["rlnPostprocessedMapMasked"] = relative_name(masked, project)
    if found.guinier is not None and np.isfinite(found.guinier.slope):
        general["rlnFittedSlopeGuinierPlot"] = f"{found.guinier.slope:.6f}"
        general["rlnFittedInterceptGuinierPlot"] = f"{found.guinier.intercept:.6f}"
        general["rlnCorrelationFitGuinierPlot"] = f"{found.guinier.correlation:.6f}"
    blocks = {"general": StarBlock(general)}
    if found.curves is not None:
        blocks["fsc"] = StarBlock(columns=_fsc_columns(found.curves))
    if found.guinier is not None:
        values = {label: getattr(found.guinier, name) for name, label in _LOGARITHMS.items()}
        blocks["guinier"] = StarBlock(columns=_texts({"rlnResolutionSquared": found.guinier.frequency2} | values))
    write_star(path, blocks)


def _fsc_columns(curves: ShellCurves) -> dict[str, list[str]]:
    """RELION states a shell's resolution also in Å, with 999 for zero frequency."""
    length = np.divide(1, curves.frequency, out=np.full(len(curves.frequency), 999.0), where=curves.frequency > 0)
    best = {"rlnFourierShellCorrelationCorrected": curves.best}
    others = {label: getattr(curves, name) for name, label in _CURVES.items() if name != "corrected"}
    known = {label: values for label, values in others.items() if values is not None}
    index = [str(k) for k in range(len(curves.frequency))]
    numbers = {"rlnResolution": curves.frequency, "rlnAngstromResolution": length} | best | known
    return {"rlnSpectralIndex": index} | _texts(numbers)


def _texts(columns: dict[str, Float[np.ndarray, "rows"]]) -> dict[str, list[str]]:
    return {label: [f"{value:.6f}" for value in values] for label, values in columns.items()}


def _guinier(block: StarBlock | None, pairs: Mapping[str, str]) -> GuinierPlot | None:
    if block is None or any(label not in block.columns for label in _LOGARITHMS.values()):
        return None
    original, weighted, sharpened = (block.numbers(label) for label in _LOGARITHMS.values())
    names = ("rlnFittedSlopeGuinierPlot", "rlnFittedInterceptGuinierPlot", "rlnCorrelationFitGuinierPlot")
    slope, intercept, correlation = (_number(pairs.get(name)) for name in names)
    squares = block.numbers("rlnResolutionSquared")
    return GuinierPlot(squares, original, weighted, sharpened, slope, intercept, correlation)


def _number(text: str | None) -> float:
    return float("nan") if text is None else float(text)
