"""A browser goes the whole way from movies to a map: chromium clicks, thon serves and computes.

Pictures of the pages are left in `build/screenshots`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from thon.cli.main import main

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "a-token-for-the-walk"
MODEL = ROOT / "examples" / "models" / "5a1a_bgal.pdb.gz"
COMPUTING = 120_000
"""Longest time that a step may compute, ms."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("microscope") / "spa"
    size = ["--movies", "4", "--size", "640", "--frames", "4", "--pixel-size", "3", "--dose", "40", "--format", "mrc"]
    sample = ["--density", "2500", "--thickness", "300", "--microscope-defocus", "12000", "24000"]
    assert (
        main(["simulate", "spa", str(MODEL), str(folder), *size, *sample, "--seed", "1", "--threads", "1", "-q"]) == 0
    )
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server of a folder without projects."""
    command = [sys.executable, "-P", "-m", "thon.cli.main", "serve", str(tmp_path), "--port", "0", "--token", TOKEN]
    with subprocess.Popen([*command, "--browse", "/"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = next(found for line in process.stdout if (found := re.search(r"(http://\S+)/\?token", line)))
        yield found[1]
        process.terminate()


@pytest.fixture
def page(server: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.goto(f"{server}/?token={TOKEN}")
        yield page
        browser.close()
        assert not faults


def at(page: Page, name: str):
    return page.get_by_test_id(name)


def shoot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=SHOTS / f"{name}.png")


def fill(page: Page, **fields: object) -> None:
    """Fill in options by name; those of a chain's step have its name in front."""
    for name, value in fields.items():
        field = at(page, f"field-{name}")
        field.evaluate("one => { for (let at = one; at = at.parentElement?.closest('details');) at.open = true }")
        field.locator("input, select").first.fill(str(value))


def new_job(page: Page, kind: str, **fields: object) -> None:
    """Run a job of a type on what connects to it; waits until it has finished, on its page."""
    at(page, "nav-new").click()
    at(page, "type-search").fill(kind)
    at(page, f"type-{kind}").click()
    fill(page, **{f"options.{name}": value for name, value in fields.items()}, **{"settings.threads": 1})
    expect(at(page, "checked")).to_have_text("Ready to run", timeout=60_000)
    if kind == "pick":
        shoot(page, "builder")
    at(page, "run").click()
    await_job(page, kind)


def await_job(page: Page, kind: str) -> None:
    page.wait_for_url(re.compile(r"/jobs/J\d+"))
    expect(page.locator("#job-head")).to_contain_text("finished", timeout=COMPUTING)


def test_from_movies_to_a_map(page: Page, movies: Path, tmp_path: Path) -> None:
    at(page, "new-project").click()
    at(page, "project-new-name").fill("galactosidase")
    at(page, "project-create").click()
    page.wait_for_url("**/p/galactosidase/**")
    watch_live(page, movies)
    pick(page)
    classify(page)
    map_and_refine(page)
    look_back(page, tmp_path / "galactosidase")


def watch_live(page: Page, movies: Path) -> None:
    """Half of the movies are there when the session begins, the others come while it runs."""
    inbox = movies / "inbox"
    inbox.mkdir()
    every = sorted((movies / "movies").iterdir())
    for movie in every[:2]:
        shutil.copy(movie, inbox)
    at(page, "nav-live").click()
    at(page, "live-location").fill(str(inbox))
    steps = {"import-movies.pixel_size": 3, "import-movies.dose": 40, "import-movies.voltage": 300}
    steps |= {"import-movies.cs": 2.7, "motion.gain": movies / "gain.mrc", "motion.defects": movies / "defects.txt"}
    fill(page, **{f"options.{name}": value for name, value in steps.items()})
    at(page, "live-go").click()
    stages = at(page, "stages")
    done = stages.locator("tr", has_text="Fit CTF").locator("td").nth(4)
    expect(done).to_have_text("0", timeout=COMPUTING)
    for movie in every[2:]:
        shutil.copy(movie, inbox)
    expect(done).to_have_text("4", timeout=COMPUTING)
    shoot(page, "live")
    at(page, "live-stop").click()
    expect(at(page, "live-again")).to_be_visible(timeout=30_000)


def pick(page: Page) -> None:
    new_job(page, "pick", diameter=180)
    edit = at(page, "picks-edit")
    edit.click()
    count = page.locator(".viewer-count").first
    before = count.inner_text()
    canvas = page.locator(".openseadragon-canvas").first
    canvas.click()
    expect(count).not_to_have_text(before)
    at(page, "picks-undo").click()
    expect(count).to_have_text(before)
    canvas.click()
    expect(count).not_to_have_text(before)
    shoot(page, "picks")
    at(page, "picks-save").click()
    expect(page.get_by_text("The picks are in J")).to_be_visible()
    at(page, "nav-jobs").click()
    at(page, "view-table").click()
    row = page.locator("tr", has_text="curate-picks")
    expect(row).to_contain_text("finished", timeout=COMPUTING)


def classify(page: Page) -> None:
    new_job(page, "extract", box=80, rescale=40)
    new_job(page, "classify2d", diameter=180, classes=5, iterations=4)
    page.get_by_role("button", name="All", exact=True).click()
    expect(at(page, "classes-count")).to_contain_text("5 of 5 classes")
    shoot(page, "classes")
    at(page, "make-subset").click()
    at(page, "nav-jobs").click()
    at(page, "view-graph").click()
    card = page.locator("[data-testid^=card-]", has_text="Select classes")
    expect(card).to_contain_text("finished", timeout=COMPUTING)


def map_and_refine(page: Page) -> None:
    new_job(page, "ab-initio", diameter=180, symmetry="D2", mini_batches=12, last_resolution=24)
    shoot(page, "ab-initio")
    new_job(page, "refine3d", diameter=180, symmetry="D2", iterations=3)
    new_job(page, "postprocess")
    expect(page.locator("canvas").first).to_be_visible()
    expect(page.get_by_text(re.compile(r"[\d\s]+ triangles"))).to_be_visible(timeout=60_000)
    shoot(page, "map")


def look_back(page: Page, project: Path) -> None:
    """What it cost, where the map came from, and a mark on it; the command line goes on from there."""
    at(page, "do-keep").click()
    expect(page.get_by_text("final", exact=True).first).to_be_visible()
    at(page, "do-note").click()
    at(page, "note-tags").fill("good")
    at(page, "note-text").fill("the map of the walk")
    at(page, "note-save").click()
    expect(page.get_by_text("the map of the walk")).to_be_visible()
    at(page, "tab-history").click()
    for kind in ("import-movies", "motion", "ctf-fit", "curate-picks", "select", "refine3d"):
        expect(page.get_by_text(kind).first).to_be_visible()
    shoot(page, "history")
    at(page, "nav-log").click()
    shoot(page, "log")
    at(page, "nav-jobs").click()
    at(page, "view-graph").click()
    shoot(page, "graph")
    assert main(["mask", "J015", "-o", str(project), "--threads", "1", "-q"]) == 0
    assert (project / "J017-mask" / "outputs" / "all").is_dir()
