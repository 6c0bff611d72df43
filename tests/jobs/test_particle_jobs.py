"""Jobs on sets of particles: import, export, subset, join, remove duplicates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.formats.particle_files import (
    classified,
    known,
    particle_table,
    refined,
    write_particle_star,
    write_stacks,
)
from thon.algorithms.particle_noise import noise_power
from thon.base.errors import InputError
from thon.data.particles import Particles
from thon.formats.cryosparc import read_cryosparc
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_model import read_model
from thon.formats.relion_particles import read_particles
from thon.formats.relion_read_results import read_classification, read_refinement
from thon.formats.star import read_star
from thon.job.context import Context
from thon.job.events import Event
from thon.jobs.export_particles import ExportParticlesOptions, export_particles
from thon.jobs.import_particles import ImportParticlesOptions, import_particles
from thon.jobs.join import JoinOptions, join
from thon.jobs.remove_duplicates import RemoveDuplicatesOptions, remove_duplicates
from thon.jobs.subset import SubsetOptions, subset


@pytest.fixture
def star(tmp_path: Path) -> Path:
    write_stacks(tmp_path)
    return write_particle_star(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def context(tmp_path: Path, said: list[str]) -> Context:
    def hear(event: Event) -> None:
        said.append(str(getattr(event, "text", "")))

    return Context.local(tmp_path / "job", emit=hear)


def all_images(particles: Particles) -> np.ndarray:
    with ParticleImages(particles) as images:
        return images.read(np.arange(len(particles)))


class TestImport:
    def test_a_star(self, star: Path, context: Context, said: list[str]) -> None:
        found = import_particles(star, ImportParticlesOptions(), context)
        assert len(found) == 6
        assert said[0].startswith("6 particles of 12 px at 1.7 Å in 1 optics group, 2 micrographs, with CTFs and poses")

    def test_what_is_missing_may_be_told_to_be_fine(self, tmp_path: Path, context: Context) -> None:
        table = particle_table(rlnDefocusU=None, rlnDefocusV=None, rlnDefocusAngle=None)
        path = write_particle_star(tmp_path, table)
        with pytest.raises(InputError, match="stack"):
            import_particles(path, ImportParticlesOptions(need_ctf=False), context)
        options = ImportParticlesOptions(need_ctf=False, need_images=False)
        assert import_particles(path, options, context).ctf is None


class TestExport:
    def test_a_folder_that_can_travel(self, star: Path, context: Context, tmp_path: Path) -> None:
        particles = read_particles(star)
        options = ExportParticlesOptions(write=("relion", "cryosparc"), stacks=True)
        folder = export_particles((particles,), options, context)
        moved = folder.rename(tmp_path / "moved")
        again = read_particles(moved / "particles.star")
        np.testing.assert_array_equal(all_images(again), all_images(particles))
        assert all(str(moved) in name for name in again.files)
        np.testing.assert_array_equal(all_images(read_cryosparc(moved / "particles.cs").particles), all_images(again))

    def test_dark_images_are_not_given_to_relion_as_they_are(self, star: Path, context: Context) -> None:
        particles = read_particles(star)
        dark = replace(particles, optics=(replace(particles.optics[0], dark=True),))
        with pytest.raises(InputError, match="matter is dark"):
            export_particles((dark,), ExportParticlesOptions(), context)
        folder = export_particles((dark,), ExportParticlesOptions(stacks=True), context)
        np.testing.assert_array_equal(all_images(read_particles(folder / "particles.star")), -all_images(particles))

    def test_a_refinement_becomes_a_job_of_relion(self, context: Context, tmp_path: Path) -> None:
        found = refined(tmp_path)
        options = ExportParticlesOptions(folder=str(tmp_path / "relion"), relion_3=True)
        job = export_particles((found,), options, context) / "Refine3D/job001"
        again = read_refinement(job / "run_data.star")
        assert (again.symmetry, again.resolution) == ("D2", 6.0)
        assert again.files == found.files
        expected = noise_power(all_images(found), 18.0, 1.7)
        np.testing.assert_allclose(read_model(job / "run_model.star").noise[0], expected, rtol=1e-5)
        assert "model_group_2" in read_star(job / "run_model.star")

    def test_so_do_classes(self, context: Context, tmp_path: Path) -> None:
        folder = export_particles((classified(tmp_path),), ExportParticlesOptions(stacks=True), context)
        again = read_classification(folder / "Class2D/job001/run_it025_data.star")
        assert len(again.classes) == 3
        assert str(folder) in again.files[0]


Conditions = dict[str, object]


class TestSubset:
    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            ({"classes": (2, 3)}, [0, 3, 4, 5]),
            ({"half": 2}, [1, 3, 5]),
            ({"micrographs": ("mic1",)}, [1, 2, 4]),
            ({"field": "defocus", "minimum": 13000.0, "maximum": 15000.0}, [1, 2, 3]),
            ({"field": "defocus", "minimum": 13000.0, "maximum": 15000.0, "invert": True}, [0, 4, 5]),
            ({"field": "score", "minimum": 0.25, "half": 1}, [0, 2]),
        ],
    )
    def test_conditions(self, conditions: Conditions, expected: list[int], star: Path, context: Context) -> None:
        particles = read_particles(star)
        found = subset((particles,), SubsetOptions.model_validate(conditions), context)
        np.testing.assert_array_equal(found.section, particles.section[expected])
        assert found.columns["wrpUnknown"] == tuple(particles.columns["wrpUnknown"][k] for k in expected)

    def test_a_number_at_random(self, star: Path, context: Context) -> None:
        particles = read_particles(star)
        found = subset((particles,), SubsetOptions(number=4), context)
        assert len(found) == 4
        again = subset((particles,), SubsetOptions(number=4), context)
        assert [again.image_name(k) for k in range(4)] == [found.image_name(k) for k in range(4)]

    def test_parts_hold_each_particle_once(self, star: Path, context: Context) -> None:
        particles = read_particles(star)
        parts = [subset((particles,), SubsetOptions(parts=4, part=k), context) for k in (1, 2, 3, 4)]
        names = sorted(part.image_name(k) for part in parts for k in range(len(part)))
        assert names == sorted(particles.image_name(k) for k in range(6))

    def test_none_that_meets_them(self, star: Path, context: Context) -> None:
        with pytest.raises(InputError, match="no particle meets"):
            subset((read_particles(star),), SubsetOptions(classes=(9,)), context)

    @pytest.mark.parametrize("wrong", [{"part": 2}, {"field": "score"}, {"minimum": 3.0}])
    def test_options_that_do_not_fit(self, wrong: Conditions) -> None:
        with pytest.raises(ValueError, match=r"part must be|field goes together"):
            SubsetOptions.model_validate(wrong)


class TestJoin:
    def test_groups_of_one_name_are_one_and_images_come_once(
        self, star: Path, context: Context, said: list[str]
    ) -> None:
        particles = read_particles(star)
        numbered = replace(particles, columns=dict(particles.columns) | {"rlnGroupNumber": ("1",) * 6})
        first, second = numbered.select(np.arange(4)), numbered.select(np.arange(2, 6))
        joined = join((first, second), JoinOptions(), context)
        assert len(joined) == 6
        assert len(joined.optics) == 1
        assert "2 images are in several sets" in said[0]
        assert "rlnGroupNumber" not in joined.columns
        assert joined.columns["wrpUnknown"] == particles.columns["wrpUnknown"]
        assert len(join((first, second), JoinOptions(repeated=True), context)) == 8

    def test_groups_that_differ_are_no_one_group(self, star: Path, context: Context) -> None:
        particles = read_particles(star)
        other = replace(particles, optics=(replace(particles.optics[0], pixel_size=1.8),))
        with pytest.raises(InputError, match="two optics groups are called 'left'"):
            join((particles, other), JoinOptions(), context)
        named = replace(other, optics=(replace(other.optics[0], name="right"),))
        joined = join((particles, named), JoinOptions(repeated=True), context)
        assert [group.name for group in joined.optics] == ["left", "right"]
        np.testing.assert_array_equal(joined.group, np.repeat([0, 1], 6))


class TestRemoveDuplicates:
    def test_the_better_of_two_stays(self, star: Path, context: Context) -> None:
        particles = read_particles(star)
        places = known(particles.coordinates).copy()
        # Both in mic2; alignment shifts the second 10 Å away, and their scores are 0.5 and 0.2.
        places[3], shift = places[0], np.zeros((6, 2))
        shift[3] = 0.0, 10.0
        near = replace(particles, coordinates=places, shift=shift)
        names = [near.image_name(k) for k in (0, 1, 2, 4, 5)]
        found = remove_duplicates((near,), RemoveDuplicatesOptions(distance=12), context)
        assert [found.image_name(k) for k in range(len(found))] == names
        assert len(remove_duplicates((near,), RemoveDuplicatesOptions(distance=9.9), context)) == 6
        other = remove_duplicates((near,), RemoveDuplicatesOptions(distance=12, keep="defocus_u"), context)
        assert near.image_name(0) not in [other.image_name(k) for k in range(len(other))]

    def test_the_scale_of_the_micrographs(self, star: Path, context: Context) -> None:
        particles = read_particles(star)
        places = known(particles.coordinates).copy()
        places[3] = places[0] + [0, 10]
        near = replace(particles, coordinates=places, shift=None)
        for size, count in ((1.0, 5), (2.0, 6)):
            options = RemoveDuplicatesOptions(distance=12, micrograph_pixel_size=size)
            assert len(remove_duplicates((near,), options, context)) == count
