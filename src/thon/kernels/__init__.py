"""The few hot operators, each a `torch.library` op with a plain-torch reference, a CPU and a CUDA kernel.

Loading this package is free; PyTorch, Numba and Triton load with the first operator that is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thon.kernels.curved_slices import insert_surfaces
    from thon.kernels.frame_spectra import add_aligned, score_frames
    from thon.kernels.frame_warp import add_warped, spline_response
    from thon.kernels.image_halving import halve_image
    from thon.kernels.pose_products import QUANTUM, cut_slices, insert_slices, score_poses, sum_poses
    from thon.kernels.posterior import pose_posterior
    from thon.kernels.resampling import sample_coverage, sample_images
    from thon.kernels.slab_projection import backproject, project
    from thon.kernels.spectrum_symmetry import symmetrise_spectrum

_public = {
    "QUANTUM": "thon.kernels.pose_products",
    "add_aligned": "thon.kernels.frame_spectra",
    "add_warped": "thon.kernels.frame_warp",
    "backproject": "thon.kernels.slab_projection",
    "cut_slices": "thon.kernels.pose_products",
    "halve_image": "thon.kernels.image_halving",
    "insert_slices": "thon.kernels.pose_products",
    "insert_surfaces": "thon.kernels.curved_slices",
    "pose_posterior": "thon.kernels.posterior",
    "project": "thon.kernels.slab_projection",
    "sample_coverage": "thon.kernels.resampling",
    "sample_images": "thon.kernels.resampling",
    "score_frames": "thon.kernels.frame_spectra",
    "score_poses": "thon.kernels.pose_products",
    "spline_response": "thon.kernels.frame_warp",
    "sum_poses": "thon.kernels.pose_products",
    "symmetrise_spectrum": "thon.kernels.spectrum_symmetry",
}
__all__ = [
    "QUANTUM",
    "add_aligned",
    "add_warped",
    "backproject",
    "cut_slices",
    "halve_image",
    "insert_slices",
    "insert_surfaces",
    "pose_posterior",
    "project",
    "sample_coverage",
    "sample_images",
    "score_frames",
    "score_poses",
    "spline_response",
    "sum_poses",
    "symmetrise_spectrum",
]


def __getattr__(name: str) -> object:
    if name in _public:
        return getattr(importlib.import_module(_public[name]), name)
    raise AttributeError(f"module 'thon.kernels' has no attribute {name!r}")
