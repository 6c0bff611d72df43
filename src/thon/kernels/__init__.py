"""The few hot operators, each a `torch.library` op with a plain-torch reference, a CPU and a CUDA kernel.

Loading this package is free; PyTorch, Numba and Triton load with the first operator that is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thon.kernels.frame_spectra import add_aligned, score_frames
    from thon.kernels.frame_warp import add_warped, spline_response
    from thon.kernels.image_halving import halve_image
    from thon.kernels.resampling import sample_coverage, sample_images
    from thon.kernels.slab_projection import backproject, project

_public = {
    "add_aligned": "thon.kernels.frame_spectra",
    "add_warped": "thon.kernels.frame_warp",
    "backproject": "thon.kernels.slab_projection",
    "halve_image": "thon.kernels.image_halving",
    "project": "thon.kernels.slab_projection",
    "sample_coverage": "thon.kernels.resampling",
    "sample_images": "thon.kernels.resampling",
    "score_frames": "thon.kernels.frame_spectra",
    "spline_response": "thon.kernels.frame_warp",
}
__all__ = [
    "add_aligned",
    "add_warped",
    "backproject",
    "halve_image",
    "project",
    "sample_coverage",
    "sample_images",
    "score_frames",
    "spline_response",
]


def __getattr__(name: str) -> object:
    if name in _public:
        return getattr(importlib.import_module(_public[name]), name)
    raise AttributeError(f"module 'thon.kernels' has no attribute {name!r}")
