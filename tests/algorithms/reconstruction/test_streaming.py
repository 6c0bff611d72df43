"""Slabs give what the whole gives, in memory or from scratch files, within the memory that was planned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from thon.algorithms.reconstruct import (
    AdmmOptions,
    IterationOptions,
    ReconstructOptions,
    plan_reconstruction,
    reconstruct,
)
from thon.algorithms.reconstruction import plan as planning
from thon.algorithms.reconstruction import storage
from thon.algorithms.reconstruction.grid import reconstruction_grid
from thon.algorithms.reconstruction.stream import crop_image
from thon.base.errors import InputError
from thon.data.geometry import TiltGeometry

FEW = IterationOptions(number=3)
METHODS = {
    "BPT": {"method": "BPT"},
    "WBP": {"method": "WBP"},
    "SIRT": {"method": "SIRT", "iterations": FEW},
    "SART": {"method": "SART", "iterations": IterationOptions(number=2, subset=4)},
    "CG": {"method": "CG", "iterations": FEW},
    "TV": {"method": "ADMM", "iterations": FEW},
    "L1": {
        "method": "ADMM",
        "iterations": IterationOptions(number=3, positive=True),
        "admm": AdmmOptions(total_variation=0, sparsity=0.3),
    },
    "all": {
        "method": "ADMM",
        "iterations": IterationOptions(number=3, positive=True),
        "admm": AdmmOptions(sparsity=0.3),
    },
}


def cut_in(monkeypatch, rows: int) -> None:
    """Let plans have blocks of this many rows."""
    monkeypatch.setattr(planning, "_sizes", lambda number: [rows])


@pytest.mark.parametrize("pitch", [0.0, 9.0])
@pytest.mark.parametrize("name", METHODS)
def test_slabs_equal_the_whole(monkeypatch, make, name, pitch):
    noisy = make((12, 14, 20), step=10.0, noise=0.5)
    images = torch.from_numpy(noisy.images).double()
    mask = np.ones((12, 14, 20))
    mask[:, 5:9, :7] = 0

    def run(rows):
        cut_in(monkeypatch, rows)
        setting = ReconstructOptions(bin=1, thickness=120, pitch=pitch, halves=True, **METHODS[name])
        return reconstruct(images, noisy.geometry, 10.0, setting, mask=mask)

    whole = run(14)
    assert whole.volume.std() > 0.01
    for rows in (6, 1):
        cut = run(rows)
        assert len(cut.plan.rows) == -(-14 // rows)
        assert (cut.plan.strategy == "slabs") == (name in ("BPT", "WBP") or (name not in ("TV", "all") and pitch == 0))
        for volume in ("volume", "even", "odd"):
            assert torch.allclose(getattr(cut, volume), getattr(whole, volume), atol=1e-10)
        assert cut.residuals == pytest.approx(whole.residuals)
        assert cut.statistics["full"].deviation == pytest.approx(whole.statistics["full"].deviation)


@pytest.mark.parametrize("strategy", ["slabs", "whole"])
def test_both_strategies_agree_where_rows_are_independent(phantom, strategy):
    setting = ReconstructOptions(bin=1, thickness=240, method="CG", iterations=FEW)
    expected = reconstruct(phantom.images, phantom.geometry, 10.0, setting).volume
    chosen = setting.model_copy(update={"strategy": strategy})
    assert torch.allclose(reconstruct(phantom.images, phantom.geometry, 10.0, chosen).volume, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["WBP", "SIRT", "TV"])
def test_scratch_files_change_nothing_and_leave_nothing(monkeypatch, tmp_path, make, name):
    noisy = make((16, 22, 30), step=8.0, noise=0.5)
    setting = ReconstructOptions(bin=1, thickness=160, precision="int8", pitch=4.0, **METHODS[name])
    cut_in(monkeypatch, 9)
    expected = reconstruct(noisy.images, noisy.geometry, 10.0, setting)
    lowest = planning.plan_for(reconstruction_grid((22, 30), noisy.geometry, 10.0, setting), setting, keeps_output=True)
    low = setting.model_copy(update={"memory": (lowest.memory - 1) / 1e9})
    found = reconstruct(noisy.images, noisy.geometry, 10.0, low, scratch=str(tmp_path))
    assert found.plan.state_on_disk
    assert found.plan.scratch > 0
    assert torch.equal(found.volume, expected.volume)
    assert list(tmp_path.iterdir()) == []


def test_laid_out_images_go_to_disk_when_they_alone_are_too_large(monkeypatch, make, tmp_path):
    noisy = make((16, 22, 30), step=8.0, noise=0.5)
    setting = ReconstructOptions(bin=1, thickness=160)
    expected = reconstruct(noisy.images, noisy.geometry, 10.0, setting).volume
    monkeypatch.setattr(planning, "_sizes", lambda number: [2])
    grid = reconstruction_grid((22, 30), noisy.geometry, 10.0, setting)
    ample = planning.plan_for(grid, setting, keeps_output=True)
    low = setting.model_copy(update={"memory": (ample.memory - 1) / 1e9})
    found = reconstruct(noisy.images, noisy.geometry, 10.0, low, scratch=str(tmp_path))
    assert found.plan.images_on_disk
    assert torch.allclose(found.volume, expected, atol=1e-6)


def test_a_full_disk_is_an_error_that_says_so(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "posix_fallocate", full)
    with pytest.raises(InputError, match="no room for scratch files"):
        storage.Storage(torch.empty(0), on_disk=True, folder=str(tmp_path)).allocate((10, 10))


@pytest.mark.parametrize("orientation", ["xyz", "xzy"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_sinks_receive_the_volume(monkeypatch, phantom, tmp_path, orientation, precision):
    cut_in(monkeypatch, 16)
    setting = ReconstructOptions(bin=1, thickness=240, orientation=orientation, precision=precision)
    expected = reconstruct(phantom.images, phantom.geometry, 10.0, setting).volume.numpy()
    file = np.memmap(tmp_path / "volume", expected.dtype, "w+", shape=expected.shape)
    assert reconstruct(phantom.images, phantom.geometry, 10.0, setting, sink=file).volume is None
    assert np.array_equal(file, expected)
    called = np.full_like(expected, 99)
    reconstruct(phantom.images, phantom.geometry, 10.0, setting, sink=called.__setitem__)
    assert np.array_equal(called, expected)


def test_halves_go_to_their_own_sinks(noisy):
    setting = ReconstructOptions(bin=1, thickness=240, halves=True)
    expected = reconstruct(noisy.images, noisy.geometry, 10.0, setting)
    sinks = {name: np.zeros((24, 40, 64), np.float32) for name in ("full", "even", "odd")}
    found = reconstruct(noisy.images, noisy.geometry, 10.0, setting, sink=sinks)
    assert np.array_equal(sinks["odd"], expected.odd.numpy())
    assert not np.array_equal(sinks["odd"], sinks["even"])
    assert torch.allclose(found.fsc.correlation, expected.fsc.correlation)


def test_images_are_read_one_at_a_time_and_once(phantom):
    class Reader:
        shape = phantom.images.shape
        asked: list[int] = []  # noqa: RUF012

        def __getitem__(self, index: int) -> np.ndarray:
            self.asked.append(index)
            return phantom.images[index].astype(np.int16)

    setting = ReconstructOptions(bin=1, thickness=240, method="SIRT", iterations=FEW)
    shares = []
    reconstruct(Reader(), phantom.geometry, 10.0, setting, progress=shares.append)
    assert Reader.asked == list(range(len(phantom.images)))
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_thread_number_is_put_back(phantom):
    torch.set_num_threads(2)
    setting = ReconstructOptions(bin=1, thickness=240, threads=1)
    one = reconstruct(phantom.images, phantom.geometry, 10.0, setting).volume
    assert torch.get_num_threads() == 2
    two = reconstruct(phantom.images, phantom.geometry, 10.0, setting.model_copy(update={"threads": 2})).volume
    assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize(("shape", "factor"), [((41, 57), 2.6), ((40, 64), 4.0), ((37, 50), 1.37), ((64, 64), 1.0)])
def test_cropping_keeps_centre_and_grey_values(shape, factor):
    setting = ReconstructOptions(bin=factor)
    grid = reconstruction_grid(shape, TiltGeometry.nominal(np.zeros(1)), 2.0, setting)
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    wide = 3.0 * factor
    image = torch.exp(-(y[:, None] ** 2 + x**2) / (2 * wide**2)) + 4
    cropped = crop_image(image, grid)
    assert tuple(cropped.shape) == grid.cropped
    assert 2 * factor * (1 - 1 / 16) <= grid.cropped_pixel <= 2 * factor * (1 + 1e-9)
    v, u = ((torch.arange(n, dtype=torch.float64) - n // 2) * grid.cropped_pixel / 2 for n in cropped.shape)
    expected = torch.exp(-(v[:, None] ** 2 + u**2) / (2 * wide**2)) + 4
    middle = tuple(slice(n // 2 - 3, n // 2 + 4) for n in cropped.shape)
    assert (cropped - expected)[middle].abs().max() < 0.02


def test_axis_along_the_rows_swaps_the_volume():
    tilts = np.arange(-60.0, 61, 3)
    grid = reconstruction_grid((100, 200), TiltGeometry.nominal(tilts, 85.0), 5.0, ReconstructOptions(bin=2))
    assert grid.shape[1:] == (100, 50)
    grid = reconstruction_grid((100, 200), TiltGeometry.nominal(tilts, -4.0), 5.0, ReconstructOptions(bin=2))
    assert grid.shape[1:] == (50, 100)


def test_thickness_in_pixels_and_by_default():
    geometry = TiltGeometry.nominal(np.zeros(1))
    assert reconstruction_grid((100, 200), geometry, 5.0, ReconstructOptions(bin=2, thickness_px=100)).shape[0] == 50
    assert reconstruction_grid((100, 200), geometry, 5.0, ReconstructOptions(bin=2)).shape[0] == 300


def test_four_thousand_pixels_fit_four_gigabytes():
    geometry = TiltGeometry.nominal(np.linspace(-60, 60, 41))
    setting = ReconstructOptions(bin=4, thickness_px=2048, halves=True)
    found = plan_reconstruction((4096, 4096), geometry, 1.5, setting)
    assert found.shape == (512, 1024, 1024)
    assert found.memory < 4e9
    assert not found.images_on_disk
    assert found.output == 3 * 512 * 1024 * 1024 * 4
    assert found.updates == 2 * 41 * 512 * 1024 * 1024
    for method in ("SIRT", "SART", "CG"):
        chosen = setting.model_copy(update={"method": method})
        assert plan_reconstruction((4096, 4096), geometry, 1.5, chosen).memory < 4e9
    variation = plan_reconstruction((4096, 4096), geometry, 1.5, setting.model_copy(update={"method": "ADMM"}))
    assert variation.strategy == "whole"
    assert variation.state_on_disk
    assert variation.scratch > 7 * 768 * 1024 * 1024 * 4
    assert variation.memory < 4e9


MEASURE = """
import ctypes, json, sys, threading, time
import numpy as np, torch
from thon.data.geometry import TiltGeometry
from thon.algorithms.reconstruct import IterationOptions, ReconstructOptions, reconstruct

