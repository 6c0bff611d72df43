"""The proof of sign, hand and half pixel: known points are projected, written in each format, and found again.

Two kinds of evidence. A round trip through each format must leave projections where they were. And an independent
forward model per format, written here from the format's own definition in the format's own coordinates, must find
Gaussian blobs, drawn at the house's projections, where the format says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from thon.data.geometry import LocalField, TiltGeometry
from thon.formats.alignments import read_alignment, write_alignment
from thon.formats.aretomo import geometry_to_aln, write_aln
from thon.formats.imod import write_imod
from thon.formats.imod_com import TiltCom, read_tilt_com, write_tilt_com
from thon.formats.relion_tomo import tilt_table_geometry
from thon.formats.star import StarBlock, read_star
from thon.formats.xf import geometry_to_transforms, write_xf

SHAPES = [(630, 652), (61, 90), (90, 61), (4095, 3001), (4096, 4096)]
PIXEL = 2.17


def geometry_of(
    rotation: float, shape: tuple[int, int], *, x_tilt: float = 0.0, magnified: bool = True
) -> TiltGeometry:
    """Seven awkward tilts: per-tilt axis and magnification, shifts of a tenth of the image."""
    rng = np.random.default_rng(5)
    tilt = np.linspace(-61.3, 58.9, 7) + rng.normal(0, 0.2, 7)
    shift = rng.normal(0, 0.1, (7, 2)) * shape * PIXEL
    magnification = 1 + rng.normal(0, 0.002, 7) if magnified else np.ones(7)
    turned = rotation + rng.normal(0, 0.3, 7)
    return TiltGeometry(tilt, shift, turned, x_tilt + rng.normal(0, 0.4, 7) * (x_tilt != 0), magnification)


def points_of(shape: tuple[int, int]) -> np.ndarray:
    """The corners of a volume as wide as the images and an eighth as thick, and some points inside, Å."""
    y, x = shape
    corner = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * [min(y, x) / 8, y, x] / 2
    inside = np.random.default_rng(7).uniform(-0.5, 0.5, (20, 3)) * [min(y, x) / 8, y, x]
    return np.concatenate([corner, inside]) * PIXEL


def worst(first: TiltGeometry, second: TiltGeometry, points: np.ndarray) -> float:
    """Largest distance between two geometries' projections, px."""
    return float(np.linalg.norm(first.project(points) - second.project(points), axis=-1).max() / PIXEL)


# --- Round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rotation", [-4.3, 85.0, -95.4, 178.0])
@pytest.mark.parametrize(
    ("name", "x_tilt", "magnified"), [("a.xf", 1.9, True), ("a.aln", 0, True), ("a.star", 1.9, False)]
)
def test_precise_files_keep_projections(
    tmp_path: Path, shape: tuple[int, int], rotation: float, name: str, x_tilt: float, magnified: bool
) -> None:
    geometry = geometry_of(rotation, shape, x_tilt=x_tilt, magnified=magnified)
    assert write_alignment(tmp_path / name, geometry, shape, PIXEL) == []
    found = read_alignment(tmp_path / name, shape, PIXEL)
    error = worst(geometry, found.geometry, points_of(shape))
    print(f"{name} {shape} {rotation}: {error:.5f} px")
    assert error < 0.01
    # The test could not pass by standing still: a wrong sign of any part would be seen.
    assert worst(geometry, replace(found.geometry, shift=-found.geometry.shift), points_of(shape)) > 1
    assert worst(geometry, replace(found.geometry, tilt=-found.geometry.tilt), points_of(shape)) > 1


@pytest.mark.parametrize("x_tilt", [0.0, 3.0])
@pytest.mark.parametrize("rotation", [-4.3, 85.0])
def test_imod_folder_keeps_projections(tmp_path: Path, rotation: float, x_tilt: float) -> None:
    shape = (630, 651)
    geometry = geometry_of(rotation, shape, x_tilt=x_tilt)
    write_imod(tmp_path, "series", geometry, shape, PIXEL, thickness=100 * PIXEL, excluded={2: "dark", 6: "blocked"})
    found = read_alignment(tmp_path, shape, PIXEL)
    error = worst(geometry, found.geometry, points_of(shape))
    print(f"IMOD folder, x-tilt {x_tilt}: {error:.6f} px")
    assert error < 0.01
    assert sorted(found.excluded) == [2, 6]
    assert worst(geometry, replace(found.geometry, x_tilt=-found.geometry.x_tilt), points_of(shape)) > 1 or not x_tilt


