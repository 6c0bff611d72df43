"""Run the Triton kernels under the interpreter and print their largest errors; a test starts it as a process."""

from __future__ import annotations

import json

import torch

from thon.kernels import resampling, resampling_cuda, slab_projection, slab_projection_cuda


def projector_errors(dtype: torch.dtype, straight: bool) -> list[float]:
    random = torch.Generator().manual_seed(3)
    tilts, depth, width, rows, columns, image_rows = 3, 3, 6, 11, 7, 14
    angle = torch.tensor([-1.1, 0.2, 1.57079632679], dtype=torch.float64)
    paths = torch.zeros(tilts, 2, 3, dtype=torch.float64)
    paths[:, 0] = torch.stack([angle.sin(), angle.cos(), 3 - angle.sin() - 3.3 * angle.cos()], -1)
    paths[:, 1] = torch.tensor([0.0, 0.0, 2.0] if straight else [0.31, 0.07, 0.4])
    images = torch.randn(tilts, columns, image_rows, generator=random, dtype=dtype)
    volume = torch.randn(depth, width, rows, generator=random, dtype=dtype)
    back = slab_projection_cuda.backproject(images, paths, depth, width, rows)
    forth = slab_projection_cuda.project(volume, paths, columns, image_rows)
    return [
        float((back - slab_projection.backproject_reference(images, paths, depth, width, rows)).abs().max()),
        float((forth - slab_projection.project_reference(volume, paths, columns, image_rows)).abs().max()),
    ]


def sampling_error(dtype: torch.dtype, warped: bool) -> float:
    random = torch.Generator().manual_seed(4)
    image = torch.randn(1, 13, 17, generator=random, dtype=dtype)
    maps = torch.tensor([[[0.8, -0.5, 4.0], [0.6, 0.7, -2.0]]], dtype=torch.float64)
    field = torch.randn(1, 4, 5, 2, generator=random, dtype=torch.float64) if warped else None
    knots = torch.tensor([[[0.2, 0.03, -0.5], [-0.1, 0.3, 1.0]]], dtype=torch.float64) if warped else None
    sampled = torch.empty(1, 12, 15, dtype=dtype)
    resampling_cuda.sample(
        resampling.spline_coefficients(image[0]),
        image[0].mean(),
        maps[0],
        None if field is None else field[0],
        None if knots is None else knots[0],
        sampled[0],
    )
    return float((sampled - resampling.sample_images_reference(image, maps, field, knots, 12, 15)).abs().max())


if __name__ == "__main__":
    errors = {
        str(dtype): [
            *projector_errors(dtype, straight=True),
            *projector_errors(dtype, straight=False),
            sampling_error(dtype, warped=False),
            sampling_error(dtype, warped=True),
        ]
        for dtype in (torch.float32, torch.float64)
    }
    print(json.dumps(errors))
