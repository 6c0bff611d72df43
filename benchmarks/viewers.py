"""How long viewers wait for the server: tiles, slices, surfaces, galleries, tables of real sizes, over HTTP.

    python benchmarks/viewers.py [--folder FOLDER] [--jobs 200]

Makes a project with a micrograph of 4096 × 4096 pixels among `--jobs` jobs, tomograms of 400 × 1024 × 1024 voxels
(int8 and float32, 2.1 GB in all), a map of 256³, 1 500 class averages and 100 000 particles, serves it, and prints
medians and 95th percentiles of whole answers, the server's CPU time for each, and its memory. Files come from memory
after the first look, as they do for somebody who looks at them; the first answers are told apart.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from thon.data.maps import ClassifiedParticles, HalfMaps, ParticleClass
from thon.data.micrograph import Micrograph
from thon.data.optics import Optics
from thon.data.particles import ParticleCtf, ParticleOptics
from thon.data.volume import Tomogram, Volume
from thon.formats.mrc import MrcWriter, write_mrc
from thon.job.folder import JobFolder
from thon.job.record import ItemResult, JobRecord, RunSettings, Software
from thon.project.project import Project

TOKEN = "benchmark-of-viewers"
PARTICLES, CLASSES = 100_000, 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to make the project; a temporary folder unless given")
    parser.add_argument("--jobs", type=int, default=200, help="jobs in the project")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    try:
        root = make_project(folder, given.jobs)
        measure(root)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


def make_project(folder: Path, jobs: int) -> Path:
    project = Project.create(folder / "viewers")
    random = np.random.default_rng(1)
    if not project.jobs():
        for make in (_micrograph, _tomogram_int8, _tomogram_float32, _map, _classes):
            make(project, random)
        for _ in range(jobs - 5):
            _job(project, "motion")
    return project.root


def measure(root: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    port = spawn.Value("i", 0)
    server = spawn.Process(target=_serve, args=(str(root), port), daemon=True)
    server.start()
    while not port.value:
        time.sleep(0.05)
    pid = server.pid
    try:
        asker = Asker(port.value, root.name)
        print(f"server, idle: {memory(pid):.0f} MB")
        for name, urls in _questions(asker):
            first = asker.times(urls[:1])[0]
            before = processor_time(pid)
            rest = asker.times(urls[1:])
            used = 1e3 * (processor_time(pid) - before) / len(rest)
            median, high = np.median(rest), np.percentile(rest, 95)
            print(f"{name:32s} first {first:7.1f} ms   median {median:6.1f}   p95 {high:6.1f}   CPU {used:6.1f}")
        print(f"server, afterwards: {memory(pid):.0f} MB, {memory(pid, 'RssFile'):.0f} MB of it pages of files")
    finally:
        server.terminate()
        server.join()


class Asker:
    """Asks the server, over one connection as a browser keeps it."""

    def __init__(self, port: int, project: str):
        self.connection = http.client.HTTPConnection("127.0.0.1", port)
        self.base = f"/api/v1/projects/{project}/jobs"

    def get(self, url: str) -> bytes:
        self.connection.request("GET", self.base + url, headers={"authorization": f"Bearer {TOKEN}"})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status} {content[:300]!r}")
        return content

    def times(self, urls: list[str]) -> list[float]:
        """Milliseconds until the whole answer is there."""
        taken: list[float] = []
        for url in urls:
            started = time.perf_counter()
            self.get(url)
            taken.append(1e3 * (time.perf_counter() - started))
        return taken


def _questions(asker: Asker) -> Iterator[tuple[str, list[str]]]:
    random = np.random.default_rng(2)
    item = "/J001/items/one"
    places = [(level, r, c) for level in range(4) for r in range(8 >> level) for c in range(8 >> level)]
    yield "views of an item", [f"{item}/views"] * 40
    yield "tiles of 4096² (float32)", [f"{item}/tiles/{k}/{r}/{c}.jpg" for k, r, c in places]
    yield "tiles, low-pass 20 Å", [f"{item}/tiles/0/{k % 2}/{k // 2 % 2}.jpg?lowpass=20" for k in range(40)]
    yield "power spectrum", [f"{item}/spectrum.jpg"] * 20
    for job, kind in (("J002", "int8"), ("J003", "float32")):
        for axis, length in (("z", 400), ("y", 1024), ("x", 1024)):
            # A person goes on from where they are, by some slices at a time.
            path = np.clip(length // 2 + np.cumsum(random.integers(-4, 5, 60)), 0, length - 1)
            yield f"slices across {axis}, {kind}", [f"/{job}/items/one/slices/{axis}/{k}.jpg" for k in path]
    yield "slabs of 11 across z, int8", [f"/J002/items/one/slices/z/{k}.jpg?slab=5" for k in range(180, 220)]
    levels = json.loads(asker.get("/J004/items/all/levels"))
    yield "levels of 256³", ["/J004/items/all/levels"] * 10
    tries = [levels["suggested"] * (1 + 0.01 * k) for k in range(12)]
    yield "surface of 256³", [f"/J004/items/all/surface?level={level}" for level in tries]
    yield "1 500 classes: numbers", ["/J005/items/all/classes"] * 20
    yield "1 500 classes: a sheet of 100", [f"/J005/items/all/classes/sheet/{k}.jpg" for k in range(15)]
    yield "100 000 rows, sorted", [f"/J005/items/all/table?sort=defocus_u&offset={100 * k}" for k in range(40)]
    where = "where=score%3E0.5&where=class_number%3D7"
    yield "100 000 rows, filtered", [f"/J005/items/all/table?{where}&sort=score&offset={10 * k}" for k in range(40)]
    yield "100 000 points of a plot", ["/J005/items/all/table/plot?x=defocus_u&y=score"] * 20


def memory(pid: int | None, field: str = "VmRSS") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def processor_time(pid: int | None) -> float:
    """Seconds of CPU that a process has used, which do not depend on what else the machine does."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _serve(root: str, port: Any) -> None:
    import socket  # noqa: PLC0415

    import uvicorn  # noqa: PLC0415

    from thon.web.app import create_app  # noqa: PLC0415
    from thon.web.site import Site  # noqa: PLC0415

    listener = socket.create_server(("127.0.0.1", 0))
    # Otherwise small answers wait for 40 ms, until the asker has confirmed their first half.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(create_app(Site(Path(root), run=False), token=TOKEN), log_level="warning")
    port.value = listener.getsockname()[1]
    uvicorn.Server(config).run(sockets=[listener])