@pytest.mark.parametrize("rotation", [-4.3, 85.0])
def test_imod_own_decimals(tmp_path: Path, rotation: float) -> None:
    shape = (4096, 4096)
    geometry = geometry_of(rotation, shape)
    # IMOD's own two decimals of the angle would add z sin(0.005°); the transform alone is asked here.
    geometry = replace(geometry, tilt=np.round(geometry.tilt, 2))
    write_alignment(tmp_path / "a.xf", geometry, shape, PIXEL, precise=False)
    error = worst(geometry, read_alignment(tmp_path / "a.xf", shape, PIXEL).geometry, points_of(shape))
    print(f"xf with 7 and 3 decimals at the corner of 4k: {error:.5f} px")
    assert error < 0.01


@pytest.mark.parametrize(("rotation", "bound"), [(-4.3, 0.6), (85.0, 0.6), (-12.6611, 1.5), (84.4445, 1.5)])
def test_three_decimal_transforms(tmp_path: Path, rotation: float, bound: float) -> None:
    """AreTomo exports matrices of three decimals: up to 0.0005 × 2896 px at the corner are lost, whoever reads."""
    shape = (4096, 4096)
    tilt = np.linspace(-60, 60, 7)
    geometry = replace(TiltGeometry.nominal(tilt, rotation), shift=geometry_of(0, shape).shift)
    transforms = geometry_to_transforms(geometry, shape, PIXEL)
    lines = np.concatenate([transforms.matrix.reshape(-1, 4), transforms.shift], 1)
    np.savetxt(tmp_path / "a.xf", lines, "%9.3f")
    # A shift's error is that of the matrix times the shift; the axis alone is asked here.
    moved = read_alignment(tmp_path / "a.xf", shape, PIXEL, tilt=tilt).geometry
    assert np.abs(moved.shift - geometry.shift).max() < 0.0008 * np.abs(geometry.shift).max() + 0.01
    error = worst(geometry, replace(moved, shift=geometry.shift), points_of(shape))
    print(f"xf with 3 decimals, rotation {rotation}: {error:.3f} px at the corner of 4k")
    assert error < bound
    assert np.abs(moved.magnification - 1).max() < 1e-12


def test_local_field_through_aln(tmp_path: Path) -> None:
    shape = (610, 652)
    rng = np.random.default_rng(2)
    local = LocalField(rng.normal(0, 2 * PIXEL, (7, 5, 6, 2)), (shape[0] * PIXEL / 2, shape[1] * PIXEL / 3))
    smooth = replace(local, coefficients=ndimage.gaussian_filter(local.coefficients, (0, 1.0, 1.0, 0)))
    geometry = replace(geometry_of(-4.3, shape), local=smooth)
    write_aln(tmp_path / "a.aln", geometry_to_aln(geometry, shape, PIXEL, patches=12))
    found = read_alignment(tmp_path / "a.aln", shape, PIXEL).geometry
    flat = points_of(shape) * [0, 0.85, 0.85]
    error, without = worst(geometry, found, flat), worst(geometry, replace(found, local=None), flat)
    print(f"local field through 12 × 12 patches: {error:.3f} px of {without:.2f} px")
    assert without > 1
    assert error < 0.05 * without


# --- Independent forward models with measured blobs ------------------------------------------------------------------

BLOB = 2.5
POINTS = np.array([[0, 0, 0], [9, -14, 11], [-12, 6, -17], [4, 15, 13]], float)  # (z, y, x), px


