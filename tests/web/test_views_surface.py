"""Surfaces and rings: geometry against what is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.web import views_project as made
from thon.base.errors import InputError
from thon.data.ctf_zeros import zero_radius, zero_rings
from thon.ops import ctf as ops
from thon.web.views.cache import Cache
from thon.web.views.spectrum import flattened_spectrum
from thon.web.views.surface import Surface, sample, surface_net, without_dust
from thon.web.views.surfaces import packed, suggested_level


def corners(surface: Surface) -> np.ndarray:
    """Corners of the triangles as (x, y, z)."""
    return surface.vertices[surface.triangles][..., ::-1].astype(np.float64)


def area(surface: Surface) -> float:
    a, b, c = np.moveaxis(corners(surface), 1, 0)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def content(surface: Surface) -> float:
    """Volume inside, positive where triangles are anticlockwise from outside."""
    a, b, c = np.moveaxis(corners(surface), 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def is_closed(surface: Surface) -> bool:
    """Whether each edge belongs to two triangles, which go along it in opposite directions."""
    edges = np.concatenate([surface.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    forward = {tuple(edge) for edge in edges.tolist()}
    return len(forward) == len(edges) and all((b, a) in forward for a, b in forward)


class TestSurface:
    def test_a_ball_has_its_radius_area_and_volume(self) -> None:
        found = surface_net(made.ball(), 0.0)
        radius = np.linalg.norm(found.vertices - np.array(made.CENTRE), axis=1)
        assert np.abs(radius - made.RADIUS).max() < 0.1
        assert area(found) == pytest.approx(4 * math.pi * made.RADIUS**2, rel=0.01)
        assert content(found) == pytest.approx(4 / 3 * math.pi * made.RADIUS**3, rel=0.02)

    def test_it_is_closed_and_its_normals_point_outwards(self) -> None:
        found = surface_net(made.ball(), -2.0)
        assert is_closed(found)
        outwards = found.vertices - np.array(made.CENTRE)
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
        assert ((outwards * found.normals / 127).sum(1) > 0.97).all()

    def test_what_touches_the_edge_is_closed_there(self) -> None:
        values = np.zeros((6, 7, 8), np.float32)
        values[:3] = 1
        found = surface_net(values, 0.5)
        # It lies half a voxel beyond the last one on all sides; its edges and corners are rounded off.
        assert content(found) == pytest.approx(3 * 7 * 8, rel=0.1)
        assert (found.vertices.min(0), found.vertices.max(0)) == (
            pytest.approx([-0.5] * 3),
            pytest.approx([2.5, 6.5, 7.5]),
        )
        assert is_closed(found)

    def test_dust_goes_and_the_largest_part_stays(self) -> None:
        values = np.full((29, 60, 36), -5.0, np.float32)
        values[:, :40] = made.ball()
        values[3:5, 50:52, 5:7] = 1
        whole, clean = surface_net(values, 0.0), without_dust(surface_net(values, 0.0), 50)
        alone = surface_net(made.ball(), 0.0)
        assert len(whole.vertices) > len(clean.vertices) == len(alone.vertices)
        assert area(clean) == pytest.approx(area(alone), rel=1e-6)
        assert len(without_dust(alone, 10**6).vertices) == len(alone.vertices)

    def test_no_surface_and_too_much_of_it_are_refused(self) -> None:
        with pytest.raises(InputError, match="no surface"):
            surface_net(made.ball(), 1e3)
        with pytest.raises(InputError, match="too large"):
            surface_net(np.random.default_rng(0).normal(size=(90, 128, 128)).astype(np.float32), 0.0)

    def test_samples_are_trilinear(self) -> None:
        z, y, x = np.indices((5, 6, 7)).astype(np.float32)
        values = 2 * z - y + 0.5 * x * y
        points = np.array([[1.25, 2.5, 3.75], [0, 0, 0], [4, 5, 6], [9, -3, 2]], np.float64)
        inside = np.clip(points, 0, [4, 5, 6])
        expected = 2 * inside[:, 0] - inside[:, 1] + 0.5 * inside[:, 2] * inside[:, 1]
        assert sample(values, points) == pytest.approx(expected, abs=1e-4)

    def test_it_is_packed_as_the_browser_reads_it(self) -> None:
        found = surface_net(made.ball(), 0.0)
        data = packed(found, found.vertices, found.vertices[:, 0])
        vertices, triangles, coloured = np.frombuffer(data, "<u4", 3).tolist()
        assert (vertices, triangles, coloured) == (len(found.vertices), len(found.triangles), 1)
        places = np.frombuffer(data, "<f4", 3 * vertices, 12).reshape(-1, 3)
        assert (places == found.vertices[:, ::-1]).all()
        index = np.frombuffer(data, "<u4", 3 * triangles, 12 + 16 * vertices).reshape(-1, 3)
        assert (index == found.triangles).all()
        normals = np.frombuffer(data, np.int8, 4 * vertices, 12 + 16 * vertices + 12 * triangles).reshape(-1, 4)
        assert (normals[:, :3] == found.normals[:, ::-1]).all()
        assert len(data) == 12 + 20 * vertices + 12 * triangles

    def test_a_level_to_begin_with_shows_matter(self) -> None:
        values = np.random.default_rng(3).normal(0, 0.1, (40, 40, 40)).astype(np.float32)
        values[12:22, 12:22, 12:22] += 2
        level = suggested_level(values)
        assert 0.4 < level < 2.5
        assert suggested_level((values > 1).astype(np.float32)) == 0.5


def at_zeros(number: int) -> Any:
    """The CTF by `thon.ops.ctf` at the radius of a zero, and just inside and outside of it."""
    azimuth = np.linspace(0, 2 * math.pi, 13)
    radius = zero_radius(made.FITTED, made.OPTICS, azimuth, number)
    turned = [torch.tensor(value, dtype=torch.float64) for value in (18_000.0, 16_500.0, math.radians(35))]
    defocus = ops.astigmatic_defocus(torch.from_numpy(azimuth), *turned)
    wavelength = ops.electron_wavelength(300.0)

    def ctf(frequency: np.ndarray) -> np.ndarray:
        phase = ops.phase_aberration(torch.from_numpy(frequency), defocus, wavelength=wavelength, cs=2.7)
        return ops.contrast_transfer(phase, amplitude_contrast=0.1, phase_shift=math.radians(10)).numpy()

    return ctf(radius), ctf(radius * 0.995), ctf(radius * 1.005)


class TestRings:
    @pytest.mark.parametrize("number", [1, 2, 5, 12])
    def test_a_ring_is_where_the_ctf_is_zero_and_turns_its_sign(self, number: int) -> None:
        on, inside, outside = at_zeros(number)
        assert np.abs(on).max() < 1e-9
        assert (inside * outside < 0).all()
        assert (np.sign(inside) == (-1) ** (number + 1)).all()

    def test_no_zero_is_left_out(self) -> None:
        rings = zero_rings(made.FITTED, made.OPTICS, 0.2)
        radius = [float(np.hypot(y[0], x[0])) for y, x in rings]
        frequency = torch.linspace(0.001, 0.2, 40_000, dtype=torch.float64)
        turned = [torch.tensor(value, dtype=torch.float64) for value in (0.0, 18_000.0, 16_500.0, math.radians(35))]
        phase = ops.phase_aberration(
            frequency, ops.astigmatic_defocus(*turned), wavelength=ops.electron_wavelength(300.0), cs=2.7
        )
        values = ops.contrast_transfer(phase, amplitude_contrast=0.1, phase_shift=math.radians(10)).numpy()
        crossed = frequency.numpy()[1:][np.diff(np.sign(values)) != 0]
        assert radius == pytest.approx(crossed[: len(radius)].tolist(), abs=1e-5)
        assert len(radius) >= len(crossed) - 2

    @pytest.mark.parametrize("unknown", ["voltage", "cs", "amplitude_contrast"])
    def test_nothing_is_guessed_where_the_microscope_is_not_known(self, unknown: str) -> None:
        optics = replace(made.OPTICS, **{unknown: None})
        assert zero_rings(made.FITTED, optics, 0.2) == []
        with pytest.raises(ValueError, match="need voltage"):
            zero_radius(made.FITTED, optics, np.zeros(3), 1)

    def test_the_spectrum_has_its_rings_there(self) -> None:
        """White noise through an astigmatic CTF: its spectrum is dark along the rings and bright between them."""
        size = 1024
        frequency = [np.fft.fftfreq(size)[:, None] / 1.5, np.fft.fftfreq(size)[None] / 1.5]
        radius, azimuth = np.hypot(*frequency), np.arctan2(*frequency)
        turned = [torch.tensor(value, dtype=torch.float64) for value in (18_000.0, 16_500.0, math.radians(35))]
        defocus = ops.astigmatic_defocus(torch.from_numpy(azimuth), *turned)
        phase = ops.phase_aberration(
            torch.from_numpy(radius), defocus, wavelength=ops.electron_wavelength(300.0), cs=2.7
        )
        ctf = ops.contrast_transfer(phase, amplitude_contrast=0.1, phase_shift=math.radians(10)).numpy()
        noise = np.fft.fft2(np.random.default_rng(1).normal(size=(size, size)))
        image = np.fft.ifft2(noise * ctf).real.astype(np.float32)
        spectrum = flattened_spectrum(Stack(image))
        rings = zero_rings(made.FITTED, made.OPTICS, 0.12)

        def shown(scale: float) -> float:
            """Mean of the picture along the second ring, blown up by a factor."""
            y, x = (part * scale * 1.5 * len(spectrum) for part in rings[1])
            middle = len(spectrum) // 2
            return float(spectrum[np.round(middle - 1 - y).astype(int), np.round(middle + x).astype(int)].mean())

        assert shown(1.0) < 0.8 * min(shown(0.87), shown(1.12))


class Stack:
    """An image as `thon.formats` gives it."""

    def __init__(self, image: np.ndarray):
        self.image, self.shape = image, (1, *image.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.image[index[1:]]


class TestCache:
    def test_it_keeps_what_fits_and_makes_each_once(self) -> None:
        kept: Cache[bytes] = Cache(100, len)
        made_of: list[str] = []

        def ask(key: str, size: int) -> bytes:
            return kept.get(key, lambda: made_of.append(key) or bytes(size))

        ask("a", 40), ask("b", 40), ask("a", 40), ask("c", 40)
        assert kept.bytes == 80
        ask("a", 40)
        assert made_of == ["a", "b", "c"]
        ask("b", 40)
        assert made_of == ["a", "b", "c", "b"]
        ask("d", 500)
        ask("d", 500)
        assert (made_of[-1], kept.bytes) == ("d", 500)

    def test_an_error_is_not_kept(self) -> None:
        kept: Cache[int] = Cache(10, lambda value: 1)
        with pytest.raises(ZeroDivisionError):
            kept.get("a", lambda: 1 // 0)
        assert kept.get("a", lambda: 7) == 7
