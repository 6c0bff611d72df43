"""Refinement and ab-initio maps as jobs: what they write, how they go on after being killed, what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.algorithms.likelihood_phantom import PIXEL, phantom, simulate
from tests.jobs.report_pages import read_report, sections
from tests.jobs.seen_particles import write_phantom, write_seen, write_simulated
from thon.algorithms.ab_initio import AbInitioOptions
from thon.algorithms.volume_tools import crop_or_pad
from thon.base.errors import InputError
from thon.data.maps import RefinedParticles
from thon.data.particles import Particles
from thon.formats.maps import read_map, write_map
from thon.formats.relion_particles import read_particles
from thon.job.context import Context
from thon.job.plan import Resources
from thon.jobs.ab_initio import ab_initio
from thon.jobs.refine3d import Refine3dJobOptions, plan_refine3d, refine3d
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.volume_fourier import fourier_resize


def options(folder: Path, **changes: object) -> Refine3dJobOptions:
    settings = {"reference": write_phantom(folder), "diameter": 100.0, "iterations": 3, "offset_range": 2.0,
                "initial_lowpass": 30.0}  # fmt: skip
    return Refine3dJobOptions.model_validate(settings | changes)


def particles(folder: Path, count: int = 40) -> Particles:
    return read_particles(write_simulated(folder, count))


class StoppedError(Exception):
    """Stands for being killed."""


def stop(*_: object) -> None:
    raise StoppedError


def test_refinement_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen, how = particles(tmp_path), options(tmp_path)
    whole = refine3d((seen,), how, Context.local(tmp_path / "whole"))
    context = Context.local(tmp_path / "killed")
    log = context.log

    def stop_after_two(text: str) -> None:
        log(text)
        if text.startswith("Iteration 2"):
            raise StoppedError

    monkeypatch.setattr(context, "log", stop_after_two)
    with pytest.raises(StoppedError):
        refine3d((seen,), how, context)
    said: list[str] = []
    monkeypatch.setattr(context, "log", said.append)
    resumed = refine3d((seen,), how, context)
    assert said[0] == "Going on after iteration 2."
    assert isinstance(resumed, RefinedParticles)
    for name in ("volume", "first", "second"):
        one, two = (read_map(getattr(found, name))[0] for found in (whole, resumed))
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(whole.rotation, resumed.rotation)
    np.testing.assert_array_equal(whole.half, resumed.half)
    for name in ("views", "fsc", "convergence", "posterior", "directions", "cones"):
        one, two = ((tmp_path / run / f"outputs/{name}.png").read_bytes() for run in ("whole", "killed"))
        assert one == two, name


def test_refinement_finds_the_phantom_again(tmp_path: Path):
    how = options(tmp_path, iterations=4, absolute_greyscale=False, initial_lowpass=24.0)
    found = refine3d((particles(tmp_path, 100),), how, Context.local(tmp_path / "job"))
    made, truth = (torch.from_numpy(v).double() for v in (read_map(found.volume)[0], phantom().volume(32)))
    curve = fourier_shell_correlation(made, truth, PIXEL).correlation
    assert curve[1:7].min() > 0.85
    assert 8 < found.resolution < 24
    assert set(found.half) == {1, 2}
    assert found.curves is not None
    assert found.curves.corrected is not None
    page = read_report(tmp_path / "job/outputs")
    assert sections(page) == ["views", "fsc", "convergence", "posterior", "directions", "cones", "origin"]
    assert f"{found.resolution:.2f} Å" in page.text
    table = next(k for k, row in enumerate(page.rows) if row[:2] == ["Iteration", "Resolution, Å"])
    last = [row for row in page.rows[table + 1 :] if len(row) == 12][-1]
    assert last[1] == f"{found.resolution:.2f}"
    assert found.probability is not None
    assert float(last[9]) == pytest.approx(found.probability.mean(), abs=0.0006)


def test_refinement_needs_a_map(tmp_path: Path):
    with pytest.raises(InputError, match="no map to begin from"):
        refine3d((particles(tmp_path),), options(tmp_path, reference=None), Context.local(tmp_path / "job"))


def test_refinement_refuses_what_cannot_work(tmp_path: Path):
    seen = particles(tmp_path)
    context = Context.local(tmp_path / "job")
    with pytest.raises(InputError, match="too small for the diameter"):
        refine3d((seen,), options(tmp_path, diameter=500), context)
    with pytest.raises(InputError, match="no CTF"):
        refine3d((replace(seen, ctf=None),), options(tmp_path), context)
    with pytest.raises(InputError, match="too few particles"):
        refine3d((seen.select(np.arange(0)),), options(tmp_path), context)
    write_map(tmp_path / "mask.mrc", np.ones((16, 16, 16), np.float32), PIXEL)
    with pytest.raises(InputError, match="another box"):
        refine3d((seen,), options(tmp_path, mask=tmp_path / "mask.mrc"), context)
    for values in (0.0, 2.0):
        write_map(tmp_path / "mask.mrc", np.full((32, 32, 32), values, np.float32), PIXEL)
        with pytest.raises(InputError, match="is no mask"):
            refine3d((seen,), options(tmp_path, mask=tmp_path / "mask.mrc"), context)
    write_map(tmp_path / "small.mrc", np.ones((16, 16, 16), np.float32), PIXEL)
    with pytest.raises(InputError, match="reference's box is too small"):
        refine3d((seen,), options(tmp_path, reference=tmp_path / "small.mrc"), context)
    with pytest.raises(ValueError, match="C99"):
        options(tmp_path, symmetry="X7")


@pytest.mark.parametrize("regularisation", ["spectral", "local"])
def test_noise_gives_no_map_beyond_what_the_reference_held(tmp_path: Path, regularisation: str):
    data = simulate(60, 32, noise=1.0, signal=0.0)
    seen = read_particles(write_seen(tmp_path, data))
    found = refine3d((seen,), options(tmp_path, regularisation=regularisation), Context.local(tmp_path / "job"))
    assert found.curves is not None
    assert found.curves.corrected is not None
    # The reference, common to both halves, held 30 Å, which is shell 4.3.
    assert found.curves.corrected[6:].max() < 0.143
    assert not found.resolution < 20


def test_ab_initio_map_is_made_from_particles_alone(tmp_path: Path):
    seen = particles(tmp_path, 60)
    how = AbInitioOptions(diameter=100, mini_batches=12, offset_range=2, last_resolution=16)
    found = ab_initio((seen,), how, Context.local(tmp_path / "job"))
    volume = found.classes[0].volume
    assert volume is not None
    values, voxel = read_map(volume)
    assert values.shape == (32, 32, 32)
    assert voxel == PIXEL
    middle = values[12:21, 12:21, 12:21]
    assert middle.mean() > 5 * abs(values[:4].mean())
    assert found.class_number is not None
    assert (found.class_number == 1).all()
    page = read_report(tmp_path / "job/outputs")
    assert sections(page) == ["views", "convergence", "posterior", "directions"]
    assert "hand is not determined" in page.text


def test_ab_initio_refuses_an_unknown_group():
    with pytest.raises(ValueError, match="C99"):
        AbInitioOptions(symmetry="Z3")


def test_halves_that_share_images_are_refused(tmp_path: Path):
    seen = particles(tmp_path)
    twice = replace(seen.select(np.repeat(np.arange(10), 2)), half=np.tile([1, 2], 10))
    with pytest.raises(InputError, match="10 in both"):
        refine3d((twice,), options(tmp_path), Context.local(tmp_path / "job"))


@pytest.mark.parametrize("case", ["one particle", "copies of one", "one half"])
def test_an_empty_half_is_refused(tmp_path: Path, case: str):
    seen = particles(tmp_path)
    given = {
        "one particle": seen.select(np.array([3])),
        "copies of one": seen.select(np.zeros(6, np.int64)),
        "one half": replace(seen, half=np.full(len(seen), 2)),
    }[case]
    with pytest.raises(InputError, match="a half set is empty"):
        refine3d((given,), options(tmp_path), Context.local(tmp_path / "job"))


def test_copies_of_an_image_are_refined_in_one_half(tmp_path: Path):
    seen = particles(tmp_path).select(np.repeat(np.arange(20), 2))
    found = refine3d((seen,), options(tmp_path, iterations=1), Context.local(tmp_path / "job"))
    assert found.half is not None
    np.testing.assert_array_equal(found.half[::2], found.half[1::2])
    assert len(found.in_both_halves()) == 0


def test_the_plan_tells_memory_and_disk():
    optics = replace(simulate(1).particles.optics[0], box=360, pixel_size=1.0)
    large = replace(simulate(1).particles, optics=(optics,))
    plan = plan_refine3d((large,), Refine3dJobOptions(diameter=240), Resources(threads=1, memory=0))
    assert plan.memory == pytest.approx(17.2e9, rel=0.05)  # measured, all shells
    assert plan.disk is not None
    assert plan.disk > 8 * 6 * 4 * 360**3  # eight states of six maps


def test_two_processes_find_the_same_bits_as_one(tmp_path: Path):
    star, reference = write_simulated(tmp_path, 100), write_phantom(tmp_path)
    found: list[Path] = []
    for count in (1, 2):
        out = tmp_path / f"by{count}"
        given = ["--reference", str(reference), "--diameter", "100", "--iterations", "2", "--offset-range", "2"]
        how = ["--workers", str(count), "--threads", str(count), "--initial-lowpass", "30"]
        command = [sys.executable, "-m", "thon.cli.main", "refine3d", str(star), "-o", str(out), *given, *how]
        subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(next(out.glob("*-refine3d")) / "outputs" / "all")
        assert not list(found[-1].parents[1].glob(".tmp-*"))
    names = sorted(file.name for file in found[0].glob("*.mrc"))
    assert "run_half1_class001_unfil.mrc" in names
    for name in names:
        one, two = (read_map(folder / name)[0] for folder in found)
        np.testing.assert_array_equal(one, two)
    records = [(folder / "record.json").read_text() for folder in found]
    assert records[0] == records[1]
    # The time of both processes counts, once.
    run = json.loads((found[1].parents[1] / "job.json").read_text())
    own = run["results"]["all"]["cpu_seconds"]
    assert 1.1 * own < run["usage"]["cpu_seconds"] < 3 * own


def test_a_state_of_other_particles_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen, context = particles(tmp_path), Context.local(tmp_path / "job")
    monkeypatch.setattr("thon.jobs.refine3d._show", stop)
    with pytest.raises(StoppedError):
        refine3d((seen,), options(tmp_path), context)
    with pytest.raises(InputError, match="of other particles"):
        refine3d((seen.select(np.arange(20)),), options(tmp_path), context)


def test_local_regularisation_keeps_halves_apart_and_the_map_right(tmp_path: Path):
    how = options(tmp_path, iterations=3, regularisation="local", initial_lowpass=24.0)
    found = refine3d((particles(tmp_path, 100),), how, Context.local(tmp_path / "job"))
    first, second = (read_map(one)[0] for one in (found.first, found.second))
    assert np.abs(first - second).max() > 0.05 * np.abs(first).max()
    made, truth = read_map(found.volume)[0], phantom().volume(32)
    assert np.corrcoef(made.ravel(), truth.ravel())[0, 1] > 0.9


def test_a_reference_of_another_scale_is_brought_to_that_of_the_particles(tmp_path: Path):
    reference = torch.from_numpy(phantom().volume(32).astype(np.float32))
    coarse = fourier_resize(crop_or_pad(reference, (28, 28, 28)), (12, 12, 12)).numpy()
    write_map(tmp_path / "coarse.mrc", coarse, PIXEL * 28 / 12)
    how = options(tmp_path, reference=tmp_path / "coarse.mrc")
    found = refine3d((particles(tmp_path, 100),), how, Context.local(tmp_path / "job"))
    made, voxel_size = read_map(found.volume)
    assert made.shape == (32, 32, 32)
    assert voxel_size == pytest.approx(PIXEL * 28 / 12 * 14 / 32)  # 14 coarse voxels are nearly 32 pixels.
    assert np.corrcoef(made.ravel(), reference.numpy().ravel())[0, 1] > 0.9
    assert found.resolution < 2 * PIXEL * 28 / 12
