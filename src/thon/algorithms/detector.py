"""What a detector does to every frame, and how it is undone: dark reference, gain reference, defects.

A corrected frame is ``(frame − dark) · gain``. References are fitted to the frames once: turned, inverted where they
divide, and brought from the physical pixels to super-resolution ones or back.

K2 and K3 gains multiply, and so does the one that EPU writes beside EER movies (`.gain`). Other references for EER
divide, as RELION's documentation says of them (Movie compression, "Falcon4 EER"). In all, zero marks a dead pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from jaxtyping import Bool, Float32, Num, Shaped

from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit

Flip = Literal["none", "up-down", "left-right"]

FACTORS = (1, 2, 4, 8)
"""How many times finer one grid of a detector may be than another."""


SUPER_RESOLUTION = ((8184, 11520), (7420, 7676))
"""Frames of the K3 and of the K2 that have two samples across each pixel of the sensor."""


def samples_per_pixel(frame_shape: tuple[int, int]) -> int:
    """Samples across a pixel of the sensor in frames whose size is known for it, lying or upright; else 1."""
    return 2 if frame_shape in SUPER_RESOLUTION or frame_shape[::-1] in SUPER_RESOLUTION else 1


class DetectorOptions(Options):
    """How a gain reference lies on the frames; as RotGain, FlipGain and InvGain of MotionCor, in that order."""

    rotate_gain: Annotated[int, Unit("× 90°"), Ge(0), Le(3)] = 0
    """Quarter turns anticlockwise, of the picture as it is seen, its first row at the bottom."""

    flip_gain: Flip = "none"
    """Mirroring after the turn: up-down is MotionCor's 1, left-right its 2."""

    invert_gain: bool | None = None
    """Divide by the gain's values instead of multiplying; unless said, so for EER only, if the gain is no `.gain`."""

    largest_gain: Annotated[float, Unit("× the median"), Gt(1), Advanced()] = 5.0
    """Pixels that the gain raises by more than this are defects: they hardly see electrons."""


@dataclass(frozen=True)
class DetectorCorrection:
    """References on the grid of the frames; made by `prepare_detector`.

    Args:
        gain: What to multiply with; zero where the detector is dead. None: the frames are right.
        offset: What to add after it: −dark · gain. None: no dark reference.
        defects: True where a pixel is known to be bad: by the gain, or by a list of defects.
    """

    gain: Float32[torch.Tensor, "rows columns"] | None
    offset: Float32[torch.Tensor, "rows columns"] | None
    defects: Bool[torch.Tensor, "rows columns"]

    def to(self, device: torch.device | str) -> DetectorCorrection:
        """The same on another device."""
        gain, offset = (None if t is None else t.to(device) for t in (self.gain, self.offset))
        return DetectorCorrection(gain, offset, self.defects.to(device))


def prepare_detector(
    frame_shape: tuple[int, int],
    gain: Num[np.ndarray, "gain_rows gain_columns"] | None = None,
    dark: Num[np.ndarray, "dark_rows dark_columns"] | None = None,
    defects: Bool[np.ndarray, "rows columns"] | None = None,
    *,
    divides: bool = False,
    options: DetectorOptions | None = None,
) -> DetectorCorrection:
    """Fit a detector's references to its frames.

    Args:
        frame_shape: (rows, columns) of the frames as they will be corrected; of EER, as they are rendered.
        gain: Gain reference; of the same grid as the frames, or one that is 2, 4 or 8 times finer or coarser.
        dark: What one frame shows without a beam, in the orientation of the frames, on such a grid as well: a pixel
            that is divided into four has a quarter of it in each.
        defects: True where a pixel is bad, in the orientation of the frames, on such a grid as well.
        divides: Whether the gain divides where the options do not say.
        options: Orientation of the gain.

    Raises:
        InputError: If the size of one of them does not fit.
    """
    options = options or DetectorOptions()
    bad = np.zeros(frame_shape, bool)
    factor = offset = None
    if gain is not None:
        inverted = divides if options.invert_gain is None else options.invert_gain
        factor, dead = fit_gain(gain, frame_shape, options, inverted=inverted)
        bad |= dead
    if dark is not None:
        level = _fit_grid(np.asarray(dark, np.float32), frame_shape, "dark reference")
        # Counts of a part are a part of the counts: the mean that the fit gives is not their sum.
        level = level * (dark.size / (frame_shape[0] * frame_shape[1]))
        offset = -level if factor is None else -level * factor
    if defects is not None:
        bad |= _fit_grid(defects, frame_shape, "map of defects") > 0
    return DetectorCorrection(_tensor(factor), _tensor(offset), torch.from_numpy(bad))


