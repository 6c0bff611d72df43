"""BPT, WBP and FBP: one back-projection of weighted images."""

from __future__ import annotations

import torch

from thon.algorithms.reconstruction.options import ReconstructOptions
from thon.ops import filters


def filter_weights(
    tilt: torch.Tensor, columns: int, thickness: float, voxel_size: float, options: ReconstructOptions
) -> torch.Tensor:
    """Weights of each image's frequencies across the tilt axis, (tilts, half); one column for BPT, which has no filter.

    Args:
        tilt: Degrees.
        columns: Of the laid-out images.
        thickness: Of the volume, voxels.
        voxel_size: Å.
        options: Method and filter.
    """
    mean = filters.mean_weights(tilt, thickness)
    if options.method == "BPT":
        return mean
    settings, length = options.filter, filters.padded_length(columns)
    if options.method == "WBP":
        support = thickness if settings.support is None else settings.support / voxel_size
        weights = filters.exact_weights(tilt, length, support)
    else:
        weights = filters.ramp_weights(tilt, length)
    if settings.sirt_iterations > 0:
        weights = filters.sirt_like(weights, mean, settings.sirt_iterations)
    frequency = torch.fft.rfftfreq(length, dtype=tilt.dtype, device=tilt.device)
    shape = filters.window_response(frequency, settings.window)
    return weights * shape * filters.radial_response(frequency, settings.cutoff, settings.falloff)


def weigh(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Filtered images; scaled ones where there is but one weight per image."""
    if weights.shape[1] == 1:
        return images * weights[..., None]
    return filters.filter_columns(images, weights)
