"""A project, or some of its results with all that they came from, as one folder or tar file for another machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thon.base.errors import InputError, StoreError
from thon.job.folder import JobFolder, storing, write_whole
from thon.job.places import MARK, PLACES, found, moves
from thon.project.portable import Rewriter
from thon.project.project import Project
from thon.project.sizes import LEFTOVERS

MANIFEST = "manifest.json"
DATA = "data"
LEFT_OUT = ("worker.log", "errors", ".tmp-*", *LEFTOVERS)
"""Of a job's folder, what is not exported: tracebacks and logs name folders of this machine."""

TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}


@dataclass
class Exported:
    """What was exported.

    Args:
        jobs: Number of jobs.
        files: Number of files.
        bytes: Their size.
        absolute: Outputs that name absolute paths themselves, relative to the project.
        outside: Number of files from outside that were not taken along.
    """

    jobs: int = 0
    files: int = 0
    bytes: int = 0
    absolute: list[str] = field(default_factory=list[str])
    outside: int = 0


def export(project: Project, folders: Sequence[JobFolder], target: Path, data: Iterable[str] | None) -> Exported:
    """Write job folders into a new folder, or a tar file where the name says so, with a list of all hashes.

    Args:
        project: The project.
        folders: The jobs, in their order.
        target: The new folder or file.
        data: Stored texts of files from outside to take along; None to leave them all out.

    Raises:
        InputError: The target is there already, or a job runs.
        StoreError: The disk refuses.
    """
    if target.exists():
        raise InputError("exists already", path=target, mend="choose another name")
    for folder in folders:
        if folder.is_running():
            raise InputError("this job runs", path=folder.path, mend="wait for it to end")
    made = Exported(jobs=len(folders))
    with storing(target), tempfile.TemporaryDirectory(prefix=".thon-", dir=target.absolute().parent) as scratch:
        copy = Path(scratch) / (project.root.name or "project")
        copy.mkdir()
        for folder in folders:
            shutil.copytree(
                folder.path, copy / folder.path.name, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True
            )
        rewriter = Rewriter(project.root, copy)
        for folder in folders:
            rewriter.rewrite(copy / folder.path.name)
            made.absolute += [str(path.relative_to(copy)) for path in rewriter.still_absolute(copy / folder.path.name)]
        _write_marks(project, copy, _take_data(project, copy, rewriter, data))
        made.files, made.bytes = _write_manifest(copy)
        _deliver(copy, target)
    return made


def _take_data(project: Project, copy: Path, rewriter: Rewriter, data: Iterable[str] | None) -> dict[str, str]:
    """Copy files from outside into the copy; returns where what has moved is there."""
    kept = {rewriter.text(then): rewriter.text(now) for then, now in moves(project.root).items()}
    if data is None:
        return {then: now for then, now in kept.items() if not now.startswith("outside/")}
    numbers: dict[str, str] = {}
    for key in data:
        source, folder = Path(found(key, project.root)), os.path.dirname(key)
        if source.is_relative_to(project.root) or not source.exists():
            continue
        place = numbers.setdefault(folder, f"{DATA}/{len(numbers) + 1}")
        (copy / place).mkdir(parents=True, exist_ok=True)
        target = copy / place / os.path.basename(key)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
        if folder in ("", ".", ".."):
            kept[rewriter.text(key)] = f"{place}/{os.path.basename(key)}"
        else:
            kept[rewriter.text(folder)] = place
    return kept


def _write_marks(project: Project, copy: Path, moved: dict[str, str]) -> None:
    marks = {name: value for name, value in project.marks().items() if name != "database"}
    write_whole(copy / MARK, json.dumps(marks, indent=1).encode() + b"\n")
    if moved:
        write_whole(copy / PLACES, json.dumps(moved, indent=1, ensure_ascii=False).encode() + b"\n")


def _write_manifest(copy: Path) -> tuple[int, int]:
    """List every file with its size and SHA-256; returns how many they are and how much they take."""
    listed: dict[str, tuple[int, str]] = {}
    for path in sorted(copy.rglob("*")):
        if path.is_file() and not path.is_symlink():
            listed[str(path.relative_to(copy))] = path.stat().st_size, sha256(path)
    write_whole(copy / MANIFEST, json.dumps({"files": listed}, indent=0).encode() + b"\n")
    return len(listed), sum(size for size, _ in listed.values())


def _deliver(copy: Path, target: Path) -> None:
    mode = next((mode for end, mode in TARS.items() if target.name.endswith(end)), None)
    if mode is None:
        copy.rename(target)
        return
    part = copy.parent / target.name
    with tarfile.open(part, mode) as tar:  # pyright: ignore[reportCallIssue, reportArgumentType]
        tar.add(copy, copy.name, filter=_anonymous)
    part.rename(target)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry without its owner."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def sha256(path: Path) -> str:
    """SHA-256 of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(source: Path, target: Path) -> Project:
    """Make a project of an export, after every file was compared with the export's list.

    Raises:
        InputError: It is no export, or the target is there already.
        StoreError: A file is damaged or missing, or the disk refuses.
    """
    if target.exists() and any(target.iterdir()):
        raise InputError("this folder holds other things", path=target, expected="a new folder")
    if not source.exists():
        raise InputError("no such file", path=source, mend="check the path")
    with storing(target), tempfile.TemporaryDirectory(prefix=".thon-", dir=target.absolute().parent) as scratch:
        copy = _laid_out(source, Path(scratch))
        _check(copy, source)
        (copy / MANIFEST).unlink()
        Project(copy).check_format()
        Project(copy).mark(id=os.urandom(4).hex())
        if target.exists():
            target.rmdir()
        copy.rename(target)
    return Project(target)


def _laid_out(source: Path, scratch: Path) -> Path:
    """The files of an export in a scratch folder."""
    if source.is_dir():
        return Path(shutil.copytree(source, scratch / "copy", symlinks=True))
    try:
        with tarfile.open(source) as tar:
            tar.extractall(scratch, filter="data")  # which refuses names that lead outside
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError("this is no tar file, or it is cut short", path=source, got=error) from error
    found_ = [path.parent for path in scratch.glob(f"*/{MANIFEST}")]
    if len(found_) != 1:
        raise InputError("this is no exported project", path=source, expected=f"a folder with {MANIFEST}")
    return found_[0]


def _check(copy: Path, source: Path) -> None:
    try:
        listed: dict[str, list[object]] = json.loads((copy / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError("this is no exported project", path=source, expected=f"a folder with {MANIFEST}") from error
    there = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file() and not path.is_symlink()}
    bad = [
        name
        for name, (size, digest) in listed.items()
        if name not in there or (copy / name).stat().st_size != size or sha256(copy / name) != digest
    ]
    if bad or there - listed.keys() != {MANIFEST}:
        named = ", ".join([*bad, *sorted(there - listed.keys() - {MANIFEST})][:5])
        raise StoreError("this export is not as it was written", path=source, got=named, mend="copy it again")
