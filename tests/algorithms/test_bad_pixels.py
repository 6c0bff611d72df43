"""Hot and dead pixels found in counted electrons, and filled from their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
import torch

from thon.algorithms.bad_pixels import BadPixelOptions, fill_bad_pixels, find_bad_pixels, find_donors

SHAPE = (612, 530)


@dataclass(frozen=True)
class Scene:
    """Electrons on a specimen with an edge, dark beads and bright holes, and a detector with `planted` defects."""

    mean: np.ndarray
    planted: np.ndarray

    def counts(self, seed: int = 0) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(seed).poisson(self.mean).astype(np.float32))

    def rates(self, found: torch.Tensor) -> tuple[float, int]:
        """Share of the planted defects that are found, and number of good pixels that are called bad."""
        bad = found.numpy()
        return float(bad[self.planted].mean()), int((bad & ~self.planted).sum())


@lru_cache
def specimen(level: float, sampling: int = 1) -> np.ndarray:
    """Up to 1.6 times brighter and 0.35 times as bright within the width of a pixel of the detector."""
    random = np.random.default_rng(7)
    y, x = np.indices(SHAPE) / sampling
    mean = level * (1 + 0.15 * np.sin(x / 60) * np.cos(y / 50))
    mean *= np.where(x + 0.3 * y > 500 / sampling, 0.5, 1.0)
    for radius in random.uniform(3, 20, 30):
        place = random.uniform(0.05, 0.95, 2) * SHAPE / sampling
        inside = 1 / (1 + np.exp(np.clip((np.hypot(y - place[0], x - place[1]) - radius) / 0.7, -50, 50)))
        mean *= 1 + random.choice([-0.65, 0.6]) * inside
    # What a gain reference leaves.
    return mean * (1 + 0.03 * random.normal(size=SHAPE))


def planted(level: float, *parts: tuple[object, float]) -> Scene:
    mean, where = specimen(level).copy(), np.zeros(SHAPE, bool)
    for part, factor in parts:
        mean[part] *= factor  # pyright: ignore[reportArgumentType]
        where[part] = True  # pyright: ignore[reportArgumentType]
    return Scene(mean, where)


def scattered(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, SHAPE[0], number), random.integers(0, SHAPE[1], number)


@pytest.mark.parametrize(("level", "most"), [(0.5, 0), (3, 0), (40, 0), (1000, 1)])
def test_what_the_specimen_does_is_no_defect(level: float, most: int) -> None:
    """Edges, beads and holes, sparse or dense, in 1.6 million pixels: not one false call.

    At 1000 e/px the tip of a wedge, where a bright hole meets an edge within a pixel, may be called in one of five.
    """
    scene = planted(level)
    assert sum(int(find_bad_pixels(scene.counts(seed)).sum()) for seed in range(5)) <= most


def test_hot_and_dead_pixels_of_forty_frames_of_one_electron() -> None:
    for seed, factor in ((1, 3.5), (2, 0.0)):
        scene = planted(40, (scattered(100, seed), factor))
        # Where a bead, or its edge on one side, leaves about 20 electrons, none at all may be chance.
        can_be_known = scene.planted & (specimen(40) > 25)
        bad = find_bad_pixels(scene.counts()).numpy()
        assert bad[can_be_known].mean() > 0.98
        assert can_be_known.sum() > 50
        assert not (bad & ~scene.planted).any()


def test_hot_pixels_where_most_pixels_have_no_electron_at_all() -> None:
    """Sums of 0.5 e/px: Poisson's tail is long, so 6 σ of a Gaussian would call good pixels hot."""
    part = scattered(80, 3)
    scene = planted(0.5, (part, 60.0))
    counts = scene.counts()
    mean, deviation = counts.mean(), counts.std()
    assert ((counts > mean + 6 * deviation).numpy() & ~scene.planted).sum() > 0
    bad = find_bad_pixels(counts).numpy()
    can_be_known = scene.planted & (specimen(0.5) > 0.35)
    assert can_be_known.sum() > 40
    assert bad[can_be_known].all()
    assert not (bad & ~scene.planted).any()


@pytest.mark.parametrize(("level", "sure"), [(2.0, 0.9), (40.0, 0.99)])
def test_columns_rows_and_clusters(level: float, sure: float) -> None:
    parts = (
        (np.s_[:, 33], 0.0),
        (np.s_[:256, 400:403], 0.0),
        (np.s_[201], 2.5),
        (np.s_[450:456, 81:87], 8.0),
        (np.s_[50:55, 150:156], 0.0),
    )
    scene = planted(level, *parts)
    found, false = scene.rates(find_bad_pixels(scene.counts()))
    assert found > sure
    assert false < (5 if level > 10 else 60)


def test_known_pixels_are_kept_and_do_not_disturb() -> None:
    """A block of zeros around a hot pixel, and values that are no numbers."""
    known = torch.zeros(SHAPE, dtype=torch.bool)
    known[300:340, 200:260] = True
    scene = planted(40, ((np.array([299, 100]), np.array([230, 100])), 5.0))
    counts = scene.counts()
    counts[known] = 0
    counts[5, 5] = torch.nan
    found = find_bad_pixels(counts, known=known)
    assert found[known].all()
    found[known] = False
    assert set(map(tuple, torch.argwhere(found).tolist())) == {(299, 230), (100, 100), (5, 5)}


def test_any_unit_gives_the_same() -> None:
    scene = planted(40, (scattered(60, 4), 4.0))
    counts = scene.counts()
    before = counts.clone()
    np.testing.assert_array_equal(find_bad_pixels(counts * 37.5), find_bad_pixels(counts))
    np.testing.assert_array_equal(counts, before)
    np.testing.assert_array_equal(find_bad_pixels(counts.to(torch.int32)), find_bad_pixels(counts))


