"""Products of images with slices of reference spectra at many poses, and sums of images over poses.

With X an image's spectrum, C its CTF, N the noise power, P_r the slice of a reference at rotation r and t a shift,

    score(i, r, t) = Σ_k Re conj(Y_ik e^{2πi k·t}) P_rk  −  Σ_k D_ik |P_rk|²,    Y = 2 C X / N,  D = C² / N

is the logarithm of the image's likelihood but for a constant, summed over the pixels k that a real image does not make
equal. Poses come in groups of rotations (the children of one) with rows of (particle, shift) that are tried at all
rotations of the group; rows of one particle lie together. Spectra are stored as (re, im) planes; half spectra of
volumes as (z, y, x ≥ 0, (re, im)) with the origin at (z // 2, y // 2, 0). A rotation is given by what it makes of rows
and columns, (3, 2): the place (z, y, x) in the volume's spectrum of a pixel (y, x) of the image's.
"""

# The operators take tensors by position.
# ruff: noqa: PLR0917

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thon.kernels import pose_products_cpu as cpu
from thon.kernels.operator import Operator

QUANTUM = cpu.QUANTUM
"""Sums over slices are kept as whole multiples of 1 / QUANTUM, so that their order cannot change them."""

_ROWS = 4096  # rows at once in plain torch


def cut_slices(
    volumes: Float[Tensor, "volumes z y x 2"],
    which: Int[Tensor, "slices"],
    rotations: Float[Tensor, "slices 3 2"],
    places: Float[Tensor, "2 pixels"],
) -> Float[Tensor, "slices 2 pixels"]:
    """Cut slices out of half spectra by linear interpolation; zero beyond them.

    Args:
        volumes: Half spectra.
        which: Volume of each slice.
        rotations: Of each slice.
        places: (y, x) of the pixels, in the volumes' pixels.
    """
    return torch.ops.thon.cut_slices(volumes, which, rotations, places)


def score_poses(
    volumes: Float[Tensor, "volumes z y x 2"],
    which: Int[Tensor, "groups"],
    rotations: Float[Tensor, "groups children 3 2"],
    starts: Int[Tensor, "groups_and_one"],
    particles: Int[Tensor, "rows"],
    shifts: Int[Tensor, "rows"],
    images: Float[Tensor, "particles 2 all_pixels"],
    weights: Float[Tensor, "particles all_pixels"],
    ramps: Float[Tensor, "shifts 2 all_pixels"],
    places: Float[Tensor, "2 pixels"],
) -> Float[Tensor, "rows children"]:
    """Scores of poses; the module's docstring has the formula.

    Args:
        volumes: Half spectra of the references.
        which: Volume of each group.
        rotations: Of each group, at most 8.
        starts: First row of each group, and the number of rows.
        particles: Of each row.
        shifts: Of each row.
        images: Y.
        weights: D.
        ramps: Phases of each shift.
        places: (y, x) of the pixels that take part, the first of the images', in the volumes' pixels.
    """
    return torch.ops.thon.score_poses(
        volumes, which, rotations, starts, particles, shifts, images, weights, ramps, places
    )


def sum_poses(
    volumes: Float[Tensor, "volumes z y x 2"],
    which: Int[Tensor, "groups"],
    rotations: Float[Tensor, "groups children 3 2"],
    starts: Int[Tensor, "groups_and_one"],
    particles: Int[Tensor, "rows"],
    shifts: Int[Tensor, "rows"],
    posterior: Float[Tensor, "rows children"],
    images: Float[Tensor, "particles 2 all_pixels"],
    masked: Float[Tensor, "particles 2 all_pixels"],
    weights: Float[Tensor, "particles all_pixels"],
    ramps: Float[Tensor, "shifts 2 all_pixels"],
    places: Float[Tensor, "2 pixels"],
    shell_starts: Int[Tensor, "shells_and_one"],
) -> tuple[
    Float[Tensor, "groups_and_children 2 pixels"],
    Float[Tensor, "groups_and_children pixels"],
    Float[Tensor, "particles shells"],
    Float[Tensor, "particles shells"],
]:
    """Sums over particles and shifts at each rotation, and how well its slice explains each particle, by shell.

    Args:
        posterior: Weight γ of each pose.
        images: What is summed.
        masked: Y, for the comparison with the slices.
        shell_starts: First pixel of each shell, and the number of pixels.

    The other arguments are those of `score_poses`.

    Returns:
        Σ γ · images e^{2πi k·t}; Σ γ D; for each particle and shell Σ γ Re conj(Y e^{2πi k·t}) P, and Σ γ D |P|².
    """
    return torch.ops.thon.sum_poses(
        volumes, which, rotations, starts, particles, shifts, posterior, images, masked, weights, ramps, places,
        shell_starts,
    )  # fmt: skip