def fit_gain(
    gain: Num[np.ndarray, "gain_rows gain_columns"],
    frame_shape: tuple[int, int],
    options: DetectorOptions,
    *,
    inverted: bool,
) -> tuple[Float32[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
    """A gain reference turned and brought to the grid of the frames, as factors, and where it says pixels are dead.

    Args:
        gain: As it was read.
        frame_shape: (rows, columns).
        options: Its orientation.
        inverted: Its values divide.

    Raises:
        InputError: If its size does not fit the frames.
    """
    turned = turn_gain(np.asarray(gain, np.float32), options.rotate_gain, options.flip_gain)
    # Sensitivities add up over the parts of a pixel, not the factors that undo them.
    sensitivity = np.array(turned)
    if not inverted:
        np.divide(1, turned, out=sensitivity, where=turned > 0)
    sample = sensitivity[:: max(1, len(turned) // 1000)]
    middle = float(np.median(sample[sample > 0])) if (sample > 0).any() else 0.0
    weak = sensitivity <= middle / options.largest_gain
    sensitivity[weak] = 0
    summed = _fit_grid(sensitivity, frame_shape, "gain reference", turned_from=gain.shape)
    dead = _fit_grid(weak, frame_shape, "gain reference") > 0
    return np.divide(1, summed, out=np.zeros(frame_shape, np.float32), where=~dead), dead


def turn_gain(
    gain: Shaped[np.ndarray, "gain_rows gain_columns"], rotate: int, flip: Flip
) -> Shaped[np.ndarray, "turned_rows turned_columns"]:
    """An image turned by quarters anticlockwise as it is seen with its first row at the bottom, then mirrored."""
    # NumPy means anticlockwise with the first row at the top.
    turned = np.rot90(gain, -rotate)
    if flip == "none":
        return turned
    return turned[::-1] if flip == "up-down" else turned[:, ::-1]


def correct_frame(
    frame: Num[torch.Tensor, "*batch rows columns"],
    correction: DetectorCorrection,
    *,
    out: Float32[torch.Tensor, "*batch rows columns"] | None = None,
) -> Float32[torch.Tensor, "*batch rows columns"]:
    """(frame − dark) · gain; bad pixels are left to `thon.algorithms.bad_pixels`.

    Args:
        frame: As it was read, of any type; also several frames.
        correction: Of its detector, on the same device.
        out: Where to write the result; may be the frame itself.

    Raises:
        ValueError: If frame and correction differ in size.
    """
    if frame.shape[-2:] != correction.defects.shape:
        raise ValueError(f"frames of {tuple(frame.shape[-2:])}, references of {tuple(correction.defects.shape)}")
    result = torch.empty(frame.shape, dtype=torch.float32, device=frame.device) if out is None else out
    # Two passes in place: PyTorch's mixed-type product in one takes five times as long.
    result.copy_(frame)
    if correction.offset is not None:
        factor = torch.ones_like(correction.offset) if correction.gain is None else correction.gain
        return torch.addcmul(correction.offset, result, factor, out=result)
    return result if correction.gain is None else result.mul_(correction.gain)


def _fit_grid(
    image: np.ndarray, shape: tuple[int, int], what: str, *, turned_from: tuple[int, ...] | None = None
) -> Float32[np.ndarray, "rows columns"]:
    """The image on a finer or coarser grid: values repeated, or their mean."""
    rows, columns = image.shape
    for factor in FACTORS:
        if (rows, columns) == (shape[0] * factor, shape[1] * factor):
            parts = image.reshape(shape[0], factor, shape[1], factor)
            return image.astype(np.float32) if factor == 1 else parts.mean((1, 3), np.float32)
        if (rows * factor, columns * factor) == shape:
            return np.repeat(np.repeat(image.astype(np.float32), factor, 0), factor, 1)
    got = f"{rows} rows, {columns} columns"
    if turned_from not in (None, image.shape):
        got += f" (turned from {turned_from[0]}, {turned_from[1]})"
    raise InputError(
        f"the {what} does not fit the frames",
        got=got,
        expected=f"{shape[0]} rows, {shape[1]} columns, or both 2, 4 or 8 times as many or as few",
        mend=_advice(image.shape, shape, what),
    )


def _advice(image: tuple[int, ...], shape: tuple[int, int], what: str) -> str:
    ratios = {shape[0] / image[1], shape[1] / image[0]}
    if len(ratios) == 1 and ratios <= {f for n in FACTORS for f in (n, 1 / n)}:
        return "turn it by 90° (rotate_gain 1 or 3), as the frames were"
    return f"give the {what} of the detector and mode in which the movies were taken"


def _tensor(values: np.ndarray | None) -> Any:
    return None if values is None else torch.from_numpy(values.astype(np.float32))
