"""Judge picking on real micrographs that a person picked: precision, recall and F1 of each method, one setting for all.

    python benchmarks/picking.py /work/shared/data/micrographs_empiar10017
    python benchmarks/picking.py FOLDER --map betagal.mrc       also with the views of a map as templates
    python benchmarks/picking.py FOLDER --relion                beside relion_autopick --LoG with the same diameters
    python benchmarks/picking.py FOLDER --draw OUT              pictures of the picks

The folder holds images/NAME.mrc of 7.08 Å, picks/NAME.csv or .star in pixels of 1.77 Å (y of the .star counts from the
other edge), and images/NAME_mask.png with a disc on each particle that CryoSegNet's authors picked, which stands in for
a list where there is none. A pick is right if it lies within half a diameter, 90 Å, of a particle that no other pick
has. Peers: RELION 3.1.3 with its defaults (200 to 250 Å, 20 Å), and the two people who picked the same micrograph.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.algorithms.picking_scene import matched
from thon.algorithms.pick import PickOptions, PickResult, Templates, pick_particles
from thon.algorithms.pick_template import project_map
from thon.data.micrograph import CtfMicrograph
from thon.formats.images import open_images
from thon.formats.png import write_png
from thon.formats.relion_coordinates import read_coordinates
from thon.formats.report.picks import PickPicture, draw_picks
from thon.formats.report.style import LIGHT, pixels

PIXEL, DIAMETER, FULL = 7.08, 180.0, 4096
DISC = 13.0  # radius of the masks' discs, px, less the roundness of their rim

METHODS = {
    "blob (default)": PickOptions(diameter=DIAMETER),
    "log 144–180 Å": PickOptions(diameter=DIAMETER, method="log"),
    "log, RELION's defaults": PickOptions(method="log"),
}


def listed_picks(folder: Path, name: str) -> np.ndarray | None:
    """The list of a micrograph's particles, px of the image."""
    table, star = (folder / "picks" / f"{name}{suffix}" for suffix in (".csv", ".star"))
    if not (table.exists() or star.exists()):
        return None
    micrograph = CtfMicrograph(name, "", (FULL, FULL), PIXEL / 4)
    place = read_coordinates(table if table.exists() else star, micrograph, DIAMETER).coordinates
    if star.exists():
        place = np.stack([FULL - place[:, 0], place[:, 1]], -1)
    return place / 4


def masked_picks(folder: Path, name: str) -> np.ndarray:
    """Centres of the discs in a mask: where a whole disc fits in."""
    with Image.open(folder / "images" / f"{name}_mask.png") as picture:
        mask = np.asarray(picture) > 127
    y, x = np.mgrid[-14:15, -14:15]
    centres = scipy.ndimage.binary_erosion(mask, np.hypot(y, x) <= DISC)
    labels, count = scipy.ndimage.label(centres, np.ones((3, 3)))
    return np.array(scipy.ndimage.center_of_mass(centres, labels, range(1, count + 1)))


def relion_picks(
    folder: Path, names: list[str], smallest: float, largest: float
) -> tuple[dict[str, np.ndarray], float]:
    """Picks of relion_autopick --LoG, and its CPU seconds."""
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            shutil.copy(folder / "images" / f"{name}.mrc", place)
        command = ["relion_autopick", "--i", "*.mrc", "--odir", "out/", "--pickname", "log", "--angpix", str(PIXEL)]
        command += ["--LoG", "--LoG_diam_min", str(smallest), "--LoG_diam_max", str(largest)]
        command += ["--shrink", "0", "--lowpass", "20", "--LoG_adjust_threshold", "0"]
        before = _children_seconds()
        subprocess.run(command, cwd=place, check=True, capture_output=True)
        seconds = _children_seconds() - before
        micrograph = CtfMicrograph("", "", (1024, 1024), PIXEL)
        return {
            name: read_coordinates(Path(place) / "out" / f"{name}_log.star", micrograph, largest).coordinates
            for name in names
        }, seconds


def _children_seconds() -> float:
    import resource  # noqa: PLC0415

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_table(title: str, found: dict[str, np.ndarray], true: dict[str, np.ndarray], note: str = "") -> None:
    """Precision, recall and F1 of each micrograph and of all together."""
    print(f"\n{title}{note}")
    total = np.zeros(3)
    for name, place in found.items():
        counts = np.array([matched(place, true[name], DIAMETER / 2 / PIXEL), len(place), len(true[name])])
        total += counts
        print(f"  {name[-10:]:12} {_scores(*counts)}")
    print(f"  {'all':12} {_scores(*total)}")


def _scores(right: float, picked: float, there: float) -> str:
    precision, recall = right / max(picked, 1), right / max(there, 1)
    return (
        f"{int(picked):5} picks of {int(there):4}: precision {precision:.3f}  recall {recall:.3f}  "
        f"F1 {2 * right / max(picked + there, 1):.3f}"
    )


def run(
    names: list[str], folder: Path, pick: Callable[[torch.Tensor], PickResult]
) -> tuple[dict[str, PickResult], str]:
    """Picks of all micrographs, and the CPU seconds of one."""
    found: dict[str, PickResult] = {}
    before = time.process_time()
    for name in names:
        with open_images(folder / "images" / f"{name}.mrc") as file:
            found[name] = pick(torch.from_numpy(file.image(0).astype(np.float32)))
    return found, f", {(time.process_time() - before) / len(names):.2f} CPU s a micrograph"


def draw(folder: Path, found: dict[str, PickResult]) -> None:
    """A picture of the picks of each micrograph."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, one in found.items():
        seen = -one.image.values.numpy()
        place = one.image.from_micrograph(one.coordinates)
        shown = PickPicture(seen, one.image.spacing, place, one.diameter, one.foil, one.candidates, one.threshold)
        write_png(folder / f"{name}.png", pixels(draw_picks(shown, LIGHT)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--map", type=Path, help="map whose views are templates")
    parser.add_argument("--relion", action="store_true")
    parser.add_argument("--draw", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = sorted(file.stem for file in (asked.folder / "images").glob("*.mrc"))
    lists = {name: listed_picks(asked.folder, name) for name in names}
    masks = {name: masked_picks(asked.folder, name) for name in names}
    true = {name: masks[name] if place is None else place for name, place in lists.items()}
    people = {name: masks[name] for name, place in lists.items() if place is not None}
    print_table("the mask's picks against the list: one person against another, or himself", people, true)
    for title, options in METHODS.items():
        found, note = run(names, asked.folder, lambda image, options=options: pick_particles(image, PIXEL, options))
        print_table(title, {name: one.coordinates for name, one in found.items()}, true, note)
        if asked.draw and title.startswith("blob"):
            draw(asked.draw, found)
    if asked.map:
        with open_images(asked.map) as file:
            volume, size = torch.from_numpy(file.asarray().astype(np.float32)), file.pixel_size
        templates: Templates = project_map(volume, size or 1.0, step=30, resolution=20)
        options = PickOptions(diameter=DIAMETER)
        found, note = run(names, asked.folder, lambda image: pick_particles(image, PIXEL, options, templates=templates))
        print_table("templates: the map's views", {k: one.coordinates for k, one in found.items()}, true, note)
    if asked.relion:
        for smallest, largest in ((200, 250), (144, 180)):
            place, seconds = relion_picks(asked.folder, names, smallest, largest)
            note = f", {seconds / len(names):.2f} CPU s a micrograph"
            print_table(f"relion_autopick --LoG {smallest}–{largest} Å", place, true, note)


if __name__ == "__main__":
    main()
