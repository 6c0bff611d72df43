"""How soon a server answers for a project of 200 jobs and 50 000 micrographs, and how much memory it takes.

    python benchmarks/web.py [--jobs 200] [--items 50000] [--folder FOLDER]

Prints for every page and route the time to the first byte, median and 95th percentile of `ROUNDS` requests one after
another, and the time of a processor that the server took for each, which does not depend on what else the machine does;
then for ten clients at once that also listen to what changes; the memory of the server when idle, and after.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from thon.job.folder import JobFolder, write_whole
from thon.job.machine import now, software
from thon.job.record import ItemResult, JobRecord, Made, Reference, RunRecord, RunSettings, Usage
from thon.project.notes import write_on
from thon.project.project import Project

ROUNDS = 40
CLIENTS, SECONDS = 10, 15.0

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
    "a5f645400000000049454e44ae426082"
)
"""The smallest picture."""

HERE = "/p/{name}"
API = "/api/v1/projects/{name}"
ROUTES = (
    "/",
    f"{HERE}/",
    f"{HERE}/?view=table",
    f"{HERE}/?view=table&find=bench&sort=-cost",
    f"{HERE}/?view=tree",
    f"{HERE}/jobs/J003",
    f"{HERE}/jobs/J003?tab=options",
    f"{HERE}/jobs/J003?tab=inputs",
    f"{HERE}/jobs/J003?tab=history",
    f"{HERE}/jobs/J003?tab=log",
    f"{HERE}/jobs/J003?tab=files",
    f"{HERE}/jobs/J003?tab=record",
    f"{HERE}/jobs/J150",
    f"{HERE}/new",
    f"{HERE}/log",
    f"{HERE}/why?file=J150",
    f"{HERE}/live",
    "/api/v1/projects",
    "/api/v1/job-types",
    API,
    f"{API}/jobs",
    f"{API}/jobs?limit=50&find=bench&sort=cost&down=true",
    f"{API}/jobs?where=ctf.resolution<3",
    f"{API}/graph",
    f"{API}/jobs/J003",
    f"{API}/jobs/J003/items",
    f"{API}/jobs/J003/items?sort=ctf.resolution&down=true",
    f"{API}/jobs/J003/items?sort=ctf.resolution&offset=40000",
    f"{API}/jobs/J003/items?where=ctf.resolution<3&state=done",
    f"{API}/jobs/J003/items?find=49999",
    f"{API}/jobs/J003/files",
    f"{API}/jobs/J003/events?last=true",
    f"{API}/why?job=J150",
    f"{API}/cost?by=month",
    f"{API}/browse",
    f"{API}/lanes",
    f"{API}/live",
    "/static/app.css",
)
LARGE = (f"{API}/jobs/J003/series?name=ctf.resolution&name=ctf.defocus",)
"""Told apart: two columns of all items in one answer."""


def main() -> None:
    """Make the project, serve it, ask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thon-web-") as scratch:
        root = given.folder or Path(scratch) / "bench"
        if not root.exists():
            begun = time.monotonic()
            make(root, given.jobs, given.items)
            print(f"made {given.jobs} jobs, {given.items} micrographs in {time.monotonic() - begun:.0f} s")
        measure(root)


def make(root: Path, jobs: int, items: int) -> None:
    """A project of three jobs with every micrograph, and others with one item each."""
    project = Project.create(root)
    names = [f"FoilHole_{k:05d}" for k in range(items)]
    raw = {name: {"movie": [Reference(file=f"../raw/{name}.eer")]} for name in names}
    add(project, "import-movies", raw, [])
    motion = {name: {"movie": [Reference(job="J001", item=name)]} for name in names}
    add(project, "motion", motion, ["total_motion", "early_motion"])
    fits = {name: {"micrograph": [Reference(job="J002", item=name)]} for name in names}
    add(project, "ctf-fit", fits, ["ctf.resolution", "ctf.defocus", "ctf.astigmatism"])
    types = ("pick", "extract", "classify2d", "refine3d", "postprocess")
    for k in range(4, jobs + 1):
        before = f"J{max(3, k - 1 - k % 3):03d}"
        sources = [Reference(job=before, item=names[0] if before == "J003" else "all")]
        folder = add(project, types[k % len(types)], {"all": {"input": sources}}, ["resolution", "count"], name="all")
        if k % 7 == 0:
            write_on(folder.path, note=f"bench note {k}", add=["good"])


