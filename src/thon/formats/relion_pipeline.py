"""RELION's project as its window shows it: `default_pipeline.star` and each job's `job.star`, as RELION 4 and 5 have.

Writing a job here makes it appear in RELION's window as one that has succeeded, whose outputs other jobs can take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thon.base.errors import FormatError
from thon.formats.star import StarBlock, StarFile, read_star, write_star
from thon.formats.text import PathLike

PIPELINE = "default_pipeline.star"

_PROCESSES = (
    "rlnPipeLineProcessName",
    "rlnPipeLineProcessAlias",
    "rlnPipeLineProcessTypeLabel",
    "rlnPipeLineProcessStatusLabel",
)
_NODES = ("rlnPipeLineNodeName", "rlnPipeLineNodeTypeLabel", "rlnPipeLineNodeTypeLabelDepth")
_INPUTS = ("rlnPipeLineEdgeFromNode", "rlnPipeLineEdgeProcess")
_OUTPUTS = ("rlnPipeLineEdgeProcess", "rlnPipeLineEdgeToNode")


@dataclass(frozen=True)
class RelionJob:
    """A job of a RELION project.

    Args:
        folder: Under the project, as `Refine3D/job012`.
        kind: Type label, as `relion.refine3d`.
        inputs: Files that it took, counted from the project.
        outputs: Node type of each file that it made, by its name counted from the project.
        options: What its window shows, by RELION's names.
        status: Succeeded, Failed, Aborted, Running or Scheduled.
    """

    folder: str
    kind: str
    inputs: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    status: str = "Succeeded"


def read_pipeline(project: PathLike) -> tuple[RelionJob, ...]:
    """The jobs of a project, in their order; none where there is no pipeline yet.

    Raises:
        FormatError: The file is of RELION 3, which writes numbers for types, or is damaged.
    """
    path = Path(project) / PIPELINE
    if not path.exists():
        return ()
    blocks = read_star(path)
    processes = blocks.get("pipeline_processes", StarBlock())
    if len(processes) and not all(label in processes.columns for label in _PROCESSES):
        mend = "open the project in RELION 4 or later once, which rewrites it"
        raise FormatError("is no pipeline of RELION 4 or later", path=path, mend=mend)
    kinds = _pairs(blocks, "pipeline_nodes", _NODES)
    inputs, outputs = _pairs(blocks, "pipeline_input_edges", _INPUTS), _pairs(blocks, "pipeline_output_edges", _OUTPUTS)
    types = dict(kinds)
    return tuple(
        RelionJob(
            name.rstrip("/"),
            kind,
            tuple(node for node, process in inputs if process == name),
            {node: types.get(node, "") for process, node in outputs if process == name},
            status=status,
        )
        for name, _, kind, status in zip(*(processes.columns.get(label, ()) for label in _PROCESSES), strict=True)
    )


def next_job_folder(project: PathLike, title: str) -> str:
    """Where the next job of a project goes: `Refine3D/job001` for `Refine3D` in an empty one."""
    return f"{title}/job{_counter(Path(project)):03d}"


def add_job(project: PathLike, job: RelionJob) -> None:
    """Put a job among those of a project: its `job.star`, its mark of success and its place in the pipeline.

    Args:
        project: The project's folder; the job's folder in it is made.
        job: The job, of a folder that `next_job_folder` gave.
    """
    root = Path(project)
    folder = root / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    about = {"rlnJobTypeLabel": job.kind, "rlnJobIsContinue": "0", "rlnJobIsTomo": "0"}
    values = {"rlnJobOptionVariable": list(job.options), "rlnJobOptionValue": list(job.options.values())}
    blocks = {"job": StarBlock(about)} | ({"joboptions_values": StarBlock({}, values)} if job.options else {})
    write_star(folder / "job.star", blocks)
    (folder / f"RELION_JOB_EXIT_{'SUCCESS' if job.status == 'Succeeded' else 'FAILURE'}").touch()
    path = root / PIPELINE
    old = read_star(path) if path.exists() else {}
    number = max(_counter(root), int(job.folder[-3:]) + 1 if job.folder[-3:].isdecimal() else 1)
    name = f"{job.folder}/"
    blocks = {
        "pipeline_general": StarBlock({"rlnPipeLineJobCounter": str(number)}),
        "pipeline_processes": _with_rows(old, "pipeline_processes", _PROCESSES, [(name, "None", job.kind, job.status)]),
        "pipeline_nodes": _with_rows(
            old, "pipeline_nodes", _NODES, [(n, kind, "1") for n, kind in job.outputs.items()]
        ),
        "pipeline_input_edges": _with_rows(old, "pipeline_input_edges", _INPUTS, [(node, name) for node in job.inputs]),
        "pipeline_output_edges": _with_rows(old, "pipeline_output_edges", _OUTPUTS, [(name, n) for n in job.outputs]),
    }
    write_star(path, {name: block for name, block in blocks.items() if block.pairs or len(block)})


def _counter(project: Path) -> int:
    """Number of the next job."""
    path = project / PIPELINE
    if not path.exists():
        return 1
    return int(read_star(path)["pipeline_general"].pairs["rlnPipeLineJobCounter"])


def _pairs(blocks: StarFile, name: str, labels: tuple[str, ...]) -> list[tuple[str, str]]:
    columns = blocks.get(name, StarBlock()).columns
    first, second = (columns.get(label, []) for label in labels[:2])
    return list(zip(first, second, strict=True))


def _with_rows(old: StarFile, name: str, labels: tuple[str, ...], rows: list[tuple[str, ...]]) -> StarBlock:
    """A table with more rows; what it had in other columns is kept."""
    before = old.get(name, StarBlock()).columns
    added = {label: [row[k] for row in rows] for k, label in enumerate(labels)}
    names = [*before, *(label for label in labels if label not in before)]
    count = len(next(iter(before.values()), ()))
    columns = {
        label: [*before.get(label, ["None"] * count), *added.get(label, ["None"] * len(rows))] for label in names
    }
    return StarBlock({}, columns)
