"""Pages: what they show agrees with the project, they need nothing from elsewhere, and they can be used by ear."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest
from fastapi.testclient import TestClient

from tests.project.conftest import Do
from tests.web.conftest import Servers, Shown
from thon.engine.live.status import StageStatus, broken, write_status
from thon.engine.scheduler.asked import ask_to_run
from thon.engine.waiting import add_job
from thon.job.record import RunSettings
from thon.job.registry import listings, load_job
from thon.project.notes import write_on
from thon.project.project import Project
from thon.project.request import Request

HTML = {"accept": "text/html"}
P = "/p/project"

PAGES = [
    f"{P}/",
    f"{P}/?view=table",
    f"{P}/?view=tree",
    f"{P}/jobs/J001",
    f"{P}/jobs/J002?item=b",
    *(f"{P}/jobs/J002?tab={tab}" for tab in ("options", "inputs", "history", "log", "files", "record")),
    f"{P}/new",
    f"{P}/new?type=smooth-numbers",
    f"{P}/new?from=J002",
    f"{P}/live",
    f"{P}/log",
    f"{P}/why",
    f"{P}/why?of=J002:a",
    f"{P}/files?measure=true",
    f"{P}/lanes",
    f"{P}/workflow",
]


@pytest.fixture(autouse=True)
def short_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are of the dummies, for the jobs of real ones take long to load."""
    monkeypatch.setattr("thon.web.pages.live.CHAIN", "watch-samples")