def draw(shape: tuple[int, int], centre: np.ndarray) -> np.ndarray:
    """An image of one Gaussian blob at (row, column), px."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * BLOB**2))


def measure(image: np.ndarray) -> np.ndarray:
    """Centroid (row, column) of the one blob in an image."""
    peak = np.array(np.unravel_index(image.argmax(), image.shape))
    rows, columns = np.indices(image.shape)
    near = np.where(np.hypot(rows - peak[0], columns - peak[1]) < 4.5 * BLOB, image, 0)
    return np.array([(near * rows).sum(), (near * columns).sum()]) / near.sum()


def raw_images(geometry: TiltGeometry, shape: tuple[int, int]) -> list[list[np.ndarray]]:
    """By tilt and point, the raw image that the house says."""
    seen = geometry.project(POINTS * PIXEL) / PIXEL + [shape[0] // 2, shape[1] // 2]
    return [[draw(shape, centre) for centre in tilt] for tilt in seen]


def small_geometry(rotation: float, x_tilt: float = 0.0) -> TiltGeometry:
    shift = np.array([[2.3, -3.1], [-4.6, 1.2], [0.7, 5.5]]) * PIXEL
    return TiltGeometry(np.array([-43.0, 3.0, 51.0]), shift, np.full(3, rotation), np.full(3, x_tilt), np.full(3, 1.01))


@pytest.mark.parametrize("output", [(77, 84), (90, 71)])
@pytest.mark.parametrize("shape", [(80, 96), (81, 95)])
@pytest.mark.parametrize(("rotation", "x_tilt"), [(-4.3, 0.0), (85.0, 0.0), (-4.3, 12.0)])
def test_imod_finds_the_blobs(
    tmp_path: Path, shape: tuple[int, int], output: tuple[int, int], rotation: float, x_tilt: float
) -> None:
    """newstack with the `.xf`, then tilt's geometry with XTILTFILE and XAXISTILT, in edge coordinates."""
    geometry = small_geometry(rotation, x_tilt)
    write_imod(tmp_path, "s", geometry, shape, PIXEL, thickness=40 * PIXEL)
    transforms = np.loadtxt(tmp_path / "s.xf")
    angles, own = np.deg2rad(np.loadtxt(tmp_path / "s.tlt")), np.loadtxt(tmp_path / "s.xtilt")
    pitch = np.deg2rad(own - read_tilt_com(tmp_path / "tilt.com").x_axis_tilt)
    errors = []
    for k, images in enumerate(raw_images(geometry, shape)):
        a11, a12, a21, a22, dx, dy = transforms[k]
        matrix = np.array([[a22, a21], [a12, a11]])  # acts on (row, column)
        for image, (z, y, x) in zip(images, POINTS, strict=True):
            # aligned = A (raw − raw size / 2) + d + aligned size / 2, all counted from edges: pixel i spans i to i + 1.
            inverse = np.linalg.inv(matrix)
            middle_in, middle_out = np.array(shape) / 2, np.array(output) / 2
            offset = middle_in - 0.5 + inverse @ (0.5 - middle_out - [dy, dx])
            aligned = ndimage.affine_transform(image, inverse, offset, output, order=5)
            v, u = measure(aligned) + 0.5 - middle_out
            y_turned = y * np.cos(pitch[k]) - z * np.sin(pitch[k])
            z_turned = y * np.sin(pitch[k]) + z * np.cos(pitch[k])
            errors.append([v - y_turned, u - (x * np.cos(angles[k]) + z_turned * np.sin(angles[k]))])
    error = np.abs(errors).max()
    print(f"IMOD blobs {shape} → {output}, rotation {rotation}, x-tilt {x_tilt}: {error:.4f} px")
    assert error < 0.01


@pytest.mark.parametrize("shape", [(80, 96), (81, 95)])
@pytest.mark.parametrize("rotation", [-4.3, 85.0])
def test_aretomo_finds_the_blobs(tmp_path: Path, shape: tuple[int, int], rotation: float) -> None:
    """p_aligned = R(−ROT) (p_raw − centre − (TX, TY)) / GMAG, with the rows of the file as text."""
    geometry = small_geometry(rotation)
    write_alignment(tmp_path / "a.aln", geometry, shape, PIXEL)
    text = (tmp_path / "a.aln").read_text().splitlines()
    rows = np.array([line.split() for line in text if not line.startswith("#")], float)
    output, errors = (90, 91), []
    for row, images in zip(rows, raw_images(geometry, shape), strict=True):
        rot, tx, ty, tilt = np.deg2rad(row[1]), row[3], row[4], np.deg2rad(row[9])
        # Pixel i of the aligned image, from its middle, counted from edges.
        ay, ax = np.meshgrid(*(np.arange(n) + 0.5 - n / 2 for n in output), indexing="ij")
        raw_x = row[2] * (ax * np.cos(rot) - ay * np.sin(rot)) + tx + shape[1] / 2
        raw_y = row[2] * (ax * np.sin(rot) + ay * np.cos(rot)) + ty + shape[0] / 2
        for image, (z, y, x) in zip(images, POINTS, strict=True):
            aligned = ndimage.map_coordinates(image, [raw_y - 0.5, raw_x - 0.5], order=5)
            v, u = measure(aligned) + 0.5 - np.array(output) / 2
            errors.append([v - y, u - (x * np.cos(tilt) + z * np.sin(tilt))])
    error = np.abs(errors).max()
    print(f"AreTomo blobs {shape}, rotation {rotation}: {error:.4f} px")
    assert error < 0.01


