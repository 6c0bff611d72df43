"""Jobs on maps: what they yield is what was asked for, and what cannot be is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.algorithms.map_phantom import blobs, noise
from tests.algorithms.particle_set import particles_with
from tests.jobs.map_files import VOXEL_SIZE, write_halves, write_symmetric_map
from tests.jobs.report_pages import read_report, sections
from thon.base.errors import InputError
from thon.data.maps import ClassifiedParticles, HalfMaps, ParticleClass, RefinedParticles
from thon.formats.maps import half_map_files, read_map, write_map
from thon.formats.mrc import write_mrc
from thon.formats.relion_postprocess import read_postprocess
from thon.job.context import Context
from thon.job.events import Log, Warned
from thon.jobs.expand_symmetry import ExpandSymmetryOptions, expand_symmetry
from thon.jobs.import_halves import ImportHalvesOptions, import_halves
from thon.jobs.local_resolution import LocalResolutionJobOptions, local_resolution
from thon.jobs.mask import MaskJobOptions, mask
from thon.jobs.postprocess import PostprocessJobOptions, postprocess
from thon.jobs.symmetry import SymmetryOptions, symmetry
from thon.jobs.volume import VolumeJobOptions, volume
from thon.ops.rotation import random_rotations, rotation_about
from thon.ops.symmetry import angular_distance
from thon.ops.volume_rotation import move_volume


class Told:
    """A context that remembers what was said."""

    def __init__(self, folder: Path):
        self.texts: list[str] = []
        self.context = Context.local(folder, item="map", emit=self.take)

    def take(self, event) -> None:
        if isinstance(event, Log | Warned):
            self.texts.append(event.text)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@pytest.fixture
def maps(tmp_path: Path, told: Told) -> HalfMaps:
    return import_halves(half_map_files(write_halves(tmp_path)), ImportHalvesOptions(), told.context)


def test_imported_halves_have_their_mean(maps: HalfMaps) -> None:
    first, second, mean = (read_map(one)[0] for one in (maps.first, maps.second, maps.volume))
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)
    assert maps.volume.voxel_size == pytest.approx(VOXEL_SIZE)


def test_one_map_twice_is_no_two_halves(tmp_path: Path, told: Told) -> None:
    first = write_halves(tmp_path)
    with pytest.raises(InputError, match="the same"):
        import_halves((first, first), ImportHalvesOptions(), told.context)
    with pytest.raises(InputError, match="point group"):
        import_halves(half_map_files(first), ImportHalvesOptions(symmetry="D0"), told.context)


class TestPostprocess:
    def test_a_mask_from_the_mask_job_is_used_and_recorded(self, maps: HalfMaps, told: Told) -> None:
        made = mask(maps, MaskJobOptions(threshold=0.3, edge=6), told.context)
        assert sections(read_report(Path(made.path).parent)) == ["mask"]
        found = postprocess(maps, PostprocessJobOptions(fit_from=30), told.context, made)
        assert found.mask == made
        assert 13 < found.resolution < 18
        assert found.b_factor < 0
        page = read_report(Path(found.volume.path).parent)
        assert sections(page) == ["views", "fsc", "guinier", "cones"]
        assert f"fitted B-factor of −{-found.b_factor:.0f} Å²" in page.text
        star = read_postprocess(Path(found.volume.path).parent / "postprocess.star")
        assert star.resolution == pytest.approx(found.resolution, abs=1e-5)
        masked, _ = read_map(Path(found.volume.path).with_name("map_sharpened_masked.mrc"))
        np.testing.assert_allclose(masked, read_map(found.volume)[0] * read_map(made)[0], atol=1e-4)

    def test_a_mask_is_made_where_none_is_given_and_left_out_where_none_is_wanted(
        self, maps: HalfMaps, told: Told
    ) -> None:
        found = postprocess(maps, PostprocessJobOptions(), told.context)
        assert found.mask is not None
        assert "mask was made" in told.text
        # These maps reach no 10 Å, from where the fit begins.
        why = f"needs three shells between --fit-from, 10 Å, and the resolution, {found.resolution:.1f} Å"
        assert why in told.text
        page = read_report(Path(found.volume.path).parent)
        assert "none was fitted" in page.text
        assert why in page.text
        assert "B-factor 0" not in page.text + told.text
        plain = postprocess(maps, PostprocessJobOptions(masked=False), told.context)
        assert plain.mask is None
        assert plain.curves is not None
        assert plain.curves.masked is None
        assert plain.resolution > found.resolution

    def test_calibration_scales_everything_in_angstrom(self, maps: HalfMaps, told: Told) -> None:
        plain = postprocess(maps, PostprocessJobOptions(), told.context)
        options = PostprocessJobOptions(calibrated_voxel_size=1.1 * VOXEL_SIZE)
        calibrated = postprocess(maps, options, told.context)
        assert calibrated.resolution == pytest.approx(1.1 * plain.resolution, rel=1e-3)
        assert calibrated.volume.voxel_size == pytest.approx(1.1 * VOXEL_SIZE)

    def test_the_detectors_transfer_is_divided_out(self, maps: HalfMaps, told: Told, tmp_path: Path) -> None:
        star = tmp_path / "mtf.star"
        star.write_text("data_\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1.0\n0.5 0.5\n")
        options = PostprocessJobOptions(b_factor=0, masked=False)
        plain = postprocess(maps, options, told.context)
        divided = postprocess(maps, options.model_copy(update={"mtf": star}), told.context)
        assert plain.guinier is not None
        assert divided.guinier is not None
        # At shell 10 of 40 voxels the detector of the same pixel size keeps three quarters.
        assert divided.guinier.original[10] - plain.guinier.original[10] == pytest.approx(np.log(4 / 3), abs=1e-5)

    def test_noise_is_told_in_words_and_still_yields_a_map(self, told: Told, tmp_path: Path) -> None:
        for number in (1, 2):
            write_mrc(tmp_path / f"noise_half{number}.mrc", noise((40, 40, 40), number).numpy(), VOXEL_SIZE)
        files = half_map_files(tmp_path / "noise_half1.mrc")
        halves = import_halves(files, ImportHalvesOptions(), told.context)
        found = postprocess(halves, PostprocessJobOptions(), told.context)
        assert np.isnan(found.resolution)
        assert found.mask is None
        assert "no resolution" in told.text
        with pytest.raises(InputError, match="no resolution"):
            local_resolution(halves, LocalResolutionJobOptions(step=16), told.context)
        assert found.curves is not None
        assert found.curves.best[4:].max() < 0.143

    def test_wrong_masks_are_refused(self, maps: HalfMaps, told: Told, tmp_path: Path) -> None:
        other = write_map(tmp_path / "small.mrc", np.ones((32, 32, 32), np.float32), VOXEL_SIZE)
        with pytest.raises(InputError, match="another box"):
            postprocess(maps, PostprocessJobOptions(), told.context, other)
        write_map(tmp_path / "big.mrc", np.full((40, 40, 40), 3, np.float32), VOXEL_SIZE)
        with pytest.raises(InputError, match="no mask"):
            postprocess(maps, PostprocessJobOptions(mask_file=tmp_path / "big.mrc"), told.context)

    def test_a_refinement_shows_its_directions(self, maps: HalfMaps, told: Told) -> None:
        particles = particles_with(random_rotations(300, 1), np.zeros((300, 2)))
        rest = {name: getattr(particles, name) for name in type(particles).__dataclass_fields__}
        refined = RefinedParticles(**rest, volume=maps.volume, first=maps.first, second=maps.second, symmetry="D2")
        postprocess(refined, PostprocessJobOptions(masked=False), told.context)
        assert "Efficiency of the viewing directions 0.9" in told.text
        assert "directions" in sections(read_report(Path(maps.volume.path).parent))
        assert "cFAR" in told.text


def test_local_resolution_takes_the_sharpening_of_the_map(maps: HalfMaps, told: Told) -> None:
    sharpened = postprocess(maps, PostprocessJobOptions(b_factor=-77), told.context)
    found = local_resolution(sharpened, LocalResolutionJobOptions(step=16, radius=16), told.context)
    assert (found.b_factor, found.mask) == (-77, sharpened.mask)
    local = read_map(found.local)[0]
    inside = read_map(found.mask)[0] > 0.5 if found.mask else None
    assert 10 < np.median(local[inside]) < 25
    assert (Path(found.local.path).with_name("map_locres.png")).stat().st_size > 10_000
    page = read_report(Path(found.local.path).parent)
    assert sections(page) == ["locres", "fsc"]
    assert "−77 Å²" in page.text


class TestSymmetry:
    @pytest.fixture
    def turned(self, tmp_path: Path) -> tuple[ClassifiedParticles, np.ndarray]:
        """Two classes: one with D3 that was turned, and one without a map; and the poses before."""
        truth = random_rotations(8, 5)
        turn = random_rotations(1, 6)[0]
        volume = move_volume(blobs(symmetry="D3", count=12), turn)
        record = write_map(tmp_path / "class.mrc", volume.numpy(), VOXEL_SIZE)
        particles = particles_with(truth @ turn.T, np.zeros((8, 2)))
        number = np.array([1, 1, 1, 1, 1, 2, 2, 2])
        rest = {name: getattr(particles, name) for name in type(particles).__dataclass_fields__}
        rest["class_number"] = number
        classes = (ParticleClass(0.7, 14.0, volume=record), ParticleClass(0.3, 30.0))
        return ClassifiedParticles(**rest, classes=classes), truth

    def test_the_map_and_its_particles_come_to_the_standard_axes(self, turned, told: Told) -> None:
        found, truth = turned
        made = symmetry(found, SymmetryOptions(max_fold=4, resolution=18), told.context)
        assert made.symmetry == "D3"
        assert "D3" in told.text
        # A sixth of a turn brings D3's axes onto each other's opposites: either place is standard.
        np.testing.assert_array_less(angular_distance(made.rotation[:5], truth[:5], "D6"), 1.0)
        np.testing.assert_array_equal(made.rotation[5:], found.rotation[5:])
        volume = read_map(made.classes[0].volume)[0]
        truth_map = blobs(symmetry="D3", count=12).numpy()
        turned_over = move_volume(blobs(symmetry="D3", count=12), rotation_about((1, 0, 0), 60)).numpy()
        best = max(np.corrcoef(volume.ravel(), one.ravel())[0, 1] for one in (truth_map, turned_over))
        assert best > 0.95
        page = read_report(Path(made.classes[0].volume.path).parent)
        assert sections(page) == ["symmetries", "map_class001"]
        assert "D3" in page.all("img")[0]["alt"]

    def test_particles_with_a_map_in_a_file_become_one_class(self, told: Told, tmp_path: Path) -> None:
        particles = particles_with(random_rotations(4, 1), np.zeros((4, 2)))
        options = SymmetryOptions(symmetry="c3", map_file=write_symmetric_map(tmp_path), resolution=18, apply=False)
        made = symmetry(particles, options, told.context)
        assert (made.symmetry, len(made.classes)) == ("C3", 1)
        np.testing.assert_array_equal(made.class_number, 1)
        with pytest.raises(InputError, match="--map-file"):
            symmetry(particles, SymmetryOptions(), told.context)

    def test_expansion_takes_the_symmetry_of_the_map(self, turned, told: Told) -> None:
        found = replace(turned[0], symmetry="D3")
        assert len(expand_symmetry(found, ExpandSymmetryOptions(), told.context)) == 48
        assert len(expand_symmetry(found, ExpandSymmetryOptions(symmetry="C2"), told.context)) == 16
        with pytest.raises(InputError, match="not known"):
            expand_symmetry(found.plain(), ExpandSymmetryOptions(), told.context)


class TestVolume:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        write_mrc(tmp_path / "source.mrc", blobs().numpy(), VOXEL_SIZE)
        return tmp_path / "source.mrc"

    def test_maps_are_changed(self, source: Path, told: Told) -> None:
        options = VolumeJobOptions(target="out.mrc", low_pass=20, box=48, invert=True)
        made, size = read_map(volume(source, options, told.context))
        assert made.shape == (48, 48, 48)
        assert size == pytest.approx(VOXEL_SIZE)
        assert made.min() < -0.2

    def test_masks_and_differences_are_made(self, source: Path, told: Told, tmp_path: Path) -> None:
        made, _ = read_map(volume(source, VolumeJobOptions(target="mask.mrc", to="mask"), told.context))
        assert (made.min(), made.max()) == (0, 1)
        write_mrc(tmp_path / "twice.mrc", 2 * blobs().numpy(), VOXEL_SIZE)
        options = VolumeJobOptions(target="left.mrc", to="difference", other=tmp_path / "twice.mrc")
        assert np.abs(read_map(volume(source, options, told.context))[0]).max() < 1e-4
        assert "correlate by 1.0000" in told.text
        with pytest.raises(InputError, match="--other"):
            volume(source, options.model_copy(update={"other": None}), told.context)

    def test_shells_are_compared_and_the_curve_kept(self, source: Path, told: Told, tmp_path: Path) -> None:
        write_mrc(tmp_path / "noisy.mrc", (blobs() + 0.5 * blobs().std() * noise((40, 40, 40), 1)).numpy(), VOXEL_SIZE)
        made = volume(source, VolumeJobOptions(target="out.mrc", fsc=tmp_path / "noisy.mrc"), told.context)
        frequency, curve = np.loadtxt(made.with_name("out_fsc.csv"), delimiter=",").T
        assert frequency[-1] == pytest.approx(1 / 8)
        assert curve[3] > 0.98
        assert curve[-1] < 0.2
        options = VolumeJobOptions(target="out.mrc", fsc=tmp_path / "noisy.mrc", box=32)
        with pytest.raises(InputError, match="another box"):
            volume(source, options, told.context)
