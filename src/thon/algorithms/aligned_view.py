"""A tilt series as people look at it: small, with the tilt axis upright."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.alignment_images import bin_images
from thon.data.geometry import TiltGeometry
from thon.ops.projection import lay_out


def show_aligned(
    images: Any, geometry: TiltGeometry, pixel_size: float, size: int = 384
) -> tuple[Float[np.ndarray, "tilts rows columns"], Float[np.ndarray, "tilts rows2 columns2"], float]:
    """Aligned and raw images, small.

    Args:
        images: (tilts, rows, columns), whatever gives one image by its index.
        geometry: One entry per image.
        pixel_size: Å.
        size: Longer side of what is returned, px.

    Returns:
        Aligned images (tilt axis upright, shifts undone), raw images, and the pixel size of both, Å.
    """
    factor = max(1, round(max(images.shape[1:]) / size))
    small: list[torch.Tensor] = []
    for k in range(len(images)):
        image = torch.from_numpy(np.array(images[k], np.float32))
        small.append(bin_images(torch.nan_to_num(image)[None], factor)[0])
    raw = torch.stack(small)
    rows, columns = raw.shape[-2:]
    upright = lay_out(raw, geometry, pixel_size * factor, rows, columns).transpose(1, 2)
    return upright.numpy(), raw.numpy(), pixel_size * factor