@pytest.mark.parametrize("sampling", [2, 4])
def test_at_super_resolution_all_parts_of_a_pixel_are_bad(sampling: int) -> None:
    """2.5 e/px in all: a part says nothing, the detector's pixel of 4 × 4 of them does."""
    shape = (4 * 150, 4 * 120)
    mean = np.full(shape, 40 / sampling**2)
    rough = np.zeros((shape[0] // sampling, shape[1] // sampling), bool)
    rough[[7, 60, 61, 90], [11, 80, 80, 40]] = True
    part = np.kron(rough, np.ones((sampling, sampling))).astype(bool)
    mean[part] *= 4
    counts = torch.from_numpy(np.random.default_rng(0).poisson(mean))
    np.testing.assert_array_equal(find_bad_pixels(counts, sampling=sampling), part)
    with pytest.raises(ValueError, match="whole number"):
        find_bad_pixels(counts[:-1], sampling=sampling)


def test_stricter_finds_less() -> None:
    part = scattered(200, 5)
    scene = planted(40, (part, 1.9))
    counts = scene.counts()
    loose, strict = (find_bad_pixels(counts, options=BadPixelOptions(sigma=s)).sum() for s in (4.5, 8))
    assert strict < 0.3 * loose


def test_no_electrons_and_tiny_frames_have_no_bad_pixels() -> None:
    assert not find_bad_pixels(torch.zeros(40, 30)).any()
    assert not find_bad_pixels(torch.ones(3, 5)).any()
    assert not find_bad_pixels(torch.full((64, 70), 7.0)).any()


def bad_mask() -> torch.Tensor:
    mask = torch.zeros(48, 61, dtype=torch.bool)
    mask[5, 7] = mask[0, 0] = mask[47, 60] = True
    mask[:, 30] = True
    mask[20:26, 10:16] = True
    return mask


def test_filled_pixels_are_good_neighbours() -> None:
    mask = bad_mask()
    frame = torch.arange(mask.numel(), dtype=torch.float32).reshape(mask.shape)
    frame[mask] = -1
    before, donors = frame.clone(), find_donors(mask)
    filled = fill_bad_pixels(frame, donors, torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(filled[~mask], frame[~mask])
    assert (filled[mask] >= 0).all()
    place = torch.argwhere(mask)
    source = torch.stack([filled[mask].long() // mask.shape[1], filled[mask].long() % mask.shape[1]], 1)
    assert not mask[source[:, 0], source[:, 1]].any()
    far = (source - place).abs().amax(1)
    assert far.max() <= 4
    assert (far <= 2).float().mean() > 0.7
    assert len(torch.unique(source - place, dim=0)) > 15


def test_filling_can_be_repeated_and_varies_from_frame_to_frame() -> None:
    mask, frame = bad_mask(), torch.from_numpy(np.random.default_rng(0).poisson(5, (48, 61)) * 1.0)
    donors = find_donors(mask)
    first, again = (fill_bad_pixels(frame, donors, torch.Generator().manual_seed(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    generator = torch.Generator().manual_seed(3)
    fill_bad_pixels(frame, donors, generator)
    assert (fill_bad_pixels(frame, donors, generator) != first).sum() > 20
    own = frame.clone()
    assert fill_bad_pixels(own, donors, torch.Generator().manual_seed(3), out=own) is own
    np.testing.assert_array_equal(own, first)
    out = torch.empty_like(frame)
    assert fill_bad_pixels(frame, donors, torch.Generator().manual_seed(3), out=out) is out
    np.testing.assert_array_equal(out, first)


def test_filled_pixels_have_the_statistics_of_counts() -> None:
    """Over many frames: mean and variance of Poisson's distribution, and no ties between frames."""
    mask = bad_mask()
    donors, generator = find_donors(mask), torch.Generator().manual_seed(0)
    frames = torch.from_numpy(np.random.default_rng(0).poisson(1.3, (300, *mask.shape)).astype(np.float32))
    filled = torch.stack([fill_bad_pixels(frame, donors, generator)[mask] for frame in frames])
    assert float(filled.mean()) == pytest.approx(1.3, abs=0.03)
    assert float(filled.var(0).mean()) == pytest.approx(1.3, abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_without_neighbours_get_noise(dtype: torch.dtype) -> None:
    mask = torch.zeros(90, 80, dtype=torch.bool)
    mask[20:80, 10:70] = True
    frame = torch.from_numpy(np.random.default_rng(0).poisson(30, (90, 80)) * ~mask.numpy()).to(dtype)
    donors = find_donors(mask)
    assert 0 < len(donors.lost) < 60 * 60
    filled = fill_bad_pixels(frame, donors, torch.Generator().manual_seed(1))
    assert filled.dtype == dtype
    noise = filled.view(-1)[donors.lost].double()
    assert float(noise.mean()) == pytest.approx(30, abs=1)
    assert float(noise.std()) == pytest.approx(30**0.5, abs=1)


def test_reach_grows_with_sampling_and_nothing_bad_is_nothing_done() -> None:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    assert len(find_donors(mask).bad) == 0
    frame = torch.rand(40, 40)
    np.testing.assert_array_equal(fill_bad_pixels(frame, find_donors(mask), torch.Generator()), frame)
    mask[20, 20] = True
    for sampling, number in ((1, 24), (2, 80)):
        assert find_donors(mask, sampling=sampling).number.tolist() == [number]
    with pytest.raises(ValueError, match="bad pixels of one of"):
        fill_bad_pixels(frame[1:], find_donors(mask), torch.Generator())