class Page(HTMLParser):
    """What of a page the tests ask for."""

    VOID: ClassVar = {"input", "img", "link", "meta", "br", "path", "rect", "circle"}

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.named: set[str] = set()
        self._open: list[int] = []
        self.inside: dict[int, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        number = len(self.tags) - 1
        self.inside[number] = []
        for outer in self._open:
            self.inside[outer] += [value for name, value in attrs if name in ("aria-label", "alt") and value]
        if tag not in self.VOID:
            self._open.append(number)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self._open:
            if self.tags[self._open.pop()][0] == tag:
                return

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        for outer in self._open:
            self.inside[outer].append(data)

    def of(self, tag: str) -> Iterator[dict[str, str]]:
        """The attributes of all elements of a name."""
        return (attributes for name, attributes in self.tags if name == tag)

    def by_test_id(self, name: str) -> dict[str, str]:
        """The attributes of the element that tests know by this name."""
        return next(attributes for _, attributes in self.tags if attributes.get("data-testid") == name)

    def text_of(self, name: str) -> str:
        """All text within that element."""
        number = next(k for k, (_, attributes) in enumerate(self.tags) if attributes.get("data-testid") == name)
        return " ".join(" ".join(self.inside[number]).split())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(web: TestClient, url: str, status: int = 200) -> Page:
    answer = web.get(url, headers=HTML)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return Page(answer.text)


@pytest.fixture(scope="session")
def pages(shown: Shown) -> dict[str, Page]:
    """All pages of the project in which jobs ran."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thon.web.pages.live.CHAIN", "watch-samples")
        return {url: page(shown.web, url) for url in PAGES}


@pytest.mark.parametrize("url", PAGES)
def test_a_page_takes_nothing_from_elsewhere_and_has_no_script_of_its_own(pages: dict[str, Page], url: str) -> None:
    found = pages[url]
    for tag, attributes in found.tags:
        assert "style" not in attributes, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "action"):
            value = attributes.get(name, "/")
            assert value.startswith(("/", "?", "#")) or value == "", (tag, value)
    assert all("src" in attributes for attributes in found.of("script"))
    assert not list(found.of("style"))


@pytest.mark.parametrize("url", PAGES)
def test_everything_on_a_page_has_a_name(pages: dict[str, Page], url: str) -> None:
    found = pages[url]
    labelled = {attributes.get("for") for attributes in found.of("label")}
    in_labels = {k for k, (tag, _) in enumerate(found.tags) if tag == "label"}
    identifiers = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for number, (tag, attributes) in enumerate(found.tags):
        if tag in ("a", "button"):
            told = "".join(found.inside[number]).strip() or attributes.get("aria-label") or attributes.get("title")
            assert told, (tag, attributes)
        if tag in ("input", "select", "textarea") and attributes.get("type") not in ("hidden",):
            inside = any(number in range(k, k + 3) for k in in_labels)
            assert inside or attributes.get("id") in labelled or attributes.get("aria-label"), (tag, attributes)
        if tag == "img":
            assert "alt" in attributes
    assert ("html", {"lang": "en"}) in found.tags
    assert "Skip to the content" in found.text


@pytest.mark.parametrize("url", PAGES)
def test_links_lead_somewhere(shown: Shown, pages: dict[str, Page], url: str) -> None:
    web = shown.web
    for attributes in (
        list(page(web, url).of("a")) + list(page(web, url).of("link")) + list(page(web, url).of("script"))
    ):
        target = attributes.get("href") or attributes.get("src") or "#"
        if target.startswith("#") or target.endswith(("/archive", "/workflow")) or "source=" in target:
            continue  # what is made for it takes long
        if "new?type=" in target and not target.endswith("-numbers"):
            continue  # to load all types takes long
        if target.startswith("?"):
            target = url.partition("?")[0] + target
        if target in CHECKED:
            continue
        CHECKED.add(target)
        assert web.get(target, headers=HTML).status_code in (200, 303), target


CHECKED: set[str] = set()


def test_jobs_are_shown_as_a_graph_a_table_and_a_tree(shown: Shown) -> None:
    graph = page(shown.web, f"{P}/")
    assert "J001" in graph.text_of("card-J001")
    assert "2 of 3" in graph.text_of("card-J001")
    assert "1 failed" in graph.text_of("card-J001")
    assert "finished" in graph.text_of("card-J002")
    (edge,) = [one for one in graph.of("path") if "data-from" in one]
    assert (edge["data-from"], edge["data-to"]) == ("J001", "J002")
    spots = {attributes["id"]: float(attributes["y"]) for attributes in graph.of("foreignobject")}
    assert spots["spot-J001"] < spots["spot-J002"]
    table = page(shown.web, f"{P}/?view=table&sort=job")
    assert [one["id"] for one in table.of("tr") if "id" in one] == ["row-J001", "row-J002"]
    table = page(shown.web, f"{P}/?view=table&sort=-job")
    assert [one["id"] for one in table.of("tr") if "id" in one] == ["row-J002", "row-J001"]
    tree = page(shown.web, f"{P}/?view=tree")
    assert tree.text.index("J001") < tree.text.index("J002")


def test_jobs_are_searched_and_filtered(do: Do, web: TestClient, project: Project) -> None:
    do("read-numbers", "a", "b")
    write_on(do("smooth-numbers", "J001", noisy=False).path, title="The better one", note="Looks right", add=["good"])

    def rows(query: str) -> list[str]:
        return [one["id"] for one in page(web, f"{P}/?view=table&{query}").of("tr") if "id" in one]

    assert rows("find=looks") == rows("find=BETTER") == rows("tag=good") == rows("type=smooth-numbers") == ["row-J002"]
    assert rows("state=finished&sort=job") == ["row-J001", "row-J002"]
    assert rows("state=failed") == []
    assert "hidden by the search" in page(web, f"{P}/?find=nothing").text
    chosen = [one for one in page(web, f"{P}/?view=table&state=finished").of("option") if "selected" in one]
    assert len(chosen) == 1


def test_a_new_project_says_what_to_do_first(web: TestClient) -> None:
    found = page(web, f"{P}/")
    assert found.by_test_id("first-micrographs")["href"] == f"{P}/new?type=import-micrographs"


def test_a_job_shows_its_items_and_the_chosen_one(shown: Shown) -> None:
    found = page(shown.web, f"{P}/jobs/J001")
    assert [one["data-name"] for one in found.of("a") if "data-name" in one] == ["a", "b", "bad"]
    failed = page(shown.web, f"{P}/jobs/J001?state=failed")
    assert [one["data-name"] for one in failed.of("a") if "data-name" in one] == ["bad"]
    assert "Traceback" in failed.text
    assert "no number" in failed.text_of("item-failed")
    assert page(shown.web, f"{P}/jobs/J002?item=b").by_test_id("views")
    result = next(one for one in page(shown.web, f"{P}/jobs/J002?item=b").of("section") if one.get("id") == "result")
    assert result["data-views"] == "/api/v1/projects/project/jobs/J002/items/b/views"


def test_a_job_tells_what_was_changed_where_it_came_from_and_its_command(shown: Shown) -> None:
    page(shown.web, f"{P}/new?type=smooth-numbers")  # so that the type is known
    options = page(shown.web, f"{P}/jobs/J002?tab=options").text_of("options")
    assert "noisy" in options
    assert "J001" in page(shown.web, f"{P}/jobs/J002?tab=inputs").text
    history = page(shown.web, f"{P}/jobs/J002?tab=history").text_of("history")
    assert history.index("J002") < history.index("J001")
    assert "thon read-numbers a.txt b.txt bad.txt" in history
    assert "smooth.txt" in page(shown.web, f"{P}/jobs/J002?tab=files&folder=outputs/a").text
    assert "finished" in page(shown.web, f"{P}/jobs/J002?tab=record").text_of("runs")


def test_buttons_fit_the_state_of_the_job(do: Do, web: TestClient, project: Project) -> None:
    do("read-numbers", "a", "b")
    spec = load_job("smooth-numbers")
    add_job(project, Request(spec, spec.options(), {}, RunSettings()), {spec.ports[0].name: ["J001"]})

    def buttons(job: str) -> set[str]:
        found = page(web, f"{P}/jobs/{job}")
        names = (attributes.get("data-testid", "") for _, attributes in found.tags)
        return {name.removeprefix("do-") for name in names if name.startswith("do-")}

    assert buttons("J001") == {"clone", "repeat", "keep", "note"}
    assert buttons("J002") == {"run", "hold", "delete", "clone", "note"}
    assert "J001" in page(web, f"{P}/jobs/J002?tab=inputs").text
    stage = StageStatus("smooth-numbers", "Smooth", "J002-smooth-numbers", 1, 0, 0, 0, None, None)
    status = broken("/data/session", "", state="ended")
    write_status(project.root, status.__class__(**vars(status) | {"stages": (stage,)}))
    assert buttons("J002") == {"live", "clone", "note"}


def test_only_what_nobody_asked_for_is_offered_to_run(do: Do, web: TestClient, project: Project) -> None:
    do("read-numbers", "a", "b")
    spec = load_job("smooth-numbers")
    port = spec.ports[0].name
    for source in ("J001", "J002"):
        add_job(project, Request(spec, spec.options(), {}, RunSettings()), {port: [source]})
    ask_to_run(project.job("J002"))
    assert page(web, f"{P}/").by_test_id("run-all")["data-post"] == "/api/v1/projects/project/jobs/J003/run"
    ask_to_run(project.job("J003"))
    assert all(one.get("data-testid") != "run-all" for one in page(web, f"{P}/").of("button"))


def test_the_builder_takes_the_newest_that_did_not_fail(do: Do, web: TestClient, project: Project) -> None:
    do("read-numbers", "a")
    spec = load_job("read-numbers")
    for _ in range(2):
        add_job(project, Request(spec, spec.options(), {}, RunSettings()), {spec.ports[0].name: ["a"]})
    record = project.job("J003").path / "job.json"
    record.write_text(re.sub(r'"state":\s*"waiting"', '"state": "failed"', record.read_text()))
    port = page(web, f"{P}/new?type=smooth-numbers").of("option")
    jobs = [one for one in port if one.get("value", "").startswith("J")]
    assert [one["value"] for one in jobs] == ["J003", "J002", "J001"]
    assert [one["value"] for one in jobs if "selected" in one] == ["J002"]


def test_a_history_has_the_titles_that_people_gave(do: Do, web: TestClient, project: Project) -> None:
    do("read-numbers", "a")
    write_on(project.job("J001").path, title="All of Monday")
    assert "J001 All of Monday" in page(web, f"{P}/jobs/J001?tab=history").text_of("history")


def test_the_builder_has_a_field_for_every_option_and_knows_what_connects(shown: Shown) -> None:
    found = page(shown.web, f"{P}/new?type=smooth-numbers")
    spec = load_job("smooth-numbers")
    fields = {one["data-field"].removeprefix("options."): one for one in found.of("div") if "data-field" in one}
    groups = {one["data-group"].removeprefix("options.") for one in found.of("fieldset")}
    assert set(spec.options.model_fields) <= fields.keys() | groups
    assert groups
    for name, info in spec.options.model_fields.items():
        if name in fields:
            assert json.loads(fields[name]["data-default"]) == info.get_default(call_default_factory=True)
    port = found.text_of(f"port-{spec.ports[0].name}")
    assert "J001" in port
    assert "J002" not in port or spec.ports[0].accepts(spec.gives)
    chosen = [one["value"] for one in found.of("option") if "selected" in one and one.get("value", "").startswith("J")]
    assert chosen == ["J001"]


def test_the_builder_is_filled_in_from_a_job_and_from_the_url(shown: Shown) -> None:
    clone = page(shown.web, f"{P}/new?from=J002")
    assert "checked" not in next(one for one in clone.of("input") if one.get("id") == "options-noisy")
    given = page(shown.web, f"{P}/new?type=smooth-numbers&options.noisy=false&settings.threads=3")
    assert "checked" not in next(one for one in given.of("input") if one.get("id") == "options-noisy")
    assert next(one for one in given.of("input") if one.get("id") == "settings-threads")["value"] == "3"
    assert page(shown.web, f"{P}/new?type=nonsense", 404).by_test_id("fault")


def test_job_types_are_listed_by_stage_and_found(shown: Shown) -> None:
    every = page(shown.web, f"{P}/new")
    assert {"type-import-movies", "type-spa", "type-smooth-numbers"} <= {
        attributes.get("data-testid", "") for _, attributes in every.tags
    }
    found = page(shown.web, f"{P}/new?find=smooth-num")
    assert [one["data-testid"] for one in found.of("a") if one.get("data-testid", "").startswith("type-")] == [
        "type-smooth-numbers"
    ]


def test_what_takes_from_a_job_is_listed(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    dummies = {name: one for name, one in listings().items() if name.endswith("-numbers")}
    monkeypatch.setattr("thon.web.pages.new.known_types", lambda: dummies)
    takers = page(shown.web, f"{P}/new?source=J001")
    assert takers.by_test_id("type-smooth-numbers")["href"].endswith("source=J001")


def test_the_log_tells_costs_and_never_takes_no_price_for_free(shown: Shown) -> None:
    found = page(shown.web, f"{P}/log?cost=job")
    assert "no price" in found.text_of("costs")
    assert "J002" in found.text_of("log")
    assert "not a condition" in page(shown.web, f"{P}/log?where=nonsense").text


def test_numbers_of_results_are_columns_an_order_and_a_search(do: Do, web: TestClient) -> None:
    for k, resolution in enumerate((3.99, 8.5)):
        folder = do("read-numbers", "ab"[k], command=f"thon read-numbers {k}")
        record = folder.read()
        record.results["ab"[k]].values = {"resolution": resolution}
        record.runs[0].price, record.runs[0].seconds = 3600.0, 2.0 + k
        folder.write(record)
    log = page(web, f"{P}/log?where=resolution%3C4&cost=job")
    assert "J001" in log.text_of("log")
    assert "3.99" in log.text_of("log")
    assert "J002" not in log.text_of("log")
    assert "3.00 USD" in log.text_of("costs")
    table = page(web, f"{P}/?view=table&sort=-resolution&columns=resolution")
    assert [one["id"] for one in table.of("tr") if "id" in one] == ["row-J002", "row-J001"]
    assert "8.5" in table.text_of("table")
    assert "3.99 Å" in page(web, f"{P}/").text_of("card-J001")


def test_items_are_sorted_by_their_numbers(do: Do, web: TestClient) -> None:
    folder = do("read-numbers", "a", "b")
    record = folder.read()
    for item, value in (("a", 2.0), ("b", 7.0)):
        record.results[item].values = {"defocus": value}
    folder.write(record)
    found = page(web, f"{P}/jobs/J001?sort=-defocus")
    assert [one["data-name"] for one in found.of("a") if "data-name" in one] == ["b", "a"]
    assert found.text_of("items") == "\u200eb 7 \u200ea 2"


def test_why_tells_the_chain_down_to_the_raw_files(shown: Shown) -> None:
    file = shown.smoothed / "outputs" / "a" / "smooth.txt"
    told = page(shown.web, f"{P}/why?of={file}").text_of("why-chain")
    assert told.index("J002") < told.index("J001") < told.index("1 file from outside")
    assert "no such file" in page(shown.web, f"{P}/why?of=/nowhere/map.mrc").text


def test_a_live_session_is_shown_and_one_that_was_killed_is_told_as_gone(project: Project, web: TestClient) -> None:
    assert page(web, f"{P}/live").by_test_id("live-start")
    stage = StageStatus("ctf-fit", "Fit CTF", "J001-ctf-fit", 3, 1, 12, 2, 480.0, 30.0, rejected=4, workers=2)
    status = broken("/data/session", "", state="running")
    write_status(project.root, status.__class__(**vars(status) | {"stages": (stage,), "pid": 2**22 + 1}))
    found = page(web, f"{P}/live")
    assert "Fit CTF 3 1 12 2 4" in found.text_of("stages")
    assert "not there any more" in found.text
    assert found.by_test_id("live-again")


def test_a_fault_is_a_page_that_says_what_to_do(shown: Shown, serve: Servers, tmp_path: Path) -> None:
    for url in (f"{P}/jobs/J099", "/p/nothing/", "/nowhere", f"{P}/jobs/J001?tab=files&folder=../.."):
        found = page(shown.web, url, 404)
        assert "what to do" in found.text_of("fault")
    newer = Project.create(tmp_path / "several" / "newer")
    newer.mark(format=99)
    web = serve(tmp_path / "several")
    assert "newer thon" in page(web, "/p/newer/", 409).text_of("fault")
    assert "newer thon" in page(web, "/").text_of("project-newer")


def test_projects_are_listed_and_one_alone_is_shown(shown: Shown, serve: Servers, tmp_path: Path) -> None:
    Project.create(tmp_path / "several" / "first")
    web = serve(tmp_path / "several")
    assert "0 jobs" in page(web, "/").text_of("project-first")
    assert shown.web.get("/", headers=HTML).headers["location"] == f"{P}/"


def test_all_urls_begin_with_the_base_path(do: Do, project: Project, serve: Servers) -> None:
    do("read-numbers", "a", "b")
    web = serve(project.root, base_path="/node/n3/8080")
    for url in (f"{P}/", f"{P}/?view=table", f"{P}/jobs/J001", f"{P}/new?type=smooth-numbers", f"{P}/log"):
        found = page(web, f"/node/n3/8080{url}")
        for tag, attributes in found.tags:
            for name in ("href", "src", "action", "data-post", "data-send", "data-api", "data-page", "data-base"):
                value = attributes.get(name, "?")
                assert value.startswith(("/node/n3/8080", "?", "#")) or value == "", (tag, name, value)


def test_names_are_shown_and_not_obeyed(do: Do, web: TestClient) -> None:
    write_on(do("read-numbers", "a").path, title="<script>alert(1)</script>", note="<img src=x onerror=alert(1)>")
    for url in (f"{P}/", f"{P}/?view=table", f"{P}/jobs/J001", f"{P}/?find=%22%3E%3Cscript%3E"):
        text = web.get(url, headers=HTML).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert not re.search(r'"><script>', text.split("<body")[1])