def insert_slices(
    volumes: Int[Tensor, "volumes z y x 3"],
    which: Int[Tensor, "slices"],
    rotations: Float[Tensor, "slices 3 2"],
    sums: Float[Tensor, "slices 2 pixels"],
    sum_weights: Float[Tensor, "slices pixels"],
    places: Float[Tensor, "2 pixels"],
) -> None:
    """Add slices to sums over spectra, the adjoint of `cut_slices`.

    Args:
        volumes: Half spectra (re, im, weight) in whole multiples of 1 / QUANTUM; changed in place.
        which: Volume of each slice.
        rotations: Of each slice.
        sums: Its values.
        sum_weights: Its weights.
        places: (y, x) of the pixels, in the volumes' pixels.
    """
    if volumes.dtype != torch.int64 or not volumes.is_contiguous():
        raise ValueError(f"sums must be contiguous and of int64, got {volumes.dtype}")
    torch.ops.thon.insert_slices(volumes, which, rotations, sums, sum_weights, places)


def _corners(
    shape: tuple[int, int, int], rotations: Tensor, places: Tensor
) -> tuple[Tensor, Tensor, Iterator[tuple[Tensor, Tensor]]]:
    """Whether each pixel lies within, the sign of its imaginary part, and its eight neighbours with their weights."""
    z, y, x = (rotations.float() @ places.float()).unbind(1)
    sign = torch.where(x < 0, -1.0, 1.0)
    z, y, x = sign * z + shape[0] // 2, sign * y + shape[1] // 2, sign * x
    low = [place.floor() for place in (z, y, x)]
    inside = torch.ones_like(z, dtype=torch.bool)
    for first, n in zip(low, shape, strict=True):
        inside &= (first >= 0) & (first < n - 1)
    part = [place - first for place, first in zip((z, y, x), low, strict=True)]

    def each() -> Iterator[tuple[Tensor, Tensor]]:
        for corner in range(8):
            bits = [(corner >> bit) & 1 for bit in (2, 1, 0)]
            weight = inside.to(z.dtype)
            index = torch.zeros_like(z, dtype=torch.long)
            for bit, first, fraction, n in zip(bits, low, part, shape, strict=True):
                weight = weight * (fraction if bit else 1 - fraction)
                index = index * n + (first.long() + bit).clamp(0, n - 1)
            yield index, weight

    return inside, sign, each()


def cut_slices_reference(volumes: Tensor, which: Tensor, rotations: Tensor, places: Tensor) -> Tensor:
    """`cut_slices` in plain torch."""
    shape = (volumes.shape[1], volumes.shape[2], volumes.shape[3])
    _, sign, corners = _corners(shape, rotations, places)
    flat, size = volumes.reshape(-1, 2), shape[0] * shape[1] * shape[2]
    total = sum(flat[which[:, None] * size + index] * weight[..., None] for index, weight in corners)
    assert isinstance(total, Tensor)
    return torch.stack([total[..., 0], total[..., 1] * sign], 1)


def _turned(images: Tensor, ramps: Tensor) -> Tensor:
    """Spectra (n, 2, pixels) times phases."""
    (a, b), (c, d) = images.unbind(1), ramps.unbind(1)
    return torch.stack([a * c - b * d, a * d + b * c], 1)