def add(
    project: Project,
    type_: str,
    items: dict[str, dict[str, list[Reference]]],
    values: list[str],
    *,
    name: str = "",
) -> JobFolder:
    """A finished job with a record, events, and pictures of a few items."""
    folder = project.new_folder(type_)
    results = {
        item: ItemResult(
            state="done",
            seconds=4.0 + k % 7,
            cpu_seconds=3.0,
            bytes=32_000_000,
            files={"out.mrc": Made(bytes=32_000_000, mark=f"{k:032x}")},
            values={one: 2.0 + (k * 7919 % 1000) / (100 + place) for place, one in enumerate(values)},
            results={"Map": f"outputs/{item}/out.mrc"},
        )
        for k, item in enumerate(items)
    }
    run = RunRecord(
        host="node1",
        cpu="a CPU",
        price=1.2,
        seconds=3600.0,
        cpu_seconds=7200.0,
        started=now(),
        ended=now(),
        state="finished",
    )
    record = JobRecord(
        id=folder.path.name.split("-")[0],
        type=type_,
        title=type_.replace("-", " "),
        state="finished",
        options={"bin": 2.0, "size": 256, "folder": None},
        settings=RunSettings(),
        items=items,
        inputs={},
        software=software(),
        user="ada",
        command=f"thon {type_} J002",
        created=now(),
        started=now(),
        ended=now(),
        usage=Usage(seconds=3600.0, cpu_seconds=7200.0, bytes=32_000_000 * len(items)),
        runs=[run],
        results=results,
    )
    for item in list(items)[:50]:
        (folder.path / "previews" / item).mkdir(parents=True)
        (folder.path / "previews" / item / "picture.png").write_bytes(PIXEL)
        (folder.path / "outputs" / item).mkdir(parents=True)
        write_whole(folder.path / "outputs" / item / "record.json", b"{}\n")
    lines = (json.dumps({"kind": "item_started", "time": time.time(), "item": item}) for item in items)
    folder.events_file.write_text("\n".join(lines) + "\n")
    folder.write(record)
    return folder


class Asker:
    """Asks a server, over one connection."""

    def __init__(self, port: int, token: str):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "text/html,application/json"}

    def ask(self, path: str) -> tuple[float, int, int]:
        """Time to the first byte in s, status, and size of the answer."""
        begun = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        first = answer.read(1)
        took = time.perf_counter() - begun
        return took, answer.status, len(first + answer.read())


def measure(root: Path) -> None:
    """Serve a project and print how soon it answers."""
    command = [sys.executable, "-m", "thon.cli.main", "serve", str(root), "--port", "0"]
    begun = time.monotonic()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    try:
        said = ""
        while (match := re.search(r":(\d+)/\?token=(\S+)", said)) is None:
            said = server.stdout.readline()
        port, token = int(match[1]), match[2]
        print(f"ready in {time.monotonic() - begun:.1f} s, {memory(server.pid):.0f} MB when nobody has asked anything")
        one_by_one(root, Asker(port, token), server.pid)
        print(f"{memory(server.pid):.0f} MB after that")
        together(root, port, token)
        print(f"{memory(server.pid):.0f} MB after {CLIENTS} clients at once")
        time.sleep(20)
        print(f"{memory(server.pid):.0f} MB when nobody has looked for 20 s")
    finally:
        server.terminate()
        server.wait(20)


def one_by_one(root: Path, asker: Asker, pid: int) -> None:
    """Every page and route, one request after another."""
    print(f"{'first byte, ms':72} {'median':>7} {'p95':>7} {'CPU':>6} {'size, kB':>9}")
    for route in (*ROUTES, *LARGE):
        path = route.format(name=root.name).replace("<", "%3C")
        asker.ask(path)
        before = processor_time(pid)
        asked = [asker.ask(path) for _ in range(ROUNDS)]
        took = 1000 * (processor_time(pid) - before) / ROUNDS
        times = sorted(1000 * one for one, _, _ in asked)
        p95, status = times[int(0.95 * ROUNDS) - 1], "" if asked[0][1] in (200, 303) else f"  status {asked[0][1]}"
        size = asked[0][2] / 1000
        print(f"{route:72} {statistics.median(times):7.1f} {p95:7.1f} {took:6.1f} {size:9.1f}{status}")


def processor_time(pid: int) -> float:
    """Time of processors that a process has taken so far, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def together(root: Path, port: int, token: str) -> None:
    """Ten clients that ask for what a browser does, each listening to what changes."""
    times: list[float] = []
    until = time.monotonic() + SECONDS
    paths = [route.format(name=root.name).replace("<", "%3C") for route in ROUTES]

    def client(number: int) -> None:
        stream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {token}"}
        stream.request("GET", API.format(name=root.name) + "/events", headers=headers)
        stream.getresponse()
        asker, place = Asker(port, token), number
        while time.monotonic() < until:
            times.append(asker.ask(paths[place % len(paths)])[0])
            place += 1
            time.sleep(0.5)
        stream.close()

    threads = [threading.Thread(target=client, args=(k,)) for k in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    rate, middle, p95 = len(times) / SECONDS, 1000 * statistics.median(times), 1000 * times[int(0.95 * len(times))]
    print(f"{CLIENTS} clients, {rate:.0f} requests a second: median {middle:.0f} ms, p95 {p95:.0f} ms")


def memory(pid: int) -> float:
    """Resident memory of a process, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", status)
    return int(match[1]) / 1024 if match else float("nan")


if __name__ == "__main__":
    main()
