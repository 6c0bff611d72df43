"""Refinements and classifications as jobs of a RELION project, and back.

RELION 3.1.3 was seen to go on from what is written here: Class2D and Class3D with --continue, Refine3D as a new job.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.formats.particle_files import NOISE, classified, known, refined, write_classification, write_refinement
from thon.base.errors import InputError
from thon.formats.maps import read_map
from thon.formats.mrc import open_mrc, read_mrc
from thon.formats.relion_model import read_model
from thon.formats.relion_optimiser import read_optimiser
from thon.formats.relion_pipeline import PIPELINE, read_pipeline
from thon.formats.relion_read_results import read_classification, read_refinement
from thon.formats.relion_results import write_results
from thon.formats.star import read_star


class TestRefinement:
    def test_comes_back(self, tmp_path: Path) -> None:
        written = refined(tmp_path)
        project = tmp_path / "relion"
        assert write_results(project, written, [NOISE]) == []
        found = read_refinement(project / "Refine3D/job001/run_data.star")
        np.testing.assert_allclose(known(found.rotation), known(written.rotation), atol=1e-7)
        np.testing.assert_array_equal(found.half, written.half)
        assert (found.symmetry, found.resolution, found.diameter) == ("D2", 6.0, 18.0)
        for name in ("volume", "first", "second", "mask"):
            values, size = read_map(getattr(found, name))
            np.testing.assert_array_equal(values, read_map(getattr(written, name))[0], err_msg=name)
            assert size == 1.7
        assert found.curves is not None
        assert written.curves is not None
        expected = np.clip(written.curves.unmasked, 1e-3, 0.999)
        np.testing.assert_allclose(found.curves.unmasked, expected, rtol=1e-6)
        np.testing.assert_allclose(found.curves.frequency, written.curves.frequency)

    def test_the_files_are_relions(self, tmp_path: Path) -> None:
        job = write_refinement(tmp_path).parent
        names = {"run_data.star", "run_model.star", "run_optimiser.star", "run_sampling.star", "job.star", "mask.mrc"}
        names |= {"run_class001.mrc", "run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc"}
        assert {file.name for file in job.iterdir()} == names | {"RELION_JOB_EXIT_SUCCESS"}
        optimiser = read_optimiser(job / "run_optimiser.star")
        assert (optimiser.model, optimiser.iteration) == ("Refine3D/job001/run_model.star", -1)
        assert (optimiser.mask, optimiser.refine) == ("Refine3D/job001/mask.mrc", True)
        (entry,) = read_pipeline(job.parents[1])
        assert (entry.folder, entry.kind, entry.status) == ("Refine3D/job001", "relion.refine3d", "Succeeded")
        half = "Refine3D/job001/run_half1_class001_unfil.mrc"
        assert entry.outputs[half] == "DensityMap.mrc.relion.halfmap.refine3d"

    def test_groups_are_micrographs(self, tmp_path: Path) -> None:
        job = write_refinement(tmp_path).parent
        columns = read_star(job / "run_data.star")["particles"].columns
        assert columns["rlnGroupName"] == columns["rlnMicrographName"]
        assert columns["rlnGroupNumber"] == ["1", "2", "2", "1", "2", "1"]
        model = read_model(job / "run_model.star")
        assert model.groups == {"mic2.mrc": (3, 1.0), "mic1.mrc": (3, 1.0)}
        np.testing.assert_allclose(model.noise[0], NOISE, rtol=1e-6)

    def test_the_next_one_is_another_job(self, tmp_path: Path) -> None:
        found = refined(tmp_path)
        for _ in range(2):
            write_results(tmp_path / "relion", found, [NOISE])
        assert [job.folder for job in read_pipeline(tmp_path / "relion")] == ["Refine3D/job001", "Refine3D/job002"]
        assert read_star(tmp_path / "relion" / PIPELINE)["pipeline_general"].pairs == {"rlnPipeLineJobCounter": "3"}

    def test_without_the_optimiser_of_the_end_that_of_the_last_iteration_tells(self, tmp_path: Path) -> None:
        job = write_refinement(tmp_path).parent
        (job / "run_optimiser.star").rename(job / "run_it014_optimiser.star")
        assert read_refinement(job / "run_model.star").diameter == 18.0

    @pytest.mark.parametrize(
        ("gone", "message"),
        [("run_model.star", "no run_model.star"), ("run_half2_class001_unfil.mrc", "half2")],
    )
    def test_a_file_that_is_not_there(self, gone: str, message: str, tmp_path: Path) -> None:
        star = write_refinement(tmp_path)
        (star.parent / gone).unlink()
        with pytest.raises(InputError, match=message):
            read_refinement(star)

    def test_another_star(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is no star of a refinement"):
            read_refinement(tmp_path / "particles.star")


class TestClassification:
    def test_averages_come_back(self, tmp_path: Path) -> None:
        written = classified(tmp_path)
        found = read_classification(write_classification(tmp_path))
        assert found.averages is not None
        assert written.averages is not None
        np.testing.assert_array_equal(read_mrc(found.averages.path), read_mrc(written.averages.path))
        assert [(one.share, one.resolution) for one in found.classes] == [(0.5, 5.0), (0.3, 6.0), (0.2, 7.0)]
        np.testing.assert_array_equal(found.class_number, written.class_number)
        assert (found.diameter, found.symmetry) == (18.0, "C1")

    def test_maps_come_back(self, tmp_path: Path) -> None:
        written = classified(tmp_path, flat=False)
        (note,) = write_results(tmp_path / "relion", written, [NOISE])
        assert "--healpix_order 2" in note
        found = read_classification(tmp_path / "relion/Class3D/job001/run_it025_model.star")
        assert found.averages is None
        assert found.symmetry == "C4"
        for one, other in zip(found.classes, written.classes, strict=True):
            assert one.volume is not None
            assert other.volume is not None
            np.testing.assert_array_equal(read_mrc(one.volume.path), read_mrc(other.volume.path))
            with open_mrc(one.volume.path) as file:
                assert file.pixel_size == pytest.approx(1.7)

    def test_the_name_of_a_stack_of_averages(self, tmp_path: Path) -> None:
        star = write_classification(tmp_path)
        model = read_model(star.with_name("run_it025_model.star"))
        assert model.classes[1].image == "000002@Class2D/job001/run_it025_classes.mrcs"

    def test_a_folder_that_was_copied_alone(self, tmp_path: Path) -> None:
        star = write_classification(tmp_path)
        star.parent.rename(tmp_path / "alone")
        found = read_classification(tmp_path / "alone" / star.name)
        assert found.averages is not None
        assert found.averages.path == str(tmp_path / "alone/run_it025_classes.mrcs")

    def test_a_class_without_a_map(self, tmp_path: Path) -> None:
        written = classified(tmp_path, flat=False)
        lacking = replace(written, classes=(*written.classes[:2], replace(written.classes[2], volume=None)))
        with pytest.raises(InputError, match="neither a map nor an average"):
            write_results(tmp_path / "relion", lacking, [NOISE])