def score_poses_reference(
    volumes: Tensor, which: Tensor, rotations: Tensor, starts: Tensor, particles: Tensor, shifts: Tensor,
    images: Tensor, weights: Tensor, ramps: Tensor, places: Tensor,
) -> Tensor:  # fmt: skip
    """`score_poses` in plain torch."""
    count, children = places.shape[1], rotations.shape[1]
    scores = images.new_zeros((len(particles), children))
    group = torch.repeat_interleave(starts.diff())
    for first in range(0, len(particles), _ROWS):
        rows = slice(first, first + _ROWS)
        used, place = group[rows].unique(return_inverse=True)
        which_rows = which[used].repeat_interleave(children)
        cut = cut_slices_reference(volumes, which_rows, rotations[used].flatten(0, 1), places)
        cut = cut.reshape(len(used), children, 2 * count)
        turned = _turned(images[particles[rows], :, :count], ramps[shifts[rows], :, :count]).flatten(1)
        cross = torch.bmm(cut[place], turned[:, :, None])[..., 0]
        power = cut.reshape(len(used), children, 2, count).square().sum(2)
        norm = torch.bmm(power[place], weights[particles[rows], :count, None])[..., 0]
        scores[rows] = cross - norm
    return scores


def sum_poses_reference(
    volumes: Tensor, which: Tensor, rotations: Tensor, starts: Tensor, particles: Tensor, shifts: Tensor,
    posterior: Tensor, images: Tensor, masked: Tensor, weights: Tensor, ramps: Tensor, places: Tensor,
    shell_starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`sum_poses` in plain torch."""
    count, (groups, children) = places.shape[1], rotations.shape[:2]
    sums = images.new_zeros((groups * children, 2, count))
    sum_weights = images.new_zeros((groups * children, count))
    shells = len(shell_starts) - 1
    cross, power = (images.new_zeros((len(images), shells)) for _ in range(2))
    shell = torch.repeat_interleave(shell_starts.diff())
    group = torch.repeat_interleave(starts.diff())
    for g in range(groups):
        rows = torch.nonzero(group == g)[:, 0]
        cut = cut_slices_reference(volumes, which[g].expand(children), rotations[g], places)
        i = particles[rows]
        turned, compared = (_turned(of[i, :, :count], ramps[shifts[rows], :, :count]) for of in (images, masked))
        for c in range(children):
            gamma = posterior[rows, c]
            sums[g * children + c] = (gamma[:, None, None] * turned).sum(0)
            sum_weights[g * children + c] = (gamma[:, None] * weights[i, :count]).sum(0)
            agreement = gamma[:, None] * (compared * cut[c]).sum(1)
            cross.index_put_((i[:, None], shell), agreement, accumulate=True)
            explained = gamma[:, None] * weights[i, :count] * cut[c].square().sum(0)
            power.index_put_((i[:, None], shell), explained, accumulate=True)
    return sums, sum_weights, cross, power


def insert_slices_reference(
    volumes: Tensor, which: Tensor, rotations: Tensor, sums: Tensor, sum_weights: Tensor, places: Tensor
) -> None:
    """`insert_slices` in plain torch."""
    shape = (volumes.shape[1], volumes.shape[2], volumes.shape[3])
    _, sign, corners = _corners(shape, rotations, places)
    values = torch.stack([sums[:, 0], sums[:, 1] * sign, sum_weights], -1).float() * QUANTUM
    flat, size = volumes.view(-1, 3), shape[0] * shape[1] * shape[2]
    for index, weight in corners:
        added = (values * weight[..., None]).long()
        flat.index_add_(0, (which[:, None] * size + index).flatten(), added.flatten(0, 1))


_cut = Operator(
    "cut_slices", "(Tensor volumes, Tensor which, Tensor rotations, Tensor places) -> Tensor", cut_slices_reference
)
_score = Operator(
    "score_poses",
    "(Tensor volumes, Tensor which, Tensor rotations, Tensor starts, Tensor particles, Tensor shifts, Tensor images, "
    "Tensor weights, Tensor ramps, Tensor places) -> Tensor",
    score_poses_reference,
)
_sum = Operator(
    "sum_poses",
    "(Tensor volumes, Tensor which, Tensor rotations, Tensor starts, Tensor particles, Tensor shifts, "
    "Tensor posterior, Tensor images, Tensor masked, Tensor weights, Tensor ramps, Tensor places, "
    "Tensor shell_starts) -> (Tensor, Tensor, Tensor, Tensor)",
    sum_poses_reference,
)
_insert = Operator(
    "insert_slices",
    "(Tensor(a!) volumes, Tensor which, Tensor rotations, Tensor sums, Tensor sum_weights, Tensor places) -> ()",
    insert_slices_reference,
)


@_cut.register_fake
def _(volumes: Tensor, which: Tensor, rotations: Tensor, places: Tensor) -> Tensor:
    return volumes.new_empty((len(which), 2, places.shape[1]))


@_score.register_fake
def _(
    volumes: Tensor, which: Tensor, rotations: Tensor, starts: Tensor, particles: Tensor, shifts: Tensor,
    images: Tensor, weights: Tensor, ramps: Tensor, places: Tensor,
) -> Tensor:  # fmt: skip
    return images.new_empty((len(particles), rotations.shape[1]))


@_sum.register_fake
def _(
    volumes: Tensor, which: Tensor, rotations: Tensor, starts: Tensor, particles: Tensor, shifts: Tensor,
    posterior: Tensor, images: Tensor, masked: Tensor, weights: Tensor, ramps: Tensor, places: Tensor,
    shell_starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    slices, count, shells = rotations.shape[0] * rotations.shape[1], places.shape[1], len(shell_starts) - 1
    return (
        images.new_empty((slices, 2, count)),
        images.new_empty((slices, count)),
        images.new_empty((len(images), shells)),
        images.new_empty((len(images), shells)),
    )


@_insert.register_fake
def _(volumes: Tensor, which: Tensor, rotations: Tensor, sums: Tensor, sum_weights: Tensor, places: Tensor) -> None:
    return None


def _lines(places: Tensor) -> tuple[cpu.Array, cpu.Array]:
    y, x = places.float().contiguous().numpy()
    return y, x


def _turns(rotations: Tensor) -> cpu.Array:
    return rotations.float().reshape(*rotations.shape[:-2], 6).contiguous().numpy()


@_cut.register_kernel("cpu")
def _(volumes: Tensor, which: Tensor, rotations: Tensor, places: Tensor) -> Tensor:
    result = torch.empty((len(which), 2, places.shape[1]))
    cpu.cut_slices(volumes.numpy(), which.numpy(), _turns(rotations), *_lines(places), result.numpy())
    return result


@_score.register_kernel("cpu")
def _(
    volumes: Tensor, which: Tensor, rotations: Tensor, starts: Tensor, particles: Tensor, shifts: Tensor,
    images: Tensor, weights: Tensor, ramps: Tensor, places: Tensor,
) -> Tensor:  # fmt: skip
    scores = torch.zeros((len(particles), rotations.shape[1]))
    cpu.score_poses(
        volumes.numpy(), which.numpy(), _turns(rotations), starts.numpy(), particles.numpy(), shifts.numpy(),
        images.numpy(), weights.numpy(), ramps.numpy(), *_lines(places), scores.numpy(),
    )  # fmt: skip
    return scores


@_sum.register_kernel("cpu")
def _(
    volumes: Tensor, which: Tensor, rotations: Tensor, starts: Tensor, particles: Tensor, shifts: Tensor,
    posterior: Tensor, images: Tensor, masked: Tensor, weights: Tensor, ramps: Tensor, places: Tensor,
    shell_starts: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    slices, count, shells = rotations.shape[0] * rotations.shape[1], places.shape[1], len(shell_starts) - 1
    sums, sum_weights = torch.empty((slices, 2, count)), torch.empty((slices, count))
    cross, power = torch.zeros((len(images), shells)), torch.zeros((len(images), shells))
    cpu.sum_poses(
        volumes.numpy(), which.numpy(), _turns(rotations), starts.numpy(), particles.numpy(), shifts.numpy(),
        posterior.numpy(), images.numpy(), masked.numpy(), weights.numpy(), ramps.numpy(), *_lines(places),
        shell_starts.numpy(), sums.numpy(), sum_weights.numpy(), cross.numpy(), power.numpy(),
    )  # fmt: skip
    return sums, sum_weights, cross, power


@_insert.register_kernel("cpu")
def _(volumes: Tensor, which: Tensor, rotations: Tensor, sums: Tensor, sum_weights: Tensor, places: Tensor) -> None:
    cpu.insert_slices(
        volumes.numpy(), which.numpy(), _turns(rotations), sums.numpy(), sum_weights.numpy(), *_lines(places)
    )
