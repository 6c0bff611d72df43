"""Boxes out of micrographs, against RELION and by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from thon.algorithms.extract import Background, ExtractOptions, boxes_inside, cut_boxes, finish_boxes
from thon.algorithms.particle_places import local_ctf, recentre
from thon.base.errors import InputError
from thon.data.ctf import Ctf, CtfFit, DefocusMap, SpecimenTilt
from thon.data.optics import Optics
from thon.data.particles import ParticleOptics
from thon.formats.relion_euler import rotation_from_euler
from thon.ops.fourier import fourier_crop, fourier_shift

GOLDEN = Path(__file__).parents[1] / "data" / "relion" / "extract_3.1.3.npz"
FIT = CtfFit(Ctf(15000, 13000, 30), Ctf(10, 10), 0.9, 4.0, (30, 4))
GROUP = ParticleOptics("one", Optics(300.0, 2.7, 0.1), 3.0, 24)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {name: file[name] for name in file.files}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class TestRelion:
    """RELION 3.1.3 drops the fraction of coordinates, and keeps a row and a column at Nyquist when it rescales."""

    def cut(self, golden: dict[str, np.ndarray]) -> tuple[torch.Tensor, np.ndarray]:
        centre = np.floor(golden["coordinates"][:, ::-1]).astype(np.int64)
        return cut_boxes(torch.from_numpy(golden["micrograph"]), centre, 36), centre

    def test_normalised_boxes_are_relions(self, golden: dict[str, np.ndarray]) -> None:
        boxes, _ = self.cut(golden)
        found = finish_boxes(boxes, 2.0, ExtractOptions(box=36, background_diameter=26 / 36))
        np.testing.assert_allclose(found.numpy(), golden["normalised"], atol=2e-5)

    def test_ctf_and_rescaling_are_relions_but_for_nyquist(self, golden: dict[str, np.ndarray]) -> None:
        boxes, centre = self.cut(golden)
        options = ExtractOptions(box=36, rescale=24, multiply_ctf=True)
        ctf = local_ctf(FIT, centre, (96, 84), 2.0)
        ours, theirs = finish_boxes(boxes, 2.0, options, ctf=ctf, group=GROUP).numpy(), golden["ctf_rescaled"]
        for one, other in zip(ours, theirs, strict=True):
            spectra = np.fft.rfft2(np.stack([one, other]))
            spectra[:, 12] = 0
            spectra[:, :, 12] = 0
            first, second = np.fft.irfft2(spectra, s=(24, 24)).reshape(2, -1)
            assert np.corrcoef(first, second)[0, 1] > 0.9999
            # Their standard deviation, which is made 1, holds the noise at Nyquist too.
            assert np.linalg.norm(first) == pytest.approx(np.linalg.norm(second), rel=0.1)


class TestBoxes:
    def test_the_centre_pixel_is_the_coordinate(self) -> None:
        image = noise(40, 52)
        box = cut_boxes(image, np.array([[20, 17], [9, 30]]), 16)
        assert (box[0, 8, 8], box[1, 8, 8]) == (image[20, 17], image[9, 30])
        assert torch.equal(box[1], image[1:17, 22:38])

    def test_padding_is_the_mean_of_what_is_there(self) -> None:
        image = noise(40, 52)
        box = cut_boxes(image, np.array([[2, 50]]), 16)[0]
        assert torch.equal(box[6:, :10], image[:10, 42:])
        assert torch.allclose(box[:6], image[:10, 42:].mean())

    @pytest.mark.parametrize(
        ("edges", "kept"), [("skip", [True, False, True, False]), ("pad", [True, True, True, False])]
    )
    def test_edges(self, edges: str, kept: list[bool]) -> None:
        centre = np.array([[8, 8], [7, 8], [32, 44], [40, 20]])
        options = ExtractOptions.model_validate({"box": 16, "edges": edges})
        assert boxes_inside(centre, 16, (40, 52), options).tolist() == kept

    def test_rescaling_keeps_the_middle_and_what_it_shows(self) -> None:
        smooth = fourier_crop(noise(3, 20, 20), (60, 60))
        options = ExtractOptions(box=60, rescale=30, invert=False, normalise=False)
        found = finish_boxes(smooth, 2.0, options)
        np.testing.assert_allclose(found, smooth[:, ::2, ::2], atol=1e-5)

    def test_background_has_mean_0_and_variance_1_and_no_slope(self) -> None:
        images = noise(3, 32, 32)
        y, x = np.mgrid[:32, :32] - 16
        outside = np.hypot(y, x) > 12
        sloped = 700 + 30 * images + torch.from_numpy((3.0 * y - 2.0 * x).astype(np.float32))
        background = Background.of(32, 0.75)
        found = np.stack([background.normalise(image) for image in sloped])
        values = found[:, outside]
        np.testing.assert_allclose(values.mean(1), 0, atol=1e-5)
        np.testing.assert_allclose(values.std(1), 1, atol=1e-5)
        np.testing.assert_allclose((values * x[outside]).mean(1), 0, atol=1e-4)
        np.testing.assert_allclose(found, np.stack([background.normalise(image) for image in images]), atol=2e-4)

    def test_the_box_of_a_diameter(self) -> None:
        options = ExtractOptions()
        for diameter, pixel_size in ((180, 1.77), (97, 0.8), (10, 5)):
            box = options.box_for(diameter, pixel_size)
            assert box % 2 == 0
            assert 1.5 * diameter <= box * pixel_size < max(1.7 * diameter, 17 * pixel_size)
        assert options.box_for(180, 1.77) == 160  # 152.5: 154 has a factor 11, 156 13 and 158 79
        assert ExtractOptions(box=200).box_for(180, 1.77) == 200

    def test_inverting(self) -> None:
        boxes = noise(2, 20, 20)
        plain = finish_boxes(boxes, 1.0, ExtractOptions(box=20, invert=False))
        np.testing.assert_allclose(finish_boxes(boxes, 1.0, ExtractOptions(box=20)), -plain, atol=1e-6)

    def test_dust_is_replaced_by_noise_and_the_rest_stays(self) -> None:
        boxes = noise(2, 32, 32)
        dusty = boxes.clone()
        dusty[0, 5, 6], dusty[1, 20, 21] = 60.0, -70.0
        options = ExtractOptions(box=32, invert=False, normalise=False, white_dust=8, black_dust=8)
        found = finish_boxes(dusty, 1.0, options, seeds=(3, 4))
        changed = torch.nonzero(found != dusty)
        assert changed.tolist() == [[0, 5, 6], [1, 20, 21]]
        assert found.abs().max() < 12
        assert torch.equal(found, finish_boxes(dusty, 1.0, options, seeds=(3, 4)))

    def test_mistakes(self) -> None:
        with pytest.raises(InputError, match="flat"):
            finish_boxes(torch.zeros(1, 20, 20), 1.0, ExtractOptions(box=20))
        with pytest.raises(InputError, match="not known"):
            finish_boxes(noise(1, 20, 20), 1.0, ExtractOptions(box=20, multiply_ctf=True))
        with pytest.raises(ValueError, match="multiple"):
            ExtractOptions(box=33)
        with pytest.raises(ValueError, match="larger"):
            ExtractOptions(box=32, rescale=64)


class TestPlaces:
    def test_boxes_follow_the_particles_and_the_rest_stays_as_shift(self) -> None:
        coordinates, shift = np.array([[100.0, 120], [50.7, 60.2]]), np.array([[5.1, -8.3], [-1.2, 0.4]])
        found = recentre(coordinates, 2.0, shift=shift)
        assert found.centre.tolist() == [[103, 116], [49, 60]]
        np.testing.assert_allclose(np.floor(coordinates) * 2 + shift, found.centre * 2 + found.shift)
        assert np.abs(found.shift).max() <= 1

    def test_a_recentred_box_shows_the_particle_in_the_middle(self) -> None:
        y, x = np.mgrid[:90, :80]
        image = torch.from_numpy(np.exp(-((y - 41.3) ** 2 + (x - 37.8) ** 2) / 20).astype(np.float32))
        found = recentre(np.array([[35.0, 42.0]]), 1.5, shift=np.array([[6.3 * 1.5, -4.2 * 1.5]]))
        box = fourier_shift(cut_boxes(image, found.centre, 40), -torch.from_numpy(found.shift / 1.5))[0]
        yy, xx = np.mgrid[:40, :40] - 20
        np.testing.assert_allclose(box, np.exp(-(yy**2 + xx**2) / 20), atol=1e-3)

    def test_another_point_of_the_reference_comes_into_the_middle(self) -> None:
        rotation = rotation_from_euler(np.array([[20.0, 50, 100], [0, 0, 90]]))
        target = (10.0, -20.0, 30.0)
        found = recentre(np.full((2, 2), 200.0), 2.0, shift=np.zeros((2, 2)), rotation=rotation, target=target)
        seen = (rotation @ np.array(target))[:, 1:]
        np.testing.assert_allclose((found.centre - 200) * 2 + found.shift, seen)
        # RELION's psi of 90° takes the reference's x onto −y and y onto x.
        np.testing.assert_allclose(seen[1], (-30, -20), atol=1e-9)

    def test_defocus_of_an_inclined_specimen(self) -> None:
        # An upright axis (0°): defocus grows to the right by the tangent of the tilt.
        fit = CtfFit(FIT.ctf, FIT.sigma, 0.9, 4.0, (30, 4), tilt=SpecimenTilt(45.0, 0.0))
        found = local_ctf(fit, np.array([[10, 42], [90, 52]]), (96, 84), 2.0)
        np.testing.assert_allclose(found.defocus_u, [15000, 15020])
        np.testing.assert_allclose(found.defocus_v, [13000, 13020])
        np.testing.assert_allclose(found.angle, 30)

    def test_defocus_of_a_surface(self) -> None:
        nodes = np.array([[13000.0, 14000, 15000], [14000, 15000, 16000]])
        fit = CtfFit(FIT.ctf, FIT.sigma, 0.9, 4.0, (30, 4), surface=DefocusMap(nodes, nodes * 0))
        rows, columns = 101, 201
        found = local_ctf(fit, np.array([[50, 100], [0, 0], [100, 200], [50, 50]]), (rows, columns), 2.0)
        mean = (found.defocus_u + found.defocus_v) / 2
        np.testing.assert_allclose(mean, [14500, 13000, 16000, 14000], atol=20)
        np.testing.assert_allclose(found.defocus_u - found.defocus_v, 2000)
