"""Warp's tilt-series XML, read.

Warp sees a point (x, y, z) of its volume, once turned about x by LevelAngleX, at u = x cos θ − z sin θ, v = y, with θ
the angle plus LevelAngleY; rotates by AxisAngle, the house's rotation; adds AxisOffset, the house's shift; and
subtracts GridMovement, a natural cubic spline over the image. So its z runs against the house's, and LevelAngleX is
minus the x-tilt. AreAnglesInverted does not touch positions: it turns the sign with which height changes the defocus,
the hand. The centre of n pixels is n / 2. Facts from warpylib (MIT) and the answers of Warp in its tests.
"""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.data.geometry import LocalField, TiltGeometry
from thon.formats.local_field import fit_local_field
from thon.formats.text import PathLike, read_text, to_number


@dataclass(frozen=True)
class WarpSeries:
    """What Warp knows of a tilt series, in the XML's order.

    Args:
        geometry: Alignment, with local movement where the XML has it and the image size is known.
        prior_exposure: e/Å² before each image.
        excluded: Reason by image index for tilts that are switched off.
        movies: As named in the XML.
        hand: +1 or −1 as in RELION's `rlnTomoHand`.
        defocus: Of each image, mean, Å; None where not fitted.
        pixel_size: Of the movies, Å; None where not given.
        notes: Sentences about what could not be taken along.
    """

    geometry: TiltGeometry
    prior_exposure: Float[np.ndarray, "tilts"]
    excluded: dict[int, str]
    movies: tuple[str, ...]
    hand: int
    defocus: Float[np.ndarray, "tilts"] | None
    pixel_size: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WarpGrid:
    """Values on a regular grid over the unit cube.

    Args:
        values: (depth, rows, columns).
        margin: (depth, rows, columns), distance of the outermost nodes from the cube's faces.
    """

    values: Float[np.ndarray, "depth rows columns"]
    margin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def along_tilts(self, count: int) -> Float[np.ndarray, "tilts rows columns"]:
        """Values of each image's plane."""
        depth = natural_spline(np.linspace(0, 1, count), self.values.shape[0], self.margin[0])
        return np.einsum("td,drc->trc", depth, self.values)

    def sample(self, plane: Float[np.ndarray, "rows columns"], at: Float[np.ndarray, "points 2"]) -> np.ndarray:
        """One image's plane at points (y, x) from 0 to 1 across the image."""
        rows = natural_spline(at[:, 0], plane.shape[0], self.margin[1])
        columns = natural_spline(at[:, 1], plane.shape[1], self.margin[2])
        return np.einsum("pr,pc,rc->p", rows, columns, plane, optimize=True)


def natural_spline(
    position: Float[np.ndarray, "points"], nodes: int, margin: float = 0.0
) -> Float[np.ndarray, "points nodes"]:
    """Weights of `nodes` equally spaced values in their natural cubic spline, at positions from 0 to 1."""
    if nodes == 1:
        return np.ones((len(position), 1))
    at = np.clip((np.asarray(position) - margin) / (1 - 2 * margin) * (nodes - 1), 0, nodes - 1)
    bend = np.eye(nodes)
    right = np.zeros((nodes, nodes))
    for k in range(1, nodes - 1):
        bend[k, k - 1 : k + 2] = 1, 4, 1
        right[k, k - 1 : k + 2] = 6, -12, 6
    second = np.linalg.solve(bend, right)
    cell = np.minimum(at.astype(int), nodes - 2)
    b = (at - cell)[:, None]
    a = 1 - b
    values = np.eye(nodes)
    straight = a * values[cell] + b * values[cell + 1]
    return straight + ((a**3 - a) * second[cell] + (b**3 - b) * second[cell + 1]) / 6


