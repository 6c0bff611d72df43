"""Template matching: place, view, in-plane angle and CTF of a template that is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon.algorithms.pick import PickOptions, Templates, pick_particles
from thon.algorithms.pick_template import project_map
from thon.base.errors import InputError
from thon.data.ctf import Ctf
from thon.data.optics import Optics
from thon.formats.relion_euler import rotation_from_euler
from thon.ops.ctf import astigmatic_defocus, contrast_transfer, electron_wavelength, phase_aberration
from thon.ops.fourier import frequency_grid

PIXEL = 5.0
BALLS = np.array([[0.0, 0, 0], [0, 40, 10], [0, -30, 45], [30, 10, -40]])
"""A molecule of four balls, (z, y, x), Å."""


def view(
    box: int, pixel_size: float, rotation: np.ndarray, shape: tuple[int, int] | None = None, at=None
) -> np.ndarray:
    """Projection of the molecule, matter bright."""
    rows, columns = shape or (box, box)
    cy, cx = at or (rows // 2, columns // 2)
    y, x = np.mgrid[:rows, :columns]
    image = np.zeros((rows, columns))
    for ball in BALLS @ rotation.T:
        off = (y - cy) * pixel_size - ball[1], (x - cx) * pixel_size - ball[2]
        image += np.exp(-(off[0] ** 2 + off[1] ** 2) / (2 * 14**2))
    return image.astype(np.float32)


def euler(rot: float, tilt: float, psi: float) -> np.ndarray:
    return rotation_from_euler(np.array([[rot, tilt, psi]], float))[0]


def references(pixel_size: float = 4.0) -> Templates:
    images = [view(64, pixel_size, euler(rot, tilt, 0)) for rot, tilt in ((0, 0), (20, 90))]
    return Templates(torch.from_numpy(np.stack(images)), pixel_size)


TRUTH = [((90, 110), 0, 0, 70.0), ((210, 90), 20, 90, 215.0), ((150, 300), 0, 0, 305.0), ((230, 220), 20, 90, 20.0)]
"""Places (px), rot, tilt and psi of the particles in the micrograph."""


def micrograph(noise: float = 0.1) -> np.ndarray:
    image = sum(view(0, PIXEL, euler(rot, tilt, psi), (310, 380), at) for at, rot, tilt, psi in TRUTH)
    return (noise * np.random.default_rng(1).normal(size=(310, 380)) - image).astype(np.float32)


OPTIONS = PickOptions(diameter=160, threshold=0.6, surroundings=1, avoid_contamination=False, avoid_foil=False)


def test_place_view_and_angle_are_those_of_the_particle() -> None:
    found = pick_particles(torch.from_numpy(micrograph()), PIXEL, OPTIONS, templates=references())
    assert len(found.score) == 4
    for at, _, tilt, psi in TRUTH:
        k = int(np.argmin(np.hypot(*(found.coordinates - np.array(at)).T)))
        np.testing.assert_allclose(found.coordinates[k], at, atol=0.6)
        assert found.class_number[k] == (1 if tilt == 0 else 2)
        assert abs((found.psi[k] - psi + 180) % 360 - 180) <= 5


def test_under_the_mask_alone_the_score_is_a_correlation_coefficient() -> None:
    found = pick_particles(torch.from_numpy(micrograph(0.001)), PIXEL, OPTIONS, templates=references())
    assert found.score.max() <= 1.01
    assert found.score.min() > 0.93


def test_an_empty_reference_keeps_its_number() -> None:
    given = references()
    images = torch.cat([given.images[:1], torch.zeros(1, 64, 64), given.images[1:]])
    options = OPTIONS.model_copy(update={"psi_step": 20.0})
    found = pick_particles(torch.from_numpy(micrograph()), PIXEL, options, templates=Templates(images, 4.0))
    assert set(found.class_number.tolist()) == {1, 3}


def test_wider_surroundings_tell_strong_from_weak() -> None:
    image = micrograph(0.15)
    image[:, 200:] *= 0.999
    weak = image.copy()
    weak[120:180, 270:330] *= 0.5
    wide = OPTIONS.model_copy(update={"surroundings": 4.0, "threshold": 0.2, "psi_step": 15.0})

    def score(options: PickOptions) -> float:
        found = pick_particles(torch.from_numpy(weak), PIXEL, options, templates=references())
        best = np.hypot(*(found.coordinates - np.array((150, 300))).T) < 3
        return float(found.score[best].max() / found.score[~best].max())

    assert score(OPTIONS.model_copy(update={"psi_step": 15.0})) > 0.85
    assert score(wide) < 0.75


def test_templates_are_multiplied_by_the_ctf() -> None:
    optics, ctf = Optics(300.0, 2.7, 0.1), Ctf(32000, 28000, 25.0)
    image = torch.from_numpy(-micrograph(0.0))
    y, x = (part / PIXEL for part in frequency_grid((310, 380)))
    defocus = astigmatic_defocus(
        torch.atan2(y, x), torch.tensor(32000.0), torch.tensor(28000.0), torch.tensor(np.deg2rad(25))
    )
    aberration = phase_aberration(torch.hypot(y, x), defocus, wavelength=electron_wavelength(300), cs=2.7)
    transfer = contrast_transfer(aberration, amplitude_contrast=0.1)
    seen = -torch.fft.irfft2(torch.fft.rfft2(image) * transfer, s=(310, 380))

    def scores(use: bool) -> np.ndarray:
        options = OPTIONS.model_copy(update={"use_ctf": use, "threshold": 0.3})
        return pick_particles(seen, PIXEL, options, templates=references(), ctf=ctf, optics=optics).score[:4]

    assert scores(True).min() > 0.85
    assert scores(False).max() < scores(True).min()
    with pytest.raises(InputError, match="voltage"):
        pick_particles(seen, PIXEL, OPTIONS, templates=references(), ctf=ctf, optics=Optics())


def ball_map(n: int = 40, size: float = 6.0) -> torch.Tensor:
    z, y, x = np.mgrid[:n, :n, :n] - n // 2
    values = [np.exp(-((z * size - b[0]) ** 2 + (y * size - b[1]) ** 2 + (x * size - b[2]) ** 2) / 392) for b in BALLS]
    return torch.from_numpy(np.sum(values, 0).astype(np.float32))


def test_projections_cover_the_sphere_and_keep_the_mass() -> None:
    volume = ball_map()
    found = project_map(volume, 6.0, step=30, resolution=20)
    assert 40 <= len(found.images) <= 50
    mass = float(volume.sum()) * 6.0**3
    masses = found.images.sum((1, 2)).numpy() * found.pixel_size**3
    np.testing.assert_allclose(masses, mass, rtol=0.02)


def test_a_map_finds_its_particles() -> None:
    templates = project_map(ball_map(), 6.0, step=60, resolution=20)
    options = OPTIONS.model_copy(update={"psi_step": 15.0, "threshold": 0.55})
    found = pick_particles(torch.from_numpy(micrograph()), PIXEL, options, templates=templates)
    assert len(found.score) == 4
    for at, *_ in TRUTH:
        assert np.hypot(*(found.coordinates - np.array(at)).T).min() < 3


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        (Templates(torch.randn(2, 20, 20), 4.0), "smaller than the particle"),
        (Templates(torch.zeros(2, 64, 64), 4.0), "empty"),
        (Templates(torch.full((2, 64, 64), torch.nan), 4.0), "no numbers"),
    ],
)
def test_bad_references(templates: Templates, said: str) -> None:
    with pytest.raises(InputError, match=said):
        pick_particles(torch.from_numpy(micrograph()), PIXEL, OPTIONS, templates=templates)
    with pytest.raises(InputError, match="not a cube"):
        project_map(torch.zeros(4, 5, 5), 4.0, step=30, resolution=20)
