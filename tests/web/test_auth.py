"""Whoever has the token may in; nobody else may see or change anything, in whatever way it is tried."""

from __future__ import annotations

import io
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.routing import APIRoute

from tests.web.conftest import TOKEN, Servers, Shown, client
from thon.base.errors import InputError
from thon.project.project import Project
from thon.web.auth import OPEN, Doorkeeper
from thon.web.hub import Hub, hub_of
from thon.web.pages import router as pages
from thon.web.views import router as views

PAGE = {"accept": "text/html"}
API = "/api/v1/projects/project"


@pytest.fixture(autouse=True)
def patient(shown: Shown) -> Iterator[None]:
    """Whatever wrong tokens a test gave, the next one is not refused for them."""
    yield
    shown.web.app.state.doorkeeper._wrong.clear()


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """Every method and URL that the API's document and the pages name, with something in the place of names."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), filled(path)
    for route in (*inside(pages), *inside(views)):
        for method in sorted(route.methods):
            yield method, filled(route.path)


def inside(router: Any) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from inside(route.original_router)


def filled(path: str) -> str:
    known = {"project": "project", "job": "J001"}
    return re.sub(r"\{(\w+)[^}]*\}", lambda match: known.get(match[1], "1"), path)


def test_every_route_is_closed_to_strangers(shown: Shown) -> None:
    stranger = client(shown.web.app)
    every = [*routes(shown.web.app), ("GET", "/api/v1/openapi.json"), ("GET", "/docs"), ("GET", "/nothing")]
    assert len(every) > 50
    for method, url in every:
        if url in OPEN:
            continue
        for headers in ({}, PAGE, {"authorization": "Bearer wrong"}, {"cookie": "thon-0=1"}):
            answer = stranger.request(method, url, headers=headers)
            assert answer.status_code in (403, 429), (method, url, headers)
            assert "read-numbers" not in answer.text, (method, url)


def test_the_token_in_a_url_becomes_a_cookie(shown: Shown) -> None:
    browser = client(shown.web.app)
    assert browser.get("/api/v1/projects").status_code == 403
    answer = browser.get(f"/api/v1/projects?token={TOKEN}&x=1", headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/api/v1/projects?x=1")
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/"))
    assert TOKEN not in cookie
    assert browser.get("/api/v1/projects").status_code == 200
    # Who is in already gets the token out of the URL too.
    assert browser.get(f"/?token={TOKEN}", headers=PAGE).headers["location"] == "/"


def test_the_token_is_given_in_a_form(shown: Shown) -> None:
    browser = client(shown.web.app)
    page = browser.get("/p/project/?view=tree", headers=PAGE).text
    assert 'action="/login"' in page
    assert 'name="next" value="/p/project/"' in page
    assert browser.post("/login", data={"token": "wrong-wrong-wrong-wrong"}).status_code in (403, 429)
    answer = browser.post("/login", data={"password": TOKEN, "next": "/p/project/?view=table"})
    assert answer.headers["location"] == "/p/project/?view=table"
    assert browser.get("/api/v1/projects").status_code == 200
    for elsewhere in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"):
        answer = browser.post("/login", data={"token": TOKEN, "next": elsewhere})
        assert answer.headers["location"] == "/", elsewhere


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://127.0.0.1:9999"},
    ],
)
def test_other_sites_change_nothing(shown: Shown, headers: dict[str, str]) -> None:
    answer = shown.web.patch(f"{API}/jobs/J001", json={"note": "from elsewhere"}, headers=headers)
    assert (answer.status_code, answer.json()["what"]) == (403, "another site asked for this")
    assert not (shown.project.job("J001").path / "notes.json").exists()


def test_own_pages_may_change_things(project: Project, serve: Servers) -> None:
    web = serve(project.root)
    filled = {"type": "read-numbers", "inputs": {"source": ["../a.txt"]}, "run": False}
    for headers in ({"origin": "http://127.0.0.1"}, {"sec-fetch-site": "same-origin", "origin": "https://hub.example"}):
        assert web.post(f"{API}/jobs", json=filled, headers=headers).status_code == 201


def test_a_name_that_was_bent_to_the_server_is_refused(project: Project, serve: Servers) -> None:
    names = frozenset({"127.0.0.1", "localhost"})
    web = serve(project.root, doorkeeper=Doorkeeper(TOKEN, hosts=names))
    for host, status in (("localhost:8080", 200), ("127.0.0.1", 200), ("evil.example", 403), ("", 403), ("[", 403)):
        assert web.get("/api/v1/projects", headers={"host": host}).status_code == status, host


def test_who_guesses_must_wait_and_who_is_in_stays_in(project: Project, serve: Servers) -> None:
    app = serve(project.root).app
    stranger, browser = client(app), client(app)
    assert browser.post("/login", data={"token": TOKEN}).status_code == 303
    answers = [stranger.get("/", headers={"authorization": f"Bearer wrong{k}"}).status_code for k in range(12)]
    assert (answers[0], answers[-1]) == (403, 429)
    assert stranger.post("/login", data={"token": "wrong"}).status_code == 429
    # A right guess is not told from a wrong one until the time is over.
    assert stranger.get("/api/v1/projects", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 429
    assert stranger.post("/login", data={"token": TOKEN}).status_code == 429
    assert browser.get("/api/v1/projects").status_code == 200
    app.state.doorkeeper._wrong.clear()
    assert stranger.post("/login", data={"token": TOKEN}).status_code == 303


def test_a_token_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(InputError, match="too short"):
        Doorkeeper("short")


@pytest.mark.parametrize(
    "path",
    [
        "../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "outputs/../../project.json",
        "out",
        "outputs%00",
        "~/.ssh/id_rsa",
    ],
)
def test_no_path_leads_out_of_a_job(shown: Shown, path: str) -> None:
    link = shown.smoothed / "out"
    link.symlink_to("/etc/hostname")
    try:
        for place in ("files", "logs"):
            answer = shown.web.get(f"{API}/jobs/J002/{place}/{path}")
            assert answer.status_code == 404, (place, answer.text)
        assert shown.web.get(f"{API}/jobs/J002/files", params={"path": path}).status_code == 404
        assert shown.web.get(f"{API}/jobs/J002/archive", params={"path": path}).status_code == 404
    finally:
        link.unlink()
    for name in ("..%2f..", "J002%2f..%2f..", "%00", "~"):
        assert shown.web.get(f"/api/v1/projects/{name}/jobs").status_code == 404
        assert shown.web.get(f"{API}/jobs/{name}").status_code == 404


def test_an_archive_holds_no_links_that_lead_out(shown: Shown) -> None:
    link = shown.smoothed / "outputs" / "leads-out"
    link.symlink_to("/etc")
    try:
        data = shown.web.get(f"{API}/jobs/J002/archive").content
    finally:
        link.unlink()
    assert b"leads-out" not in data
    assert b"smooth.txt" in data


def test_a_link_inside_a_folder_is_archived_as_what_it_leads_to(shown: Shown) -> None:
    target = shown.smoothed / "outputs" / "a" / "smooth.txt"
    link = target.with_name("again.txt")
    link.symlink_to(target)
    try:
        data = shown.web.get(f"{API}/jobs/J002/archive").content
    finally:
        link.unlink()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entry = next(one for one in tar.getmembers() if one.name.endswith("again.txt"))
        assert entry.isfile()
        assert tar.extractfile(entry).read() == target.read_bytes()  # type: ignore[union-attr]


def test_every_answer_has_the_headers_that_keep_others_out(shown: Shown) -> None:
    stranger = client(shown.web.app)
    for answer in (
        shown.web.get("/api/v1/projects"),
        shown.web.get("/p/project/"),
        shown.web.get("/nothing", headers=PAGE),
        stranger.get("/", headers=PAGE),
        shown.web.get("/static/vendor/README.md"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


def test_what_is_sent_is_bounded(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thon.web.limits.LARGEST_BODY", 1000)
    monkeypatch.setattr("thon.web.limits.LARGEST_UPLOAD", 2000)
    monkeypatch.setattr("thon.web.api.browse.LARGEST_UPLOAD", 2000)
    url = f"{API}/jobs/J001"
    assert shown.web.patch(url, content=b"x" * 1001).status_code == 413
    assert shown.web.patch(url, content=iter([b"x" * 600] * 2)).status_code == 413
    assert shown.web.put(f"{API}/uploads/big", content=b"x" * 2001).status_code == 413
    assert shown.web.put(f"{API}/uploads/big", content=iter([b"x" * 1500] * 2)).status_code == 413
    assert list((shown.project.root / "uploads").iterdir()) == []


def test_under_a_base_path_all_is_as_at_the_root(project: Project, serve: Servers) -> None:
    base = "/node/n3/8080"
    web = serve(project.root, base_path=base)
    assert web.get(f"{base}/api/v1/projects").json()[0]["name"] == "project"
    browser = client(web.app)
    assert browser.get(f"{base}/", headers=PAGE).status_code == 403
    answer = browser.post(f"{base}/login", data={"password": TOKEN})
    assert answer.headers["location"] == f"{base}/"
    assert f"Path={base}/" in answer.headers["set-cookie"]
    page = web.get(f"{base}/p/project/")
    assert page.status_code == 200
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
    assert links
    assert all(link.startswith(base) for link in links)


class FakeHub(BaseHTTPRequestHandler):
    """Answers as the Hub of JupyterHub does for the code of a user."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        good = form["client_secret"] == ["secret"] and form["client_id"] == ["service-ada"]
        self._answer(200 if good else 403, f'{{"access_token": "token-of-{form["code"][0]}"}}')

    def do_GET(self) -> None:
        user = self.headers["authorization"].removeprefix("token token-of-")
        self._answer(200, f'{{"name": "{user}"}}')

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A Hub whose environment a server of Ada's gets."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found = hub_of(
        {
            "JUPYTERHUB_API_TOKEN": "secret",
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{server.server_address[1]}/hub/api",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": "service-ada",
            "JUPYTERHUB_SERVICE_PREFIX": "/user/ada/",
            "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:9123/user/ada/",
            "JUPYTERHUB_USER": "ada",
        }
    )
    assert found is not None
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("user", "status"), [("ada", 303), ("eve", 403)])
def test_the_hub_says_who_may_in(project: Project, serve: Servers, hub: Hub, user: str, status: int) -> None:
    keeper = Doorkeeper(TOKEN, hub.prefix, login="/oauth_login")
    browser = client(serve(project.root, base_path=hub.prefix, doorkeeper=keeper, hub=hub).app)
    first = browser.get("/user/ada/p/project/?view=table", headers=PAGE)
    assert urlsplit(first.headers["location"]).path == "/user/ada/oauth_login"
    sent = browser.get(first.headers["location"])
    place = urlsplit(sent.headers["location"])
    asked = {name: values[0] for name, values in parse_qs(place.query).items()}
    assert (place.path, asked["redirect_uri"]) == ("/hub/api/oauth2/authorize", "/user/ada/oauth_callback")
    wrong = browser.get("/user/ada/oauth_callback", params={"code": user, "state": "another"})
    assert wrong.status_code == 403
    back = browser.get("/user/ada/oauth_callback", params={"code": user, "state": asked["state"]})
    assert back.status_code == status
    assert browser.get("/user/ada/api/v1/projects").status_code == (200 if user == "ada" else 403)
    if user == "ada":
        assert back.headers["location"] == "/user/ada/p/project/?view=table"
    assert hub.listen == ("127.0.0.1", 9123)