def held():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon"))

class Images:
    def __init__(self, n):
        self.shape = (41, n, n)
    def __getitem__(self, k):
        return np.full(self.shape[1:], float(k), np.float32)

geometry = TiltGeometry.nominal(np.linspace(-60, 60, 41))
drop = lambda index, slab: None
for settings in json.loads(sys.argv[1]):
    options = ReconstructOptions(bin=1, thickness_px=160, iterations=IterationOptions(number=1), **settings)
    reconstruct(Images(64), geometry, 10.0, options.model_copy(update={"thickness_px": 16}), sink=drop)
    ctypes.CDLL(None).malloc_trim(0)  # what earlier cases freed would hide a part of this one's peak
    before, peak, done = held(), [0], threading.Event()
    def watch():
        while not done.wait(0.004):
            peak[0] = max(peak[0], held() - before)
    watcher = threading.Thread(target=watch)
    watcher.start()
    plan = reconstruct(Images(512), geometry, 10.0, options, sink=drop).plan
    done.set()
    watcher.join()
    print(json.dumps({"planned": plan.memory, "peak": peak[0], "rows": plan.rows[0]}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's memory figures")
def test_peak_memory_is_near_the_plan_and_within_the_budget():
    cases = [
        {"method": "WBP", "memory": 4},
        {"method": "WBP", "memory": 0.16},
        {"method": "SIRT", "memory": 0.3, "pitch": 3.0},
    ]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(cases)], capture_output=True, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["rows"] for f in found] == [256, 64, 128]
    for case, figures in zip(cases, found, strict=True):
        assert figures["planned"] <= case["memory"] * 1e9
        assert 0.4 < figures["peak"] / figures["planned"] < 1.2
