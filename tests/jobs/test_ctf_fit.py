"""The CTF job hands over what it is told of the specimen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.algorithms.ctf_micrographs import Scene, simulate
from thon.data.ctf import SpecimenTilt
from thon.data.micrograph import Micrograph
from thon.data.optics import Optics
from thon.formats.images import write_images
from thon.job.context import Context
from thon.jobs.ctf_fit import CtfFitJobOptions, ctf_fit


def test_an_inclination_that_is_given_is_used(tmp_path: Path) -> None:
    scene = Scene((512, 512), defocus_u=22300, defocus_v=22000, tilt=45, axis=30, dose=40, b_factor=50)
    write_images(tmp_path / "tilted.mrc", simulate(scene), 1.35)
    micrograph = Micrograph("tilted", str(tmp_path / "tilted.mrc"), (512, 512), 1.35, Optics(300.0, 2.7, 0.07))
    options = CtfFitJobOptions(tilt="given", specimen_tilt=45.0, specimen_axis=30.0, tile_size=256)
    tilted = ctf_fit.function(micrograph, options, Context.local(tmp_path / "tilted")).fit
    assert tilted.tilt == SpecimenTilt(45.0, 30.0)
    assert tilted.ctf.defocus == pytest.approx(22150, abs=4 * tilted.sigma.defocus_u)
    assert tilted.resolution < 6


def test_an_inclination_is_stated_whole_or_not_at_all() -> None:
    for half in ({"tilt": "given"}, {"specimen_tilt": 30.0}):
        with pytest.raises(ValueError, match="go together"):
            CtfFitJobOptions.model_validate(half)
