"""RELION's optimiser star: which files belong to an iteration, and how it was made.

What is written says how RELION would go on; what RELION needs and has no meaning here gets RELION's defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thon.base.errors import FormatError
from thon.formats.relion_table import file_value, number_text, row_number
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import PathLike


@dataclass(frozen=True, kw_only=True)
class RelionOptimiser:
    """An iteration of RELION's.

    Args:
        root: What its files' names begin with, counted from the project: `Class3D/job012/run`.
        model: Model star, counted from the project.
        data: Particle star.
        sampling: Sampling star.
        iteration: Its number; −1 for the last one of a refinement that has converged.
        iterations: Number of iterations asked for.
        diameter: Of the circular mask, Å.
        mask: Solvent mask; None for a sphere.
        refine: Whether it is a refinement of two halves.
        seed: For everything random.
    """

    root: str
    model: str
    data: str
    sampling: str
    iteration: int
    iterations: int
    diameter: float
    mask: str | None = None
    refine: bool = False
    seed: int = 0


def read_optimiser(path: PathLike) -> RelionOptimiser:
    """Read an optimiser star.

    Raises:
        InputError: There is no such file.
        FormatError: It is none, or a number in it is none.
    """
    path = Path(path)
    pairs = read_star(path).get("optimiser_general", StarBlock()).pairs
    needed = {"root": "rlnOutputRootName", "data": "rlnExperimentalDataStarFile"}
    missing = next((label for label in needed.values() if label not in pairs), None)
    if missing is not None:
        raise FormatError("is no optimiser star", path=path, expected=missing)
    refine = bool(row_number(path, pairs, "rlnDoAutoRefine"))
    return RelionOptimiser(
        **{name: pairs[label] for name, label in needed.items()},
        # A running refinement has a model for each half.
        model=pairs.get("rlnModelStarFile", pairs.get("rlnModelStarFile2", "")),
        sampling=pairs.get("rlnOrientSamplingStarFile", ""),
        iteration=round(row_number(path, pairs, "rlnCurrentIteration") or 0),
        iterations=round(row_number(path, pairs, "rlnNumberOfIterations") or 0),
        diameter=row_number(path, pairs, "rlnParticleDiameter") or -1.0,
        mask=file_value(pairs.get("rlnSolventMaskName")),
        refine=refine,
        seed=round(row_number(path, pairs, "rlnRandomSeed") or 0),
    )


def write_optimiser(path: PathLike, optimiser: RelionOptimiser) -> None:
    """Write an optimiser star that RELION 3.1 to 5 read."""
    own = {
        "rlnOutputRootName": optimiser.root,
        "rlnModelStarFile": optimiser.model,
        "rlnExperimentalDataStarFile": optimiser.data,
        "rlnOrientSamplingStarFile": optimiser.sampling,
        "rlnCurrentIteration": str(optimiser.iteration),
        "rlnNumberOfIterations": str(optimiser.iterations),
        "rlnJoinHalvesUntilThisResolution": "40.000000" if optimiser.refine else "-1.000000",
        "rlnRandomSeed": str(optimiser.seed),
        "rlnParticleDiameter": number_text(optimiser.diameter),
        "rlnSolventMaskName": optimiser.mask or "None",
        "rlnDoAutoRefine": str(int(optimiser.refine)),
        "rlnDoAutoSampling": str(int(optimiser.refine)),
        "rlnHasConverged": str(int(optimiser.refine)),
    }
    write_star(
        path, {"optimiser_general": StarBlock(own | {label: own.get(label, text) for label, text in _DEFAULTS.items()})}
    )


_DEFAULTS = {
    "rlnDoSplitRandomHalves": "0",
    "rlnAdaptiveOversampleOrder": "1",
    "rlnAdaptiveOversampleFraction": "0.999000",
    "rlnWidthMaskEdge": "5",
    "rlnDoZeroMask": "1",
    "rlnDoSolventFlattening": "1",
    "rlnDoSolventFscCorrection": "0",
    "rlnSolventMask2Name": "None",
    "rlnBodyStarFile": "None",
    "rlnTauSpectrumName": "None",
    "rlnMaximumCoarseImageSize": "-1",
    "rlnHighresLimitExpectation": "-1.000000",
    "rlnLowresLimitExpectation": "-1.000000",
    "rlnIncrementImageSize": "10",
    "rlnDoMapEstimation": "1",
    "rlnDoFastSubsetOptimisation": "0",
    "rlnDoExternalReconstruct": "0",
    "rlnDoStochasticGradientDescent": "0",
    "rlnDoStochasticEM": "0",
    "rlnSgdInitialIterations": "50",
    "rlnSgdFinalIterations": "50",
    "rlnSgdInBetweenIterations": "200",
    "rlnSgdInitialResolution": "35.000000",
    "rlnSgdFinalResolution": "15.000000",
    "rlnSgdInitialSubsetSize": "100",
    "rlnSgdFinalSubsetSize": "500",
    "rlnSgdMuFactor": "0.000000",
    "rlnSgdSigma2FudgeInitial": "8.000000",
    "rlnSgdSigma2FudgeHalflife": "-1",
    "rlnSgdSkipAnneal": "0",
    "rlnSgdSubsetSize": "-1",
    "rlnSgdWriteEverySubset": "1",
    "rlnSgdStepsize": "0.500000",
    "rlnAutoLocalSearchesHealpixOrder": "4",
    "rlnNumberOfIterWithoutResolutionGain": "0",
    "rlnBestResolutionThusFar": "0.000000",
    "rlnNumberOfIterWithoutChangingAssignments": "0",
    "rlnDoSkipAlign": "0",
    "rlnDoSkipRotate": "0",
    "rlnOverallAccuracyRotations": "999.000000",
    "rlnOverallAccuracyTranslationsAngst": "999.000000",
    "rlnChangesOptimalOrientations": "999.000000",
    "rlnChangesOptimalOffsets": "999.000000",
    "rlnChangesOptimalClasses": "999.000000",
    "rlnSmallestChangesOrientations": "999.000000",
    "rlnSmallestChangesOffsets": "999.000000",
    "rlnSmallestChangesClasses": "9999999",
    "rlnLocalSymmetryFile": "None",
    "rlnDoHelicalRefine": "0",
    "rlnIgnoreHelicalSymmetry": "0",
    "rlnFourierMask": "None",
    "rlnHelicalTwistInitial": "0.000000",
    "rlnHelicalRiseInitial": "0.000000",
    "rlnHelicalCentralProportion": "0.300000",
    "rlnNrHelicalNStart": "1",
    "rlnHelicalMaskTubeInnerDiameter": "-1.000000",
    "rlnHelicalMaskTubeOuterDiameter": "-1.000000",
    "rlnHelicalSymmetryLocalRefinement": "0",
    "rlnHelicalSigmaDistance": "-1.000000",
    "rlnHelicalKeepTiltPriorFixed": "0",
    "rlnHasHighFscAtResolLimit": "0",
    "rlnHasLargeSizeIncreaseIterationsAgo": "0",
    "rlnDoCorrectNorm": "1",
    "rlnDoCorrectScale": "1",
    "rlnDoCorrectCtf": "1",
    "rlnDoCenterClasses": "0",
    "rlnDoIgnoreCtfUntilFirstPeak": "0",
    "rlnCtfDataArePhaseFlipped": "0",
    "rlnDoOnlyFlipCtfPhases": "0",
    "rlnRefsAreCtfCorrected": "1",
    "rlnFixSigmaNoiseEstimates": "0",
    "rlnFixSigmaOffsetEstimates": "0",
    "rlnMaxNumberOfPooledParticles": "30",
}
