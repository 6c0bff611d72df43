"""Viewers in a browser: each shows something, says what cannot be, and asks for the jobs that it is told to."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.web import views_project as made

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "a-token-for-the-viewers"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

DRAWN = {
    "micrograph": ".viewer-image",
    "ctf": ".viewer-square canvas",
    "motion": ".viewer-field canvas",
    "classes": ".viewer-grid",
    "particles": ".viewer-grid",
    "surface": ".viewer-stage canvas",
    "slices": ".viewer-slices canvas",
    "fsc": ".viewer-plot canvas",
    "guinier": ".viewer-plot canvas",
    "tilts": ".viewer-tilt",
    "alignment": ".viewer-plot canvas",
    "table": "table.data",
    "facts": "dl",
    "files": "table.data",
}
"""What each kind of viewer draws into."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser that is let in to a project with one item of each type; it ends well if nothing went wrong."""
    folder = tmp_path_factory.mktemp("browser") / "viewed"
    made.make_project(folder)
    command = [sys.executable, "-P", "-m", "thon.cli.main", "serve", str(folder), "--port", "0", "--token", TOKEN]
    faults: list[str] = []
    with subprocess.Popen([*command, "--no-run"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = next(found[1] for line in server.stdout if (found := re.search(r"(http://\S+)/\?token", line)))
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 900}, base_url=address)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
            page.set_default_timeout(10_000)
            page.goto(f"/?token={TOKEN}")
            yield page
            browser.close()
        server.terminate()
    assert not faults


def open_item(page: Any, job: str, item: str, more: str = "") -> None:
    page.goto(f"/p/viewed/jobs/{job}?tab=results&item={item}{more}")
    page.wait_for_selector("#views .view")


@pytest.mark.parametrize(
    ("job", "item"), [("J002", "mic_1"), ("J003", "all"), ("J004", "all"), ("J006", "TS_1"), ("J008", "all")]
)
def test_every_viewer_of_an_item_shows_something(page: Any, job: str, item: str) -> None:
    open_item(page, job, item)
    for view in page.locator("#views .view").all():
        kind = view.get_attribute("data-testid").removeprefix("view-")
        view.scroll_into_view_if_needed()
        drawn = view.locator(DRAWN[kind]).first
        drawn.wait_for()
        page.wait_for_load_state("networkidle")
        assert view.locator(".notice.bad").count() == 0
        until_drawn(page, drawn)


@pytest.mark.parametrize(("job", "item"), [("J002", "mic_1"), ("J003", "all"), ("J006", "TS_1")])
def test_no_viewer_runs_over_the_next(page: Any, job: str, item: str) -> None:
    open_item(page, job, item)
    table = page.get_by_test_id("view-table").first
    table.scroll_into_view_if_needed()
    table.locator("table.data tbody tr").first.wait_for()
    for view in page.locator("#views .view").all():
        assert view.evaluate("view => view.scrollHeight - view.clientHeight") <= 1


def until_drawn(page: Any, drawn: Any) -> None:
    """Wait for a picture that is not of one colour."""
    for _ in range(40):
        grey = np.asarray(Image.open(io.BytesIO(drawn.screenshot())).convert("L"), float)
        if grey.std() > 2:
            return
        page.wait_for_function("() => new Promise(done => requestAnimationFrame(() => done(true)))")
    raise AssertionError("nothing was drawn")


def test_what_is_chosen_lies_in_the_url_and_comes_back_from_it(page: Any) -> None:
    open_item(page, "J003", "all", "&classes.sort=number")
    cells = page.locator(".viewer-classes .viewer-cell")
    cells.nth(1).click()
    cells.nth(4).click(modifiers=["Shift"])
    assert "classes.chosen=2%2C3%2C4%2C5" in page.url
    page.reload()
    page.wait_for_selector(".viewer-classes [aria-pressed=true]")
    assert page.locator(".viewer-classes .viewer-cell[aria-pressed=true]").count() == 4
    told = page.get_by_test_id("classes-count").inner_text()
    assert told.startswith("4 of 117 classes, 172 of 230")


def test_a_subset_is_a_job_of_the_chosen_classes(page: Any) -> None:
    open_item(page, "J003", "all", "&classes.chosen=3,7")
    page.wait_for_selector(".viewer-classes [aria-pressed=true]")
    page.keyboard.press("Escape")
    body = caught(page, "make-subset")
    assert body == {"type": "select", "inputs": {"particles": ["J003"]}, "options": {"classes": [3, 7]}}


def test_picks_are_added_removed_taken_back_and_saved_as_a_job(page: Any) -> None:
    open_item(page, "J002", "mic_1", "&picks.edit=true")
    page.wait_for_selector("[data-testid=picks-save]")
    page.wait_for_load_state("networkidle")
    shown = page.locator(".viewer-image")

    def click(y: float, x: float) -> float:
        """Click at a place of the micrograph, wherever the page has been moved to; returns the scale."""
        box = shown.bounding_box()
        scale = min(box["width"] / made.COLUMNS, box["height"] / made.ROWS)
        left = (box["width"] - scale * made.COLUMNS) / 2 + (x + 0.5) * scale
        top = (box["height"] + scale * made.ROWS) / 2 - (y + 0.5) * scale
        shown.click(position={"x": left, "y": top})
        return scale

    count = page.locator(".viewer-micrograph .viewer-count")
    sync_api.expect(count).to_have_text("3 of 3 picks")
    click(640.5, 500.25)
    sync_api.expect(count).to_have_text("2 of 3 picks")
    page.get_by_test_id("picks-undo").click()
    sync_api.expect(count).to_have_text("3 of 3 picks")
    page.get_by_test_id("picks-redo").click()
    scale = click(900.0, 300.0)
    sync_api.expect(count).to_have_text("3 of 4 picks")
    options = caught(page, "picks-save")["options"]
    assert options["removed"] == ["mic_1:2"]
    name, _, place = options["added"][0].partition(":")
    assert name == "mic_1"
    assert [float(number) for number in place.split("/")] == pytest.approx([900, 300], abs=2 / scale)


def caught(page: Any, control: str) -> dict[str, Any]:
    """The job that a control asks for; the server does not hear of it."""
    bodies: list[str] = []

    def answer(route: Any) -> None:
        bodies.append(route.request.post_data)
        route.fulfill(status=201, content_type="application/json", body='{"jobs": ["J009"]}')

    page.route("**/api/v1/projects/viewed/jobs", answer)
    page.get_by_test_id(control).click()
    page.locator("#told", has_text="J009").wait_for()
    page.unroute("**/api/v1/projects/viewed/jobs")
    return json.loads(bodies[0])
