"""Hot and dead pixels of a detector: found in the sum of a movie's frames before any motion is undone, and filled.

A specimen moves and is blurred by the detector's own point spread, a defect is not: it stands out against the pixels on
all its sides at once. Each pixel is compared with the brighter side for being hot and with the darker one for being
dead, so that an edge (a gold bead, a hole) is no defect; and the odds are those of counted electrons, whose tails are
far from Gaussian when they are few. The same is asked of strips of a row or a column and of small blocks, which show
defects where single pixels have too few counts for a verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy
import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Bool, Float, Int, Num

from thon.base.options import Advanced, Options, Unit


class BadPixelOptions(Options):
    """What counts as a bad pixel, and where its values are taken from."""

    sigma: Annotated[float, Unit("σ"), Ge(4), Le(12)] = 6.0
    """How unlikely a pixel must be by chance: as a Gaussian deviation this large."""

    hot: Annotated[float, Unit("× its neighbours"), Gt(1), Advanced()] = 1.3
    """Hot pixels are brighter than this at least."""

    dead: Annotated[float, Unit("× its neighbours"), Gt(0), Lt(1), Advanced()] = 0.3
    """Dead pixels are darker than this at least."""

    strip: Annotated[int, Unit("px"), Ge(8), Le(4096), Advanced()] = 64
    """Length of the parts of rows and columns that are judged as a whole."""

    reach: Annotated[int, Unit("px"), Ge(1), Le(8), Advanced()] = 2
    """How far away, in rows and in columns, a pixel is taken to stand in for a bad one; of the physical detector."""


def _side(near: int, far: int, wide: int) -> np.ndarray:
    """Rows and columns of one side of a pixel: so many above it, as wide on both hands."""
    return np.stack(np.meshgrid(np.arange(near, far + 1), np.arange(-wide, wide + 1), indexing="ij"), -1).reshape(-1, 2)


def _four(side: np.ndarray) -> np.ndarray:
    return np.stack([side, -side, side[:, ::-1], -side[:, ::-1]])


# Rows and columns of the sides that a cell of some pixels is compared with. Those of a strip are across it: along it
# they would be so far away that the specimen differs.
_ALL_SIDES, _BEYOND_CLUSTERS = _four(_side(1, 2, 2)), _four(_side(3, 4, 2))
_ABOVE_AND_BELOW = _four(_side(1, 4, 0))[:2]
_LEFT_AND_RIGHT = _ABOVE_AND_BELOW[..., ::-1]
# No specimen is so much brighter or darker than all around it within a few pixels.
_OF_CLUSTERS = {"hot": 3.0, "dead": 0.15}
# Counts below which single pixels need the company of a block to be judged.
_SPARSE = 10
_ROUNDS = 12
_FEWEST = 100
_MOST = 0.5


def find_bad_pixels(
    total: Num[torch.Tensor, "rows columns"],
    *,
    known: Bool[torch.Tensor, "rows columns"] | None = None,
    sampling: int = 1,
    options: BadPixelOptions | None = None,
) -> Bool[torch.Tensor, "rows columns"]:
    """Bad pixels, those known before among them.

    Args:
        total: Sum of all frames, unaligned, corrected for gain and dark. In any unit: how much a pixel scatters for its
            mean is measured.
        known: True where pixels are bad already; they take no part.
        sampling: Pixels of `total` along each side of one of the detector (super-resolution 2, EER up to 4). Bad is
            what the detector has, so all its parts are.
        options: Limits.

    Raises:
        ValueError: If `total` is not a whole number of the detector's pixels.
    """
    options = options or BadPixelOptions()
    if total.shape[0] % sampling or total.shape[1] % sampling:
        raise ValueError(f"{tuple(total.shape)} pixels are no whole number of {sampling} × {sampling}")
    good = np.ones(total.shape, bool) if known is None else ~known.cpu().numpy()
    counts, share = _cells(total.cpu().numpy(), good, (sampling, sampling))
    usable = np.isfinite(counts)
    counts[~usable] = 0
    usable &= share == 1
    bad, scatter = _judge(counts, usable, _ALL_SIDES, options)
    larger = _find_clusters(counts, usable, usable & ~bad, scatter, options)
    for size, sides in (((options.strip, 1), _LEFT_AND_RIGHT), ((1, options.strip), _ABOVE_AND_BELOW)):
        sums, share = _cells(counts, usable & ~bad & ~larger, size)
        wrong = _judge(sums, share >= _MOST, sides, options)[0]
        # What is bad for the most part is bad as a whole.
        wrong |= share < _MOST * _share(usable, size)
        larger |= _pixels_of(wrong, size, counts.shape) & usable
    # What they hid.
    left = usable & ~bad & ~larger
    bad |= larger | _peel(_around(np.flatnonzero(larger & ~bad), bad.shape), counts, left, _ALL_SIDES, scatter, options)
    bad |= ~usable
    found = torch.from_numpy(np.repeat(np.repeat(bad, sampling, 0), sampling, 1)).to(total.device)
    return found if known is None else found | known


def _cells(
    values: np.ndarray, good: np.ndarray, size: tuple[int, int]
) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, "rows columns"]]:
    """Sums over cells, as if all pixels were like the good ones, and the share of these."""
    if size == (1, 1):
        return values.astype(np.float32), good.astype(np.float32)
    share = _share(good, size)
    sums = _in_cells(np.where(good, values, 0), size).sum((1, 3), np.float32)
    return sums / np.maximum(share, np.float32(1e-3)), share


def _share(good: np.ndarray, size: tuple[int, int]) -> Float[np.ndarray, "rows columns"]:
    """Share of the good pixels in each cell; cells beyond the edge have what is left."""
    return _in_cells(good, size).mean((1, 3), np.float32)


def _in_cells(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(cell rows, rows, cell columns, columns), filled up with zeros."""
    rows, columns = (-(-n // s) for n, s in zip(values.shape, size, strict=True))
    rest = [(0, m * s - n) for n, m, s in zip(values.shape, (rows, columns), size, strict=True)]
    filled = np.pad(values, rest) if any(after for _, after in rest) else values
    return filled.reshape(rows, size[0], columns, size[1])


def _pixels_of(
    cells: Bool[np.ndarray, "cell_rows cell_columns"], size: tuple[int, int], shape: tuple[int, ...]
) -> Bool[np.ndarray, "rows columns"]:
    return np.repeat(np.repeat(cells, size[0], 0), size[1], 1)[: shape[0], : shape[1]]


def _find_clusters(
    counts: Float[np.ndarray, "rows columns"],
    usable: Bool[np.ndarray, "rows columns"],
    good: Bool[np.ndarray, "rows columns"],
    scatter: float,
    options: BadPixelOptions,
) -> Bool[np.ndarray, "rows columns"]:
    """Pixels of small clusters, in which each has bad ones on all sides: by blocks, and where counts allow by pixel."""
    sparse = float(np.median(counts)) < _SPARSE * scatter
    size = (4, 4) if sparse else (2, 2)
    sums, share = _cells(counts, good, size)
    strict = options.model_copy(update=_OF_CLUSTERS)
    blocks = _judge(sums, share >= _MOST, _BEYOND_CLUSTERS, strict)[0] | (share < _MOST * _share(usable, size))
    if sparse:
        return _pixels_of(blocks, size, counts.shape) & good
    bad = np.zeros(counts.shape, bool)
    for row, column in np.argwhere(blocks) * size:
        near, wide = (np.s_[max(0, row - n) : row + 2 + n, max(0, column - n) : column + 2 + n] for n in (2, 8))
        level = float(np.median(counts[wide][good[wide]])) if good[wide].any() else 0.0
        far = np.abs(counts[near] - level) > 4 * math.sqrt(scatter * level)
        bad[near] |= far & good[near] & ((counts[near] > options.hot * level) | (counts[near] < options.dead * level))
    return bad


def _judge(
    counts: Float[np.ndarray, "rows columns"],
    good: Bool[np.ndarray, "rows columns"],
    sides: Int[np.ndarray, "sides cells 2"],
    options: BadPixelOptions,
) -> tuple[Bool[np.ndarray, "rows columns"], float]:
    """Good pixels that are not, by their neighbours, and how much pixels scatter for their mean."""
    if good.sum() < _FEWEST or not counts[good].any():
        return np.zeros(counts.shape, bool), 1.0
    box = 2 * np.abs(sides).max((0, 1)) + 1
    mean = _neighbourhood(counts, good, (int(box[0]), int(box[1])))
    scatter = _scatter(counts, mean, good, int(box[0] * box[1]))
    far = counts - mean
    np.square(far, out=far)
    # One side is at least as bright as their mean, another at least as dark: what is near to it is neither.
    np.maximum(mean, np.float32(scatter), out=mean)
    suspects = np.flatnonzero((far > (0.6 * options.sigma) ** 2 * scatter * mean) & good)
    return _peel(suspects, counts, good, sides, scatter, options), scatter


def _peel(
    suspects: Int[np.ndarray, "suspects"],
    counts: Float[np.ndarray, "rows columns"],
    good: Bool[np.ndarray, "rows columns"],
    sides: Int[np.ndarray, "sides cells 2"],
    scatter: float,
    options: BadPixelOptions,
) -> Bool[np.ndarray, "rows columns"]:
    """Which of the suspects are bad, and which others these hid: the outermost of a cluster first."""
    bad, left = np.zeros(counts.shape, bool), good.copy()
    suspects = suspects[left.flat[suspects]]
    for _ in range(_ROUNDS):
        wrong = suspects[_is_bad(suspects, counts, left, sides, scatter, options)]
        if not len(wrong):
            break
        bad.flat[wrong], left.flat[wrong] = True, False
        suspects = np.union1d(suspects, _around(wrong, bad.shape))
        suspects = suspects[left.flat[suspects]]
    return bad


def _around(at: Int[np.ndarray, "places"], shape: tuple[int, ...]) -> Int[np.ndarray, "around"]:
    """Places within two rows and columns of some places."""
    place = np.stack(np.divmod(at, shape[1]), -1)[:, None] + np.indices((5, 5)).reshape(2, -1).T - 2
    place = np.clip(place, 0, np.array(shape) - 1)
    return np.unique(place[..., 0] * shape[1] + place[..., 1])


def _neighbourhood(
    counts: Float[np.ndarray, "rows columns"], good: Bool[np.ndarray, "rows columns"], box: tuple[int, int]
) -> Float[np.ndarray, "rows columns"]:
    """Mean of the good pixels around each, itself left out."""
    size = np.float32(box[0] * box[1])
    around = scipy.ndimage.uniform_filter(np.where(good, counts, 0), box, np.float32)
    if good.all():
        return (size * around - counts) / (size - 1)
    share = scipy.ndimage.uniform_filter(good.astype(np.float32), box)
    own = good / size
    return (around - counts * own) / np.maximum(share - own, np.float32(1e-3))


def _scatter(
    counts: Float[np.ndarray, "rows columns"],
    mean: Float[np.ndarray, "rows columns"],
    good: Bool[np.ndarray, "rows columns"],
    size: int,
) -> float:
    """Variance over mean of the pixels that are no outliers: 1 for counted electrons, whatever the unit."""
    step = max(1, math.isqrt(counts.size // 1_000_000))
    keep = good[::step, ::step] & (mean[::step, ::step] > 0)
    level = mean[::step, ::step][keep].astype(np.float64)
    square = (counts[::step, ::step][keep] - level) ** 2 * (1 - 1 / size)
    found = float(np.median(square / level)) / 0.455
    for _ in range(5):
        near = square < 25 * np.maximum(found * level, found**2)
        found = float(square[near].sum() / max(float(level[near].sum()), 1e-12))
    return max(found, 1e-12)


def _is_bad(
    at: Int[np.ndarray, "suspects"],
    counts: Float[np.ndarray, "rows columns"],
    good: Bool[np.ndarray, "rows columns"],
    sides: Int[np.ndarray, "sides cells 2"],
    scatter: float,
    options: BadPixelOptions,
) -> Bool[np.ndarray, "suspects"]:
    """Which of some pixels are bad, by the sums over their sides."""
    rows, columns = counts.shape
    place = np.stack(np.divmod(at, columns), -1)[:, None, None] + sides
    inside = ((place >= 0) & (place < (rows, columns))).all(-1)
    index = np.where(inside, place[..., 0] * columns + place[..., 1], 0)
    valid = inside & good.ravel()[index]
    number = valid.sum(-1)
    total = np.where(valid, counts.ravel()[index], 0).sum(-1) / scatter
    enough = number >= 2
    value = np.maximum(counts.ravel()[at] / scatter, 0).astype(np.float64)
    # A side without counts may still have a mean of some three by chance.
    most = np.where(enough, (total + 3) / np.maximum(number, 1), -np.inf).max(-1)
    least = np.where(enough, total / np.maximum(number, 1), np.inf).min(-1)
    judged = enough.any(-1)
    least, most = np.where(judged, least, 0), np.where(judged, most, np.inf)
    odds = math.erfc(options.sigma / math.sqrt(2)) / 2
    hot = (value > options.hot * most) & judged
    hot[hot] = scipy.special.gammainc(value[hot], most[hot]) < odds
    dead = (value < options.dead * least) & judged
    dead[dead] = scipy.special.gammaincc(value[dead] + 1, least[dead]) < odds
    return hot | dead


@dataclass(frozen=True)
class Donors:
    """Which good pixels may stand in for each bad one; made by `find_donors`.

    Args:
        bad: Places of bad pixels in a flat frame.
        table: (bad, most), places of the good pixels around each, the first `number` of a row.
        number: How many there are of each; at least one.
        lost: Places of bad pixels that no good pixel is near.
        shape: (rows, columns) of the frame.
    """

    bad: Int[torch.Tensor, "bad"]
    table: Int[torch.Tensor, "bad most"]
    number: Int[torch.Tensor, "bad"]
    lost: Int[torch.Tensor, "lost"]
    shape: tuple[int, int]


def find_donors(
    mask: Bool[torch.Tensor, "rows columns"], *, sampling: int = 1, options: BadPixelOptions | None = None
) -> Donors:
    """Good pixels around each bad one, once for all frames of a movie.

    Where fewer than seven are within reach (in a wide column or a cluster), they are looked for farther away, up to
    eight times the reach; pixels that have none even there get noise.

    Args:
        mask: True where pixels are bad.
        sampling: Pixels of the frame along each side of one of the detector.
        options: How far.
    """
    reach = (options or BadPixelOptions()).reach * max(1, sampling)
    bad = mask.cpu().numpy()
    left, places, rows_found, counts_found = np.flatnonzero(bad), [], [], []
    for factor in (1, 2, 4, 8):
        table, number = _good_around(bad, left, reach * factor)
        done = number >= (7 if factor < 8 else 1)
        places.append(left[done])
        rows_found.append(table[done])
        counts_found.append(number[done])
        left = left[~done]
    most = max((int(n.max()) for n in counts_found if len(n)), default=1)
    table = np.concatenate([np.pad(t[:, :most], ((0, 0), (0, max(0, most - t.shape[1])))) for t in rows_found])
    arrays = np.concatenate(places), table, np.concatenate(counts_found), left
    bad_places, table, number, lost = (torch.from_numpy(a.astype(np.int64)).to(mask.device) for a in arrays)
    return Donors(bad_places, table, number, lost, (mask.shape[0], mask.shape[1]))


_NEAREST = 80


def _good_around(bad: np.ndarray, at: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """The good pixels within `reach` of some places, at most the nearest 80, and how many there are."""
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    offsets = offsets[np.argsort((offsets**2).sum(1), kind="stable")][1:]
    table, number = np.zeros((len(at), min(_NEAREST, len(offsets))), np.int64), np.zeros(len(at), np.int64)
    rows, columns = bad.shape
    step = max(1, 4_000_000 // len(offsets))
    for start in range(0, len(at), step):
        part = at[start : start + step]
        place = np.stack(np.divmod(part, columns), -1)[:, None] + offsets
        inside = ((place >= 0) & (place < (rows, columns))).all(-1)
        index = np.where(inside, place[..., 0] * columns + place[..., 1], 0)
        good = inside & ~bad.ravel()[index]
        order = np.argsort(~good, axis=1, kind="stable")[:, : table.shape[1]]
        table[start : start + step] = np.take_along_axis(index, order, 1)
        number[start : start + step] = np.minimum(good.sum(1), table.shape[1])
    return table, number


def fill_bad_pixels(
    frame: Float[torch.Tensor, "rows columns"],
    donors: Donors,
    generator: torch.Generator,
    *,
    out: Float[torch.Tensor, "rows columns"] | None = None,
) -> Float[torch.Tensor, "rows columns"]:
    """A frame whose bad pixels have the value of a good neighbour each, drawn anew for every frame.

    Pixels without any good neighbour get Gaussian noise of the mean and deviation of the others.

    Args:
        frame: Corrected for gain and dark.
        donors: Of the same shape and device.
        generator: Of the same device; with the same state the same frame gives the same result.
        out: Where to write the result; the frame itself fills it in place.

    Raises:
        ValueError: If frame and donors differ in size.
    """
    if tuple(frame.shape) != donors.shape:
        raise ValueError(f"a frame of {tuple(frame.shape)}, bad pixels of one of {donors.shape}")
    filled = frame.clone() if out is None else out if out is frame else out.copy_(frame)
    flat = filled.view(-1)
    draw = torch.rand(len(donors.bad), generator=generator, device=frame.device)
    pick = torch.minimum((draw * donors.number).long(), donors.number - 1)
    flat[donors.bad] = flat[donors.table.gather(1, pick[:, None])[:, 0]]
    if len(donors.lost):
        known = torch.ones(flat.shape, dtype=torch.bool, device=flat.device)
        known[donors.lost] = False
        deviation, mean = torch.std_mean(flat[known])
        noise = torch.randn(len(donors.lost), generator=generator, device=flat.device)
        flat[donors.lost] = (noise * deviation + mean).to(flat.dtype)
    return filled
