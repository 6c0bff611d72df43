"""Replay a session: simulated tilt series arrive movie by movie, one movie is broken, the watcher is killed once.

    python benchmarks/live_replay.py examples/models/5a1a_bgal.pdb.gz /tmp/replay --series 3 --interval 2

Movies appear as a camera writes them: half of the bytes first, the rest a moment later; the `.mdoc` grows image by
image. Prints the session's log, and for each series the time from its last image to its tomogram.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from thon.formats.mdoc import Mdoc, base_name, read_mdoc, write_mdoc

THON = [sys.executable, "-m", "thon.cli.main"]


@dataclass(frozen=True)
class Arrival:
    """One movie of a series, and the mdoc as it is once the movie is there."""

    series: str
    movie: Path
    mdoc: Mdoc
    last: bool


def main() -> None:
    arguments = read_arguments()
    source, session, project = (arguments.folder / name for name in ("made", "session", "project"))
    simulate(arguments, source)
    shutil.rmtree(session, ignore_errors=True)
    shutil.rmtree(project, ignore_errors=True)
    (session / "movies").mkdir(parents=True)
    for name in ("gain.mrc", "defects.txt"):
        shutil.copy(source / name, arguments.folder / name)
    arrivals = list_arrivals(source)
    per_series = len(arrivals) // arguments.series
    command = live_command(arguments, session, project, per_series)
    ended = replay(arguments, arrivals, session, command)
    print((project / "session.log").read_text())
    status = json.loads((project / "live.json").read_text())
    for stage in status["stages"]:
        print(f"{stage['name']:20} done {stage['done']:4}  failed {stage['failed']}")
    tomograms = sorted(project.glob("J*-reconstruct/outputs/*/*_Vol.mrc"))
    for path in tomograms:
        series = path.parent.name
        print(f"{series}: tomogram {path.stat().st_mtime - ended[series]:.1f} s after the last image")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=3)
    parser.add_argument("--interval", type=float, default=2.0, help="between two movies, s")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--bad", type=int, default=9, help="number of the movie that is cut short")
    parser.add_argument("--kill", type=int, default=14, help="number of the movie after which the watcher is killed")
    return parser.parse_args()


def simulate(arguments: argparse.Namespace, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    options = {"series": arguments.series, "size": arguments.size, "frames": 4, "max-tilt": 48, "step": 4}
    options |= {"pixel-size": 4, "dose": 4, "beads": 150, "thickness": 1200}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [*THON, "simulate", "tomo", str(arguments.model), str(target), *flags]
    subprocess.run([*command, "--microscope-defocus", "25000", "35000", "--quiet"], check=True)


def list_arrivals(source: Path) -> list[Arrival]:
    """All movies in the order in which they are taken, series after series."""
    arrivals: list[Arrival] = []
    for path in sorted(source.glob("*.mdoc")):
        mdoc = read_mdoc(path)
        for k, section in enumerate(mdoc.sections):
            movie = source / "movies" / base_name(section.entries["SubFramePath"])
            grown = Mdoc(mdoc.header, mdoc.titles, mdoc.sections[: k + 1])
            arrivals.append(Arrival(path.stem, movie, grown, k == len(mdoc.sections) - 1))
    return arrivals


def live_command(arguments: argparse.Namespace, session: Path, project: Path, tilts: int) -> list[str]:
    gain, defects = arguments.folder / "gain.mrc", arguments.folder / "defects.txt"
    idle = str(max(20.0, 6 * arguments.interval))
    return [
        *(*THON, "live", str(session), "-o", str(project), "--gain", str(gain), "--defects", str(defects)),
        *("--tilts", str(tilts), "--idle", idle, "--series-idle", idle, "--settle", "1", "--poll", "0.5", "--bin", "2"),
    ]


def replay(
    arguments: argparse.Namespace, arrivals: list[Arrival], session: Path, command: list[str]
) -> dict[str, float]:
    """Let the movies arrive while the command runs; returns when each series had its last image."""
    ended: dict[str, float] = {}
    process = subprocess.Popen(command, start_new_session=True)
    for number, one in enumerate(arrivals):
        content = one.movie.read_bytes()
        target = session / "movies" / one.movie.name
        target.write_bytes(content[: len(content) // 2])
        time.sleep(arguments.interval / 4)
        if number != arguments.bad:
            target.write_bytes(content)
        write_mdoc(session / f"{one.series}.mdoc", one.mdoc)
        if one.last:
            ended[one.series] = time.time()
        if number == arguments.kill:
            print(f"kill -9 of the watcher after {one.movie.name}", flush=True)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process = subprocess.Popen(command, start_new_session=True)
        time.sleep(0.75 * arguments.interval)
    process.wait()
    return ended


if __name__ == "__main__":
    main()
