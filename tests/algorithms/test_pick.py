"""Picking on micrographs whose particles are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.picking_scene import Scene, make_scene, matched, with_foil
from thon.algorithms.pick import PickOptions, PickResult, pick_particles
from thon.algorithms.pick_avoid import stands_out
from thon.algorithms.pick_image import filled_edges, prepare_image
from thon.algorithms.pick_log import log_scores
from thon.base.errors import InputError

PIXEL = 5.0
OPTIONS = PickOptions(diameter=180)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(contrast=1.5)


def pick(image: np.ndarray, options: PickOptions = OPTIONS) -> PickResult:
    return pick_particles(torch.from_numpy(image), PIXEL, options)


def shares(found: PickResult, true: np.ndarray) -> tuple[float, float]:
    """Precision and recall within a quarter of the diameter."""
    right = matched(found.coordinates, true, 180 / PIXEL / 4)
    return right / max(len(found.score), 1), right / len(true)


class TestBlobs:
    def test_particles_are_found_where_they_are(self, scene: Scene) -> None:
        found = pick(scene.image)
        precision, recall = shares(found, scene.place)
        assert precision > 0.95
        assert recall > 0.9

    def test_clear_particles_are_found_to_less_than_a_pixel(self) -> None:
        clear = make_scene(contrast=20)
        found = pick(clear.image)
        assert len(found.score) == len(clear.place)
        apart = np.hypot(*(found.coordinates[:, None] - clear.place[None]).transpose(2, 0, 1)).min(1)
        assert np.median(apart) < 0.5

    def test_the_best_come_first_and_all_are_above_the_threshold(self, scene: Scene) -> None:
        found = pick(scene.image)
        assert (np.diff(found.score) <= 0).all()
        assert found.score.min() >= found.threshold

    def test_grey_scale_and_sign_do_not_matter(self, scene: Scene) -> None:
        found = pick(scene.image)
        turned = pick(500 - 3 * scene.image, PickOptions(diameter=180, white=True))
        assert len(found.score) > 40
        np.testing.assert_allclose(turned.coordinates, found.coordinates, atol=0.05)

    def test_a_bright_particle_is_none_unless_asked_for(self, scene: Scene) -> None:
        found = pick(-scene.image)
        assert matched(found.coordinates, scene.place, 9) < 0.1 * len(scene.place)

    def test_noise_has_next_to_no_particles(self) -> None:
        found = pick(make_scene(number=0, seed=3).image)
        assert len(found.candidates) > 100
        assert len(found.score) <= 0.03 * len(found.candidates)
        assert any("not distinct" in note for note in found.notes)

    def test_no_two_are_nearer_than_asked_for(self, scene: Scene) -> None:
        found = pick(scene.image, PickOptions(diameter=180, separation=300, threshold=0.5))
        apart = np.hypot(*(found.coordinates[:, None] - found.coordinates[None]).transpose(2, 0, 1)) * PIXEL
        assert len(found.score) > 20
        assert apart[apart > 0].min() > 295

    def test_thresholds(self, scene: Scene) -> None:
        every = pick(scene.image, PickOptions(diameter=180, avoid_contamination=False))
        more = PickOptions(diameter=180, avoid_contamination=False, adjust_threshold=1.0)
        upper = PickOptions(diameter=180, avoid_contamination=False, upper_threshold=float(np.median(every.score)))
        assert pick(scene.image, more).threshold == pytest.approx(every.threshold + 1, abs=0.01)
        assert len(pick(scene.image, upper).score) == pytest.approx(len(every.score) / 2, abs=1)

    def test_the_border_stays_free(self, scene: Scene) -> None:
        found = pick(scene.image, PickOptions(diameter=180, border=400))
        assert 0 < len(found.score) < len(scene.place)
        assert found.coordinates.min() >= 79
        assert (np.array(scene.image.shape) - found.coordinates).min() >= 79


class TestLog:
    @pytest.mark.parametrize(("sigma", "best"), [(45.0, 142), (64.0, 204), (28.0, 80)])
    def test_the_response_to_a_gaussian_is_largest_at_its_own_scale(self, sigma: float, best: float) -> None:
        # k² exp(−k²/2s²)/s² times the Gaussian's spectrum exp(−2π²σ²k²) at its centre is greatest where
        # 1/s² = 4π²σ², that is at the diameter d = 1/2s = πσ.
        y, x = np.mgrid[:200, :220]
        image = -np.exp(-((y - 90) ** 2 + (x - 120) ** 2) * PIXEL**2 / (2 * sigma**2)).astype(np.float32)
        ready = prepare_image(torch.from_numpy(image), PIXEL, OPTIONS)
        scores = log_scores(ready, 80, 204)
        place = np.rint(ready.from_micrograph(np.array([[90.0, 120.0]]))[0]).astype(int)
        assert float(scores.diameter[tuple(place)]) == best

    def test_it_finds_particles_with_relions_rule(self, scene: Scene) -> None:
        found = pick(scene.image, PickOptions(method="log", diameter=160, min_diameter=100, adjust_threshold=1))
        precision, recall = shares(found, scene.place)
        assert precision > 0.8
        assert recall > 0.8
        assert ((found.diameter >= 100) & (found.diameter <= 160)).all()

    def test_things_of_another_size_are_not_taken(self) -> None:
        small = make_scene(diameter=60, number=40, contrast=5, seed=5)
        found = pick(small.image, PickOptions(method="log"))
        assert matched(found.coordinates, small.place, 4) <= 2


class TestAvoid:
    def test_foil_is_found_and_left_out(self, scene: Scene) -> None:
        marked, foil = with_foil(scene)
        found = pick(marked.image)
        on_foil = foil[tuple(np.rint(found.coordinates).astype(int).T)]
        assert on_foil.sum() <= 1
        assert found.foil.mean() == pytest.approx(foil.mean(), abs=0.08)
        assert shares(found, marked.place)[1] > 0.75
        assert any("foil" in note for note in found.notes)
        careless = pick(marked.image, PickOptions(diameter=180, avoid_foil=False))
        assert foil[tuple(np.rint(careless.coordinates).astype(int).T)].sum() >= 3

    def test_plain_ice_has_no_foil(self, scene: Scene) -> None:
        assert not pick(scene.image).foil.any()

    def test_dirt_is_left_out(self, scene: Scene) -> None:
        dirty = scene.image.copy()
        y, x = np.mgrid[: dirty.shape[0], : dirty.shape[1]]
        dirty -= 80 * np.exp(-((y - 150) ** 2 + (x - 300) ** 2) / (2 * 9**2)).astype(np.float32)
        spot = np.array([[150.0, 300.0]])
        assert matched(pick(dirty).coordinates, spot, 12) == 0
        careless = pick(dirty, PickOptions(diameter=180, avoid_contamination=False))
        assert matched(careless.coordinates, spot, 12) == 1

    def test_hot_pixels_do_not_count(self, scene: Scene) -> None:
        hot = scene.image.copy()
        hot[np.random.default_rng(8).integers(0, 480, 40), np.random.default_rng(7).integers(0, 600, 40)] = 5000
        np.testing.assert_allclose(len(pick(hot).score), len(pick(scene.image).score), atol=2)

    def test_filled_edges_are_measured(self) -> None:
        image = np.random.default_rng(2).normal(size=(300, 400)).astype(np.float32)
        image[:7], image[:, -9:] = image[7], image[:, -10:-9]
        assert filled_edges(torch.from_numpy(image)) == (8, 0, 0, 10)

    def test_what_stands_out(self) -> None:
        values = np.append(np.random.default_rng(1).normal(size=200), [9.0, -9.0])
        assert stands_out(values)[-2:].tolist() == [True, False]
        assert stands_out(np.zeros(0)).shape == (0,)

    def test_more_local_variance_than_allowed(self, scene: Scene) -> None:
        assert len(pick(scene.image, PickOptions(diameter=180, max_local_sd=0.05)).score) == 0


class TestInput:
    def test_places_on_the_two_grids(self) -> None:
        ready = prepare_image(torch.from_numpy(make_scene(shape=(301, 422), number=0).image), 3.3, OPTIONS)
        place = np.array([[10.0, 20.5], [300, 421]])
        np.testing.assert_allclose(ready.to_micrograph(ready.from_micrograph(place)), place)
        centre = np.array([[n // 2 for n in ready.values.shape]], float)
        assert ready.to_micrograph(centre).tolist() == [[150, 211]]
        assert ready.spacing == pytest.approx(10, rel=0.03)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda image: image * 0, "flat"),
            (lambda image: np.where(np.arange(612) == 300, np.nan, image).astype(np.float32), "no numbers"),
            (lambda image: image[:60, :70], "smaller than a particle"),
        ],
    )
    def test_bad_micrographs(self, scene: Scene, change: object, said: str) -> None:
        with pytest.raises(InputError, match=said):
            pick(change(scene.image))  # type: ignore[operator]

    def test_options_that_contradict(self) -> None:
        with pytest.raises(ValueError, match="min_diameter"):
            PickOptions(diameter=100, min_diameter=150)
        with pytest.raises(InputError, match="no references"):
            pick(make_scene(number=0).image, PickOptions(method="template"))