def _job(project: Project, kind: str, item: str = "one", record: Any = None) -> JobFolder:
    folder = project.new_folder(kind)
    number = folder.path.name.split("-")[0]
    folder.outputs.mkdir()
    folder.write(
        JobRecord(
            id=number, type=kind, title=kind, state="finished", options={}, settings=RunSettings(), items={item: {}},
            inputs={}, software=Software(version="0"), created="2026-01-01T00:00:00+00:00",
            results={item: ItemResult(state="done")},
        )
    )  # fmt: skip
    if record is not None:
        unfinished = folder.begin_item(item)
        folder.commit_item(item, unfinished, record(unfinished))
    return folder


def _micrograph(project: Project, random: np.random.Generator) -> None:
    def make(folder: Path) -> Micrograph:
        write_mrc(folder / "one.mrc", random.normal(size=(4096, 4096)).astype(np.float32), 1.0)
        return Micrograph("one", str(folder / "one.mrc"), (4096, 4096), 1.0, Optics(300.0, 2.7, 0.1))

    _job(project, "motion", record=make)


def _tomogram(project: Project, random: np.random.Generator, dtype: type) -> None:
    shape = (400, 1024, 1024)

    def make(folder: Path) -> Tomogram:
        path = folder / "one_Vol.mrc"
        with MrcWriter(path, shape, 10.0, dtype=np.dtype(dtype)) as writer:
            for k in range(shape[0]):
                writer[k : k + 1] = (
                    (20 * random.standard_normal((1, *shape[1:]), np.float32)).clip(-127, 127).astype(dtype)
                )
        return Tomogram("one", Volume(str(path), shape, 10.0))

    _job(project, "reconstruct", record=make)


def _tomogram_int8(project: Project, random: np.random.Generator) -> None:
    _tomogram(project, random, np.int8)


def _tomogram_float32(project: Project, random: np.random.Generator) -> None:
    _tomogram(project, random, np.float32)


def _map(project: Project, random: np.random.Generator) -> None:
    """A ball with bumps of about the size of side chains, and weak noise around it."""
    side = 256
    frequency = np.fft.fftfreq(side)
    radius2 = frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + np.fft.rfftfreq(side) ** 2
    noise = np.fft.rfftn(random.standard_normal((side,) * 3, np.float32)) * np.exp(-radius2 * 200)
    bumps = np.fft.irfftn(noise, (side,) * 3, (0, 1, 2)).astype(np.float32)
    place = (np.arange(side) - side // 2) ** 2
    ball = np.sqrt(place[:, None, None] + place[None, :, None] + place) < 0.3 * side
    values = (0.2 + 0.8 * ball) * bumps / bumps.std()

    def make(folder: Path) -> HalfMaps:
        write_mrc(folder / "map.mrc", values.astype(np.float32), 1.0)
        volume = Volume(str(folder / "map.mrc"), (side,) * 3, 1.0)
        return HalfMaps(volume=volume, first=volume, second=volume)

    _job(project, "import-halves", "all", make)


def _classes(project: Project, random: np.random.Generator) -> None:
    def make(folder: Path) -> ClassifiedParticles:
        write_mrc(folder / "classes.mrcs", random.standard_normal((CLASSES, 128, 128), np.float32), 2.0)
        (folder / "none.mrcs").write_bytes(b"")
        zero = np.zeros(PARTICLES, np.int64)
        defocus = random.uniform(5e3, 3e4, PARTICLES)
        return ClassifiedParticles(
            optics=(ParticleOptics("one", Optics(300.0, 2.7, 0.1), 1.0, 128),),
            group=zero,
            files=(str(folder / "none.mrcs"),),
            file=zero,
            section=np.arange(PARTICLES),
            micrograph=zero - 1,
            ctf=ParticleCtf.of(defocus, defocus - 100, zero.astype(float)),
            class_number=random.integers(1, CLASSES + 1, PARTICLES),
            score=random.uniform(size=PARTICLES),
            classes=tuple(ParticleClass(1 / CLASSES, 8.0, 0.5) for _ in range(CLASSES)),
            averages=Volume(str(folder / "classes.mrcs"), (CLASSES, 128, 128), 2.0),
        )

    _job(project, "classify2d", "all", make)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