def read_warp(
    path: PathLike, image_shape: tuple[int, int] | None = None, pixel_size: float | None = None
) -> WarpSeries:
    """Read a tilt-series XML.

    Args:
        path: The XML.
        image_shape: (rows, columns), px, with `pixel_size` the extent of the images; needed for local movement in XMLs
            that do not hold ImageDimensionsAngstrom.
        pixel_size: Å.

    Raises:
        InputError: If there is no such file.
        FormatError: If it is no tilt-series XML.
    """
    root = _root(path)
    angles = _column(root, "Angles", path)
    count = len(angles)
    if not count:
        raise FormatError("holds no tilt angles", path=path, expected="<Angles>")
    shift = np.stack([_column(root, f"AxisOffset{axis}", path, count) for axis in "YX"], -1)
    level_x, level_y = (_attribute(root, f"LevelAngle{axis}", path) for axis in "XY")
    geometry = TiltGeometry(angles + level_y, shift, _column(root, "AxisAngle", path, count), np.full(count, -level_x))
    notes: list[str] = []
    extent = _extent(root, path, image_shape, pixel_size)
    geometry = _with_movement(root, path, geometry, extent, notes)
    _note_the_rest(root, path, notes)
    used = _words(root, "UseTilt") or ["True"] * count
    if len(used) != count:
        raise FormatError("UseTilt and Angles differ in number", path=path, got=len(used), expected=count)
    defocus = _grid(root, "GridCTF", path)
    pixel = root.find("OptionsCTF/Param[@Name='PixelSize']")
    return WarpSeries(
        geometry=geometry,
        prior_exposure=_column(root, "Dose", path, count),
        excluded={k: "switched off in Warp" for k, word in enumerate(used) if word.lower() != "true"},
        movies=tuple(_lines(root, "MoviePath")),
        hand=1 if root.get("AreAnglesInverted", "").lower() == "true" else -1,
        defocus=None if defocus is None else 1e4 * defocus.along_tilts(count).mean((1, 2)),
        pixel_size=None if pixel is None else to_number(pixel.get("Value", ""), path, 0),
        notes=tuple(notes),
    )


def _root(path: PathLike) -> ET.Element:
    text = read_text(path)
    # The declaration names the encoding of the bytes, which are text by now; entities would be a trap.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError("declares XML entities, which Warp never does", path=path)
    try:
        root = ET.fromstring(text.encode("utf-8") if "encoding" not in text[:100] else _undeclared(text))
    except ET.ParseError as error:
        line = error.position[0]
        raise FormatError(f"line {line} is no XML", path=path, got=str(error)) from None
    if root.tag != "TiltSeries":
        raise FormatError("is no tilt series of Warp's", path=path, got=f"<{root.tag}>", expected="<TiltSeries>")
    return root


def _undeclared(text: str) -> bytes:
    start = text.find("?>")
    return (("" if start < 0 else "\n" * text[:start].count("\n")) + text[start + 2 :].lstrip(" ")).encode("utf-8")


def _lines(root: ET.Element, tag: str) -> list[str]:
    element = root.find(tag)
    text = "" if element is None else element.text or ""
    return [line.strip() for line in text.split("\n") if line.strip()]


def _words(root: ET.Element, tag: str) -> list[str]:
    return [word for line in _lines(root, tag) for word in line.split()]


def _column(root: ET.Element, tag: str, path: PathLike, count: int | None = None) -> Float[np.ndarray, "tilts"]:
    """Numbers of an element, one per tilt; zeros where it is missing."""
    values = np.array([to_number(word, path, k) for k, word in enumerate(_words(root, tag), 1)])
    if count is not None and not len(values):
        return np.zeros(count)
    if count is not None and len(values) != count:
        raise FormatError(f"{tag} and Angles differ in number", path=path, got=len(values), expected=count)
    return values


def _attribute(element: ET.Element, name: str, path: PathLike, default: str = "0") -> float:
    return to_number(element.get(name, default).strip(), path, 0)


