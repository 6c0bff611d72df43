"""RELION's pipeline of jobs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from thon.base.errors import FormatError
from thon.formats.relion_pipeline import PIPELINE, RelionJob, add_job, next_job_folder, read_pipeline
from thon.formats.star import StarBlock, read_star, write_star

SHARED = Path(__file__).resolve().parents[3] / "shared/data/relion5_empiar10164_project/pipelines"
FIRST = RelionJob(
    "Import/job001",
    "relion.import.other",
    outputs={"Import/job001/particles.star": "ParticleGroupMetadata.star.relion"},
    options={"fn_in_other": "my particles.star"},
)
SECOND = RelionJob(
    "Class3D/job002",
    "relion.class3d",
    inputs=("Import/job001/particles.star",),
    outputs={"Class3D/job002/run_it025_data.star": "ParticleGroupMetadata.star.relion.class3d"},
    status="Failed",
)


def test_jobs_come_back_in_order(tmp_path: Path) -> None:
    assert read_pipeline(tmp_path) == ()
    for job in (FIRST, SECOND):
        assert next_job_folder(tmp_path, job.folder.split("/")[0]) == job.folder
        add_job(tmp_path, job)
    first, second = read_pipeline(tmp_path)
    assert (first.folder, first.kind, first.outputs) == (FIRST.folder, FIRST.kind, FIRST.outputs)
    assert (second.inputs, second.status) == (SECOND.inputs, "Failed")
    assert (tmp_path / "Import/job001/RELION_JOB_EXIT_SUCCESS").exists()
    assert (tmp_path / "Class3D/job002/RELION_JOB_EXIT_FAILURE").exists()
    star = read_star(tmp_path / "Import/job001/job.star")
    assert star["job"].pairs["rlnJobTypeLabel"] == "relion.import.other"
    assert star["joboptions_values"].columns == {
        "rlnJobOptionVariable": ["fn_in_other"],
        "rlnJobOptionValue": ["my particles.star"],
    }


def test_what_the_file_had_besides_is_kept(tmp_path: Path) -> None:
    add_job(tmp_path, FIRST)
    blocks = read_star(tmp_path / PIPELINE)
    nodes = StarBlock({}, {**blocks["pipeline_nodes"].columns, "rlnPipeLineNodeColour": ["red"]})
    write_star(tmp_path / PIPELINE, blocks | {"pipeline_nodes": nodes})
    add_job(tmp_path, SECOND)
    assert read_star(tmp_path / PIPELINE)["pipeline_nodes"].columns["rlnPipeLineNodeColour"] == ["red", "None"]


def test_a_pipeline_of_relion_3(tmp_path: Path) -> None:
    old = StarBlock({}, {"rlnPipeLineProcessName": ["Import/job001/"], "rlnPipeLineProcessType": ["0"]})
    write_star(tmp_path / PIPELINE, {"pipeline_processes": old})
    with pytest.raises(FormatError, match="no pipeline of RELION 4"):
        read_pipeline(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_a_real_pipeline(tmp_path: Path) -> None:
    jobs = {job.folder: job for job in read_pipeline(SHARED)}
    assert len(jobs) > 60
    refine = jobs["Refine3D/job012"]
    assert (refine.kind, refine.status) == ("relion.refine3d.tomo", "Succeeded")
    assert refine.outputs["Refine3D/job012/run_data.star"] == "ParticleGroupMetadata.star.relion.refine3d"
    assert next_job_folder(SHARED, "Refine3D") == "Refine3D/job084"
    shutil.copy(SHARED / PIPELINE, tmp_path / PIPELINE)
    add_job(tmp_path, RelionJob("Refine3D/job084", "relion.refine3d", outputs={"Refine3D/job084/run_data.star": "x"}))
    before, after = read_star(SHARED / PIPELINE), read_star(tmp_path / PIPELINE)
    assert after["pipeline_general"].pairs["rlnPipeLineJobCounter"] == "85"
    for name in ("pipeline_processes", "pipeline_nodes", "pipeline_input_edges", "pipeline_output_edges"):
        for label, texts in before[name].columns.items():
            assert list(after[name].columns[label][: len(texts)]) == list(texts), name