@pytest.mark.parametrize("shape", [(80, 96), (81, 95)])
@pytest.mark.parametrize("rotation", [-4.3, 85.0])
def test_relion_finds_the_blobs(tmp_path: Path, shape: tuple[int, int], rotation: float) -> None:
    """Image px = S(w/2, h/2) S(shift) Rz Ry Rx S(−volume centre), both centres int(n / 2)."""
    geometry = replace(small_geometry(rotation, 12.0), magnification=np.ones(3))
    write_alignment(tmp_path / "ts.star", geometry, shape, PIXEL)
    table = read_star(tmp_path / "ts.star")["ts"]
    volume = np.array([41, 60, 55])  # x, y, z
    matrices = {label: [] for label in ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ")}
    errors = []
    for row, images in zip(table.rows(), raw_images(geometry, shape), strict=True):
        value = {label: float(text) for label, text in row.items()}
        matrix = (
            translation(shape[1] // 2, shape[0] // 2)
            @ translation(value["rlnTomoXShiftAngst"] / PIXEL, value["rlnTomoYShiftAngst"] / PIXEL)
            @ turn(value["rlnTomoZRot"], 0, 1)
            @ turn(value["rlnTomoYTilt"], 2, 0)
            @ turn(value["rlnTomoXTilt"], 1, 2)
            @ translation(*(-(volume // 2)))
        )
        for label, line in zip(matrices, matrix, strict=False):
            matrices[label].append("[" + ",".join(f"{v:.10g}" for v in line) + "]")
        for image, point in zip(images, POINTS, strict=True):
            voxel = point[::-1] + volume // 2
            column, line, _, _ = matrix @ [*voxel, 1]
            errors.append(measure(image) - [line, column])
    error = np.abs(errors).max()
    print(f"RELION blobs {shape}, rotation {rotation}: {error:.5f} px")
    assert error < 0.01
    # RELION 4 stored the same matrices.
    old = tilt_table_geometry(StarBlock({}, matrices), PIXEL, image_shape=shape, volume_shape=(55, 60, 41))
    assert worst(geometry, old, POINTS * PIXEL) < 1e-4


def translation(x: float, y: float, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def turn(degrees: float, first: int, second: int) -> np.ndarray:
    """Right-handed rotation that takes the first axis towards the second."""
    matrix, angle = np.eye(4), np.deg2rad(degrees)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[second, first], matrix[first, second] = np.sin(angle), -np.sin(angle)
    return matrix


@pytest.mark.parametrize("shift", [(6.0, 0.0), (0.0, 5.0), (-3.0, 4.0)])
def test_imod_shift_of_the_volume(tmp_path: Path, shift: tuple[float, float]) -> None:
    """SHIFT moves what the volume shows by (x, z); z of IMOD's slices runs against the house's."""
    shape = (80, 96)
    geometry = small_geometry(-4.3)
    write_imod(tmp_path, "s", geometry, shape, PIXEL)
    write_tilt_com(tmp_path / "tilt.com", TiltCom(tilt_file="s.tlt", thickness=40, shift=shift))
    moved = read_alignment(tmp_path, shape, PIXEL).geometry
    in_volume = POINTS + np.array([-shift[1], 0, shift[0]])
    np.testing.assert_allclose(moved.project(in_volume * PIXEL), geometry.project(POINTS * PIXEL), atol=1e-4)


def test_offset_adds_to_all_angles(tmp_path: Path) -> None:
    geometry = small_geometry(85.0)
    write_imod(tmp_path, "s", geometry, (80, 96), PIXEL)
    write_tilt_com(tmp_path / "tilt.com", TiltCom(tilt_file="s.tlt", angle_offset=7.5, axis_offset=2.0))
    found = read_alignment(tmp_path, (80, 96), PIXEL).geometry
    np.testing.assert_allclose(found.tilt, geometry.tilt + 7.5, atol=1e-6)
    # The tilt axis cuts the aligned images 2 px to the right of their centre.
    write_xf(tmp_path / "moved.xf", geometry_to_transforms(found, (80, 96), PIXEL), precise=True)
    before, after = np.loadtxt(tmp_path / "s.xf"), np.loadtxt(tmp_path / "moved.xf")
    np.testing.assert_allclose(after[:, 4:] - before[:, 4:], [[-2.0, 0.0]] * 3, atol=1e-6)