def _grid(root: ET.Element, tag: str, path: PathLike) -> WarpGrid | None:
    element = root.find(tag)
    if element is None:
        return None
    sides = ("Depth", "Height", "Width")
    shape = tuple(int(_attribute(element, side, path, "1")) for side in sides)
    values = np.full(shape if min(shape) > 0 and math.prod(shape) < 10**7 else (0, 0, 0), np.nan)
    for node in element.iter("Node"):
        z, y, x = (int(_attribute(node, axis, path)) for axis in "ZYX")
        if not (0 <= z < values.shape[0] and 0 <= y < values.shape[1] and 0 <= x < values.shape[2]):
            raise FormatError(f"{tag} has a node outside its grid", path=path, got=(x, y, z), expected=shape[::-1])
        values[z, y, x] = _attribute(node, "Value", path)
    if not values.size or np.isnan(values).any():
        raise FormatError(f"{tag} lacks nodes", path=path, expected=f"{shape[2]} × {shape[1]} × {shape[0]}")
    margin = tuple(_attribute(element, f"Margin{axis}", path) for axis in "ZYX")
    if not 0 <= min(margin) <= max(margin) < 0.5:
        raise FormatError(f"{tag} has a margin that leaves no grid", path=path, got=margin, expected="0 to 0.5")
    return WarpGrid(values, (margin[0], margin[1], margin[2]))


def _extent(
    root: ET.Element, path: PathLike, image_shape: tuple[int, int] | None, pixel_size: float | None
) -> tuple[float, float] | None:
    """(rows, columns) of the images, Å."""
    said = root.get("ImageDimensionsAngstrom", "").replace(",", " ").split()
    if len(said) == 2:
        return to_number(said[1], path, 0), to_number(said[0], path, 0)
    if image_shape is not None and pixel_size is not None:
        return image_shape[0] * pixel_size, image_shape[1] * pixel_size
    return None


def _with_movement(
    root: ET.Element,
    path: PathLike,
    geometry: TiltGeometry,
    extent: tuple[float, float] | None,
    notes: list[str],
) -> TiltGeometry:
    y, x = _grid(root, "GridMovementY", path), _grid(root, "GridMovementX", path)
    if y is None or x is None or not (y.values.any() or x.values.any()):
        return geometry
    if extent is None:
        raise InputError(
            "holds local movement but not the size of the images",
            path=path,
            mend="give the image size and the pixel size",
        )
    local = _fit_movement(geometry, y, x, extent)
    notes.append("Warp's local movement is fitted by a spline of the house.")
    return replace(geometry, local=local)


def _fit_movement(geometry: TiltGeometry, y: WarpGrid, x: WarpGrid, extent: tuple[float, float]) -> LocalField:
    """The house's spline through Warp's movement, which it subtracts, sampled all over the images."""
    nodes = max(*y.values.shape[1:], *x.values.shape[1:])
    side = 6 * nodes + 1
    at = np.array(list(itertools.product(np.linspace(0, 1, side), repeat=2)))
    image = (at - 0.5) * extent
    plane: list[Float[np.ndarray, "points 2"]] = []
    moved: list[Float[np.ndarray, "points 2"]] = []
    y_planes, x_planes = y.along_tilts(len(geometry)), x.along_tilts(len(geometry))
    for k in range(len(geometry)):
        row, column = (image - geometry.shift[k]).T
        c, s = np.cos(np.deg2rad(geometry.rotation[k])), np.sin(np.deg2rad(geometry.rotation[k]))
        plane.append(np.stack([row * c - column * s, row * s + column * c], -1))
        moved.append(-np.stack([y.sample(y_planes[k], at), x.sample(x_planes[k], at)], -1))
    reach = np.abs(np.concatenate(plane)).max(0)
    return fit_local_field(plane, moved, nodes=(3 * nodes + 3,) * 2, extent=(float(reach[0]), float(reach[1])))


def _note_the_rest(root: ET.Element, path: PathLike, notes: list[str]) -> None:
    for tag, what in (("GridVolumeWarp", "deformation of the volume"), ("GridAngle", "local angles")):
        grids = [element for element in root if element.tag.startswith(tag)]
        if any(_attribute(node, "Value", path) for element in grids for node in element.iter("Node")):
            notes.append(f"Warp's {what} ({tag}) is left out.")
    magnification = root.get("MagnificationCorrection", "1, 0, 0, 1").replace(",", " ").split()
    values = [to_number(word, path, 0) for word in magnification]
    if len(values) != 4:
        raise FormatError("MagnificationCorrection is no matrix", path=path, got=" ".join(magnification))
    if not np.allclose(values, [1, 0, 0, 1]):
        notes.append(f"Warp's anisotropic magnification ({' '.join(magnification)}) is not applied: {Path(path).name}.")
