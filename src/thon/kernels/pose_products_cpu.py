"""Products of images and slices of reference spectra for CPUs, in Numba: one thread each, called from several."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false
# ruff: noqa: PLR0917

from __future__ import annotations

import numpy as np
from numba import njit

Array = np.ndarray
_FAST = {"contract", "nnan", "ninf", "nsz", "reassoc", "arcp"}
_NEAR = 512  # pixels whose places stay in the first cache
_CHUNK = 1024  # pixels of a shifted image that stay in the first cache while all slices are multiplied with it
QUANTUM = 2.0**24
"""Sums are kept as whole multiples of 1 / QUANTUM, so that their order cannot change them."""


@njit(nogil=True, cache=True)
def _room():
    """Places and weights of a few pixels, in the first cache: numbers of corners, weights, and sums over corners."""
    return np.empty(_NEAR, np.int64), np.empty((6, _NEAR), np.float32), np.empty(6 * _NEAR, np.float32)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _locate(shape, rotation, ky, kx, at, part):
    """Where pixels lie in a half spectrum: the corner before each, weights of the four lines, along x, and its sign.

    Pixels beyond the spectrum have no weight. Apart from what follows it, this needs nothing but arithmetic, which
    the processor does for many pixels at once.
    """
    middle_z, middle_y = np.float32(shape[0] // 2), np.float32(shape[1] // 2)
    last_z, last_y, last_x = np.int32(shape[0] - 1), np.int32(shape[1] - 1), np.int32(shape[2] - 1)
    line, plane = np.int64(shape[2]), np.int64(shape[2] * shape[1])
    zy, zx, yy, yx, xy, xx = rotation
    one = np.float32(1)
    for k in range(len(ky)):
        z, y, x = zy * ky[k] + zx * kx[k], yy * ky[k] + yx * kx[k], xy * ky[k] + xx * kx[k]
        sign = np.float32(-1) if x < 0 else one
        z, y, x = sign * z + middle_z, sign * y + middle_y, sign * x
        # Places are not negative within the volume, so cutting off is rounding down.
        i, j, m = np.int32(z), np.int32(y), np.int32(x)
        inside = z >= 0 and y >= 0 and i < last_z and j < last_y and m < last_x
        fz, fy, fx = z - np.float32(i), y - np.float32(j), x - np.float32(m)
        weight = one if inside else np.float32(0)
        gz, fz = weight * (one - fz), weight * fz
        at[k] = plane * np.int64(i) + line * np.int64(j) + np.int64(m) if inside else 0
        part[0, k], part[1, k], part[2, k], part[3, k] = gz * (one - fy), gz * fy, fz * (one - fy), fz * fy
        part[4, k], part[5, k] = fx, sign


@njit(nogil=True, cache=True, fastmath=_FAST)
def _cut(flat, shape, rotation, ky, kx, re, im, at, part, both):
    _locate(shape, rotation, ky, kx, at, part)
    line, plane = np.uint64(2 * shape[2]), np.uint64(2 * shape[2] * shape[1])
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    for k in range(len(ky)):
        a = two * np.uint64(at[k])
        b, c, d = a + line, a + plane, a + line + plane
        u, v, w, t = part[0, k], part[1, k], part[2, k], part[3, k]
        both[4 * k] = u * flat[a] + v * flat[b] + w * flat[c] + t * flat[d]
        both[4 * k + 1] = u * flat[a + one] + v * flat[b + one] + w * flat[c + one] + t * flat[d + one]
        both[4 * k + 2] = u * flat[a + two] + v * flat[b + two] + w * flat[c + two] + t * flat[d + two]
        both[4 * k + 3] = u * flat[a + three] + v * flat[b + three] + w * flat[c + three] + t * flat[d + three]
    for k in range(len(ky)):
        fx = part[4, k]
        gx = np.float32(1) - fx
        re[k] = gx * both[4 * k] + fx * both[4 * k + 2]
        im[k] = part[5, k] * (gx * both[4 * k + 1] + fx * both[4 * k + 3])


@njit(nogil=True, cache=True)
def cut_slice(volume, rotation, ky, kx, out):
    """Trilinear slice of a half spectrum [z, y, x ≥ 0, (re, im)], origin at (z // 2, y // 2, 0); zero beyond it."""
    turn = (rotation[0], rotation[1], rotation[2], rotation[3], rotation[4], rotation[5])
    at, part, both = _room()
    flat = volume.ravel()
    for k in range(0, len(ky), _NEAR):
        n = min(_NEAR, len(ky) - k)
        _cut(
            flat, volume.shape, turn, ky[k : k + n], kx[k : k + n], out[0, k : k + n], out[1, k : k + n], at, part, both
        )


@njit(nogil=True, cache=True)
def cut_slices(volumes, which, rotations, ky, kx, out):
    """`cut_slice` for many poses."""
    for s in range(len(which)):
        cut_slice(volumes[which[s]], rotations[s], ky, kx, out[s])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _dot(a, b):
    total = np.float32(0)
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@njit(nogil=True, cache=True, fastmath=_FAST)
def _dot_tile(a, b, c, d, p, q, r, s, scores):
    """Add the products of four shifted images with four slices to scores[image, slice]."""
    ap = aq = ar = as_ = bp = bq = br = bs = np.float32(0)
    cp = cq = cr = cs = dp = dq = dr = ds = np.float32(0)
    for k in range(len(a)):
        ap += a[k] * p[k]
        aq += a[k] * q[k]
        ar += a[k] * r[k]
        as_ += a[k] * s[k]
        bp += b[k] * p[k]
        bq += b[k] * q[k]
        br += b[k] * r[k]
        bs += b[k] * s[k]
        cp += c[k] * p[k]
        cq += c[k] * q[k]
        cr += c[k] * r[k]
        cs += c[k] * s[k]
        dp += d[k] * p[k]
        dq += d[k] * q[k]
        dr += d[k] * r[k]
        ds += d[k] * s[k]
    scores[0, 0] += ap
    scores[0, 1] += aq
    scores[0, 2] += ar
    scores[0, 3] += as_
    scores[1, 0] += bp
    scores[1, 1] += bq
    scores[1, 2] += br
    scores[1, 3] += bs
    scores[2, 0] += cp
    scores[2, 1] += cq
    scores[2, 2] += cr
    scores[2, 3] += cs
    scores[3, 0] += dp
    scores[3, 1] += dq
    scores[3, 2] += dr
    scores[3, 3] += ds


@njit(nogil=True, cache=True, fastmath=_FAST)
def _turn(image_re, image_im, ramp_re, ramp_im, re, im):
    """A part of an image's spectrum times a phase ramp."""
    for k in range(len(image_re)):
        re[k] = image_re[k] * ramp_re[k] - image_im[k] * ramp_im[k]
        im[k] = image_re[k] * ramp_im[k] + image_im[k] * ramp_re[k]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _norms(weights, slice_re, slice_im):
    total = np.float32(0)
    for k in range(len(slice_re)):
        total += weights[k] * (slice_re[k] * slice_re[k] + slice_im[k] * slice_im[k])
    return total


@njit(nogil=True, cache=True)
def _score_group(slices, particles, shifts, images, weights, ramps, scores):
    """Scores of one group's rows with its slices; each part of the slices is used for all rows while it is near."""
    count, children, rows = slices.shape[2], scores.shape[1], len(particles)
    tile, turned = np.zeros((8, 2 * _CHUNK), np.float32), np.zeros((4, 2 * _CHUNK), np.float32)
    found = np.zeros((4, 8), np.float32)
    scores[:] = 0
    for start in range(0, count, _CHUNK):
        n = min(_CHUNK, count - start)
        for c in range(children):
            tile[c, :n] = slices[c, 0, start : start + n]
            tile[c, n : 2 * n] = slices[c, 1, start : start + n]
        for first in range(0, rows, 4):
            for k in range(min(4, rows - first)):
                image, ramp = images[particles[first + k]], ramps[shifts[first + k]]
                _turn(
                    image[0, start : start + n], image[1, start : start + n], ramp[0, start : start + n],
                    ramp[1, start : start + n], turned[k, :n], turned[k, n : 2 * n],
                )  # fmt: skip
            found[:] = 0
            for c in range(0, children, 4):
                _dot_tile(
                    turned[0, : 2 * n], turned[1, : 2 * n], turned[2, : 2 * n], turned[3, : 2 * n],
                    tile[c, : 2 * n], tile[c + 1, : 2 * n], tile[c + 2, : 2 * n], tile[c + 3, : 2 * n],
                    found[:, c : c + 4],
                )  # fmt: skip
            for k in range(min(4, rows - first)):
                for c in range(children):
                    scores[first + k, c] += found[k, c]
    last, norms = -1, np.zeros(8, np.float32)
    for row in range(rows):
        i = particles[row]
        if i != last:
            last = i
            for c in range(children):
                norms[c] = _norms(weights[i, :count], slices[c, 0], slices[c, 1])
        for c in range(children):
            scores[row, c] -= norms[c]


@njit(nogil=True, cache=True)
def score_poses(volumes, which, rotations, starts, particles, shifts, images, weights, ramps, ky, kx, scores):
    """Fill scores[row, child]; see `thon.kernels.pose_products`."""
    children = rotations.shape[1]
    slices = np.empty((children, 2, len(ky)), np.float32)
    for g in range(len(which)):
        first, last = starts[g], starts[g + 1]
        if first < last:
            for c in range(children):
                cut_slice(volumes[which[g]], rotations[g, c], ky, kx, slices[c])
            _score_group(slices, particles[first:last], shifts[first:last], images, weights, ramps, scores[first:last])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add_turned(image, ramp, weight, total):
    for k in range(total.shape[1]):
        a, b = image[0, k], image[1, k]
        c, d = ramp[0, k], ramp[1, k]
        total[0, k] += weight * (a * c - b * d)
        total[1, k] += weight * (a * d + b * c)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add_scaled(total, values, weight):
    for k in range(len(total)):
        total[k] += weight * values[k]


@njit(nogil=True, cache=True)
def _add_shells(total, piece, weights, weight, shell_starts, cross, power):
    """Shell sums of Re(conj(total) piece) and weight · weights · |piece|², added to one particle's rows."""
    for s in range(len(shell_starts) - 1):
        start, stop = shell_starts[s], shell_starts[s + 1]
        cross[s] += _dot(total[0, start:stop], piece[0, start:stop]) + _dot(total[1, start:stop], piece[1, start:stop])
        power[s] += weight * _power(weights[start:stop], piece[:, start:stop])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _power(weights, piece):
    total = np.float32(0)
    for k in range(len(weights)):
        total += weights[k] * (piece[0, k] * piece[0, k] + piece[1, k] * piece[1, k])
    return total


@njit(nogil=True, cache=True)
def sum_poses(
    volumes, which, rotations, starts, particles, shifts, posterior, images, masked, weights, ramps, ky, kx,
    shell_starts, sums, sum_weights, cross, power,
):  # fmt: skip
    """Fill sums and sum_weights of each pose, add to cross and power; see `thon.kernels.pose_products`."""
    count, children = len(ky), rotations.shape[1]
    piece, total = np.empty((2, count), np.float32), np.empty((2, count), np.float32)
    for g in range(len(which)):
        for c in range(children):
            s = g * children + c
            sums[s] = 0
            sum_weights[s] = 0
            cut = False
            row = starts[g]
            while row < starts[g + 1]:
                i = particles[row]
                total[:] = 0
                share = np.float32(0)
                while row < starts[g + 1] and particles[row] == i:
                    p = posterior[row, c]
                    if p > 0:
                        _add_turned(images[i], ramps[shifts[row]], p, sums[s])
                        _add_turned(masked[i], ramps[shifts[row]], p, total)
                        share += p
                    row += 1
                if share > 0:
                    if not cut:
                        cut_slice(volumes[which[g]], rotations[g, c], ky, kx, piece)
                        cut = True
                    _add_scaled(sum_weights[s], weights[i], share)
                    _add_shells(total, piece, weights[i], share, shell_starts, cross[i], power[i])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _insert(flat, shape, rotation, ky, kx, re, im, weight, at, part, both):
    _locate(shape, rotation, ky, kx, at, part)
    quantum = np.float32(QUANTUM)
    both = both.reshape(6, _NEAR)
    for k in range(len(ky)):
        high = quantum * part[4, k]
        low = quantum - high
        real, imaginary, share = re[k], part[5, k] * im[k], weight[k]
        both[0, k], both[1, k], both[2, k] = low * real, low * imaginary, low * share
        both[3, k], both[4, k], both[5, k] = high * real, high * imaginary, high * share
    line, plane = np.uint64(3 * shape[2]), np.uint64(3 * shape[2] * shape[1])
    none, one, two = np.uint64(0), np.uint64(1), np.uint64(2)
    three, four, five = np.uint64(3), np.uint64(4), np.uint64(5)
    for k in range(len(ky)):
        a = three * np.uint64(at[k])
        for corner in range(4):
            w = part[corner, k]
            b = a + (plane if corner > 1 else none) + (line if corner % 2 else none)
            flat[b] += np.int64(w * both[0, k])
            flat[b + one] += np.int64(w * both[1, k])
            flat[b + two] += np.int64(w * both[2, k])
            flat[b + three] += np.int64(w * both[3, k])
            flat[b + four] += np.int64(w * both[4, k])
            flat[b + five] += np.int64(w * both[5, k])


@njit(nogil=True, cache=True)
def insert_slices(volumes, which, rotations, sums, sum_weights, ky, kx):
    """Add slices to half spectra of whole numbers [volume, z, y, x ≥ 0, (re, im, weight)], trilinear."""
    at, part, both = _room()
    for s in range(len(which)):
        volume, r = volumes[which[s]], rotations[s]
        turn = (r[0], r[1], r[2], r[3], r[4], r[5])
        flat = volume.ravel()
        for k in range(0, len(ky), _NEAR):
            end = min(k + _NEAR, len(ky))
            _insert(
                flat, volume.shape, turn, ky[k:end], kx[k:end], sums[s, 0, k:end], sums[s, 1, k:end],
                sum_weights[s, k:end], at, part, both,
            )  # fmt: skip
