"""Where things lie in the ice and in its images."""

from __future__ import annotations

import numpy as np

from thon.algorithms.simulate import random_geometry, simulate_tomo
from thon.algorithms.simulation.options import SimulateTomoOptions
from thon.algorithms.simulation.potential import Scatterers
from thon.algorithms.simulation.specimen import (
    Specimen,
    place_apart,
    random_rotations,
    view_rotation,
    view_specimen,
)
from thon.data.geometry import TiltGeometry

GEOMETRY = TiltGeometry(
    np.array([-40.0, 0.0, 55.0]), np.array([[30.0, -20.0], [0, 0], [5, 9]]), np.array([84.0, 83.0, 85.0]), x_tilt=3.0
)


def test_the_view_rotates_as_the_geometry_projects() -> None:
    random = np.random.default_rng(1)
    position = random.normal(size=(7, 3)) * 400
    specimen = Specimen(position, random_rotations(7, random), position[:2], 100.0, 900.0)
    for tilt in range(3):
        view = view_specimen(specimen, GEOMETRY, tilt)
        np.testing.assert_allclose(view.position, GEOMETRY.project(position)[tilt])
        matrix = view_rotation(GEOMETRY, tilt)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) > 0
        np.testing.assert_allclose(position @ matrix[1:].T + GEOMETRY.shift[tilt], view.position)
        # A point of the molecule falls where the molecule's own rotation brings it.
        point = np.array([3.0, -8.0, 11.0])
        inside = GEOMETRY.project(position + (specimen.rotation @ point))[tilt]
        np.testing.assert_allclose(inside, view.position + (view.rotation @ point)[:, 1:])


def test_the_ice_is_a_plane_through_the_centre() -> None:
    flat = np.array([[0.0, 300.0, -200.0], [0.0, -150.0, 420.0]])
    view = view_specimen(Specimen(flat, np.stack([np.eye(3)] * 2), flat[:0], 1.0, 700.0), GEOMETRY, 2)
    np.testing.assert_allclose((view.position - view.offset) @ view.slope, view.height, atol=1e-9)
    assert view.path > 700 / np.cos(np.deg2rad(55))


def test_nothing_overlaps_and_what_does_not_fit_stays_out() -> None:
    random = np.random.default_rng(2)
    extent = np.array([300.0, 900.0, 700.0])
    places = place_apart(60, extent, 90.0, random)
    assert len(places) == 60
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(60)
    assert gaps.min() >= 90
    assert (np.abs(places) <= extent / 2).all()
    assert np.abs(places).max(0).min() > 100
    crowded = place_apart(60, np.array([300.0, 300.0, 300.0]), 100.0, random, flat=True)
    assert 4 <= len(crowded) < 20
    gaps = np.linalg.norm(crowded[:, None, 1:] - crowded[None, :, 1:], axis=-1) + 1e9 * np.eye(len(crowded))
    assert gaps.min() >= 100


def test_rotations_favour_no_direction() -> None:
    rotation = random_rotations(4000, np.random.default_rng(3))
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (4000, 3, 3)), atol=1e-12
    )
    assert (np.linalg.det(rotation) > 0).all()
    assert np.abs(rotation.mean(0)).max() < 0.04
    np.testing.assert_allclose((rotation**2).mean(0), 1 / 3, atol=0.02)


def test_tilts_are_taken_from_zero_outwards() -> None:
    options = SimulateTomoOptions(max_tilt=9.0, step=3.0)
    geometry, order = random_geometry(options, np.random.default_rng(0))
    np.testing.assert_allclose(geometry.tilt[np.argsort(order)], [0, 3, -3, 6, -6, 9, -9])
    np.testing.assert_allclose(geometry.shift[3], 0)
    assert np.abs(geometry.rotation - options.tilt_axis).max() < 1.2
    _, order = random_geometry(options.model_copy(update={"order": "ascending"}), np.random.default_rng(0))
    np.testing.assert_array_equal(order, np.arange(7))


def test_beads_are_dark_where_the_geometry_puts_them(scatterers: Scatterers) -> None:
    options = SimulateTomoOptions(
        size=256, columns=300, pixel_size=4.0, frames=1, max_tilt=45.0, step=45.0, ice=False, density=1e-6, beads=250.0,
        thickness=800.0, tracking=50.0, bead_diameter=60.0,
    )  # fmt: skip
    series = next(simulate_tomo(scatterers, options, 5))
    expected = series.geometry.project(series.specimen.beads) / 4.0 + np.array([128, 150])
    found = 0
    for movie, places in zip(series.movies, expected, strict=True):
        image = movie.micrograph().numpy()
        inside = ((places > 25) & (places < np.array([231, 275]))).all(1)
        for row, column in places[inside]:
            near = np.linalg.norm(places - (row, column), axis=1)
            if np.sort(near)[1] < 35:
                continue
            r, c = round(row), round(column)
            dark = np.clip(-image[r - 12 : r + 13, c - 12 : c + 13] - 0.3, 0, None)
            assert dark.max() > 0.3
            y, x = np.mgrid[-12:13, -12:13]
            centre = np.array([(dark * y).sum(), (dark * x).sum()]) / dark.sum() + (r, c)
            np.testing.assert_allclose(centre, (row, column), atol=0.1)
            found += 1
    assert found >= 5
