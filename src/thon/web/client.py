"""A server of projects from Python: `thon.connect("http://localhost:8080/?token=…")`.

```python
project = thon.connect(url).project("apoferritin")
(job,) = project.add("ctf-fit", inputs={"micrograph": ["J002"]}, options={"max_resolution": 4})
job.wait()
resolution = job.numbers("fit.resolution")["fit.resolution"]
job.download("outputs/all/map.mrc", "map.mrc")
```

Only the standard library is needed. What the server refuses is raised as the error that it was there.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from thon.base.errors import InputError, StoreError, ThonError

PATIENCE = 60.0
"""How long the server may take to answer, s."""

ENDED = ("finished", "failed", "interrupted", "held", "unreadable")

Json = dict[str, Any]


def connect(url: str, token: str = "") -> Client:
    """A server by the URL that `thon serve` printed.

    Args:
        url: The URL, with the token in it unless that is given.
        token: The token.

    Raises:
        InputError: This is no such URL, or the token is wrong.
        StoreError: Nobody answers there.
    """
    parts = urlsplit(url)
    token = token or parse_qs(parts.query).get("token", [""])[0]
    if parts.scheme not in ("http", "https") or not token:
        raise InputError("this is not the URL of a server", got=url, expected="http://HOST:PORT/?token=TOKEN")
    base = parts.path.split("/p/")[0].rstrip("/")
    client = Client(f"{parts.scheme}://{parts.netloc}{base}/api/v1", token)
    client.get("/projects")
    return client


@dataclass(frozen=True)
class Client:
    """A server of projects.

    Args:
        url: Of its API.
        token: The token.
    """

    url: str
    token: str

    def projects(self) -> list[str]:
        """Names of the projects."""
        return [one["name"] for one in self.get("/projects")]

    def project(self, name: str = "") -> RemoteProject:
        """A project by its name; the only one unless named.

        Raises:
            InputError: There is no such project, or there are several.
        """
        names = self.projects()
        chosen = name or (names[0] if len(names) == 1 else "")
        if chosen not in names:
            raise InputError(f"no project '{name}'", expected=", ".join(names) or "a project")
        return RemoteProject(self, chosen)

    def create(self, name: str) -> RemoteProject:
        """Make a project in the folder that is served."""
        self.send("POST", "/projects", {"name": name})
        return RemoteProject(self, name)

    def job_types(self) -> list[Json]:
        """All job types and chains."""
        return self.get("/job-types")

    def job_type(self, name: str) -> Json:
        """Ports and options of a job type, the options as a JSON Schema."""
        return self.get(f"/job-types/{quote(name)}")

    def get(self, path: str, /, **query: Any) -> Any:
        """What the API answers to a question."""
        with self.open("GET", path, query=query) as answer:
            return json.load(answer)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers to an order."""
        data = json.dumps({} if body is None else body).encode()
        with self.open(method, path, data=data, headers={"Content-Type": "application/json"}) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """An answer of the API, to be read.

        Raises:
            InputError: The server does not know what is asked for, or refuses it.
            StoreError: The server cannot do it now, or nobody answers.
        """
        told = urlencode({name: value for name, value in (query or {}).items() if value is not None}, doseq=True)
        known = {"Authorization": f"Bearer {self.token}"} | dict(headers or {})
        request = urllib.request.Request(f"{self.url}{path}{'?' if told else ''}{told}", data, known, method=method)
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            with error:
                raise _as_thon_error(error.code, error.read()) from error
        except (urllib.error.URLError, TimeoutError) as error:
            raise StoreError("nobody answers", path=self.url, got=error, mend="is `thon serve` still there?") from error


@dataclass(frozen=True)
class RemoteProject:
    """A project on a server.

    Args:
        client: The server.
        name: The project's name there.
    """

    client: Client
    name: str

    def jobs(self, **query: Any) -> list[Json]:
        """Jobs as they stand; `state`, `type`, `tag`, `where="resolution<4"`, `find`, `sort`, `down`, `limit`."""
        return self.get("/jobs", **query)["jobs"]

    def job(self, number: str) -> RemoteJob:
        """A job by its number.

        Raises:
            InputError: No such job.
        """
        job = RemoteJob(self, number)
        return RemoteJob(self, job.read()["job"])

    def add(
        self,
        type: str,
        *,
        inputs: Mapping[str, Sequence[str]] | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> list[RemoteJob]:
        """New jobs: one, or those of a chain, which run when their turn comes.

        Args:
            type: Job type or chain.
            inputs: For each port jobs (J003, J003:ITEM) or files on the server.
            options: Options that are not as by default.
            more: `settings`, `after`, `run`, `lane`, `title`, `tags`.

        Raises:
            InputError: Something cannot be right.
        """
        given = {name: list(sources) for name, sources in (inputs or {}).items()}
        body = {"type": type, "inputs": given, "options": dict(options or {})} | more
        return [RemoteJob(self, number) for number in self.send("POST", "/jobs", body)["jobs"]]

    def validate(self, type: str, **filled: Any) -> Json:
        """What is wrong with `inputs`, `options` and `settings` of a job."""
        return self.send("POST", "/validate", {"type": type} | filled)

    def dry_run(self, type: str, **filled: Any) -> Json:
        """What a job would take: memory, disk, time."""
        return self.send("POST", "/dry-run", {"type": type} | filled)

    def why(self, **what: Any) -> Json:
        """The history of a `file`, or of a `job` or its `item`."""
        return self.get("/why", **what)

    def cost(self, by: str = "job") -> list[Json]:
        """Time, energy and money by job, type, user, month, host, instance or lane."""
        return self.get("/cost", by=by)

    def sql(self, query: str, limit: int = 1000) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of a question to the index."""
        told = self.get("/sql", query=query, limit=limit)
        return told["columns"], told["rows"]

    def workflow(self, *jobs: str) -> str:
        """Jobs and what they came from as a template in YAML."""
        with self.client.open("GET", f"{self._path}/workflow", query={"job": jobs}) as answer:
            return answer.read().decode()

    def run_workflow(self, text: str, **inputs: Sequence[str]) -> list[RemoteJob]:
        """Run a template; what it asks for is given by name."""
        given = {name: list(sources) for name, sources in inputs.items()}
        placed = self.send("POST", "/workflow", {"text": text, "inputs": given})
        return [RemoteJob(self, number) for number in placed["jobs"]]

    def upload(self, file: Path | str) -> str:
        """Send a file; returns what to give for it as an input or an option."""
        path = Path(file)
        with path.open("rb") as data:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
            place = f"{self._path}/uploads/{quote(path.name)}"
            with self.client.open("PUT", place, data=data, headers=headers) as answer:
                return json.load(answer)["path"]

    def events(self) -> Iterator[tuple[str, Json]]:
        """What changes from now on, as kind and content, without end; a connection that is cut is taken up again."""
        yield from _follow(self.client, f"{self._path}/events", "")

    def get(self, path: str, /, **query: Any) -> Any:
        """What the API answers to a question about the project."""
        return self.client.get(f"{self._path}{path}", **query)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers to an order about the project."""
        return self.client.send(method, f"{self._path}{path}", body)

    @property
    def _path(self) -> str:
        return f"/projects/{quote(self.name)}"


@dataclass(frozen=True)
class RemoteJob:
    """A job on a server.

    Args:
        project: Its project.
        number: Its number.
    """

    project: RemoteProject
    number: str

    def read(self) -> Json:
        """All that is known of it but its items."""
        return self.project.get(self._path)

    @property
    def state(self) -> str:
        """Its state now."""
        return self.read()["state"]

    def wait(self, seconds: float | None = None) -> str:
        """Wait until it has ended, or so long; returns its state.

        Raises:
            TimeoutError: It has not ended.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            told = self.read()
            if told["state"] in ENDED and not told["asked"]:
                return told["state"]
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.number} is {told['state']} {told['standing']}".rstrip())
            time.sleep(0.5)

    def run(self, lane: str | None = None) -> None:
        """Run it, and those that it waits for."""
        self._act("run", {"lane": lane})

    def resume(self, lane: str | None = None) -> None:
        """Go on with it where it stopped."""
        self._act("resume", {"lane": lane})

    def restart(self, lane: str | None = None) -> None:
        """Do it from its beginning."""
        self._act("restart", {"lane": lane})

    def stop(self) -> None:
        """Stop it."""
        self._act("stop")

    def repeat(self, lane: str | None = None) -> RemoteJob:
        """Do it again, as a new job."""
        return RemoteJob(self.project, self._act("repeat", {"lane": lane})["jobs"][0])

    def clone(self, **changes: Any) -> RemoteJob:
        """A new job like it, with other `options`, `inputs`, `iteration`."""
        return RemoteJob(self.project, self._act("clone", changes)["jobs"][0])

    def keep(self) -> None:
        """Mark its results as final."""
        self._act("keep")

    def note(self, text: str | None = None, *, title: str | None = None, tags: Sequence[str] = ()) -> None:
        """Write on it."""
        self.project.send("PATCH", self._path, {"note": text, "title": title, "add": list(tags)})

    def items(self, **query: Any) -> Iterator[Json]:
        """Its items; `state`, `where`, `find`, `sort`, `down`."""
        after: str | None = None
        while True:
            page = self.project.get(f"{self._path}/items", after=after, **({"limit": 500} | query))
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def numbers(self, *names: str) -> dict[str, list[float | None]]:
        """Numbers of its items as columns, and their names as the column `item`."""
        told = self.project.get(f"{self._path}/series", name=names)
        return {"item": told["items"]} | dict(zip(told["names"], told["values"], strict=True))

    def files(self, path: str = "") -> list[Json]:
        """What lies in its folder, or in one below it."""
        return self.project.get(f"{self._path}/files", path=path)["entries"]

    def previews(self, item: str) -> list[str]:
        """Pictures of an item, as files to download."""
        return [one["path"] for one in self.project.get(f"{self._path}/items/{quote(item)}/previews")]

    def download(self, path: str, target: Path | str) -> Path:
        """Fetch a file; it has its name only once it is whole."""
        target = Path(target)
        part = target.with_name(f".tmp-{target.name}")
        place = f"{self.project._path}{self._path}/files/{quote(path)}"  # pyright: ignore[reportPrivateUsage]
        try:
            with self.project.client.open("GET", place) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def events(self, *, follow: bool = False) -> Iterator[Json]:
        """What it told so far, and if so wished what it tells from now on."""
        if follow:
            place = f"{self.project._path}{self._path}/events/live"  # pyright: ignore[reportPrivateUsage]
            yield from (content for _, content in _follow(self.project.client, place, "0"))
            return
        after = 0
        while events := (page := self.project.get(f"{self._path}/events", after=after))["events"]:
            yield from events
            after = page["next"]

    @property
    def _path(self) -> str:
        return f"/jobs/{quote(self.number)}"

    def _act(self, action: str, body: Json | None = None) -> Any:
        return self.project.send("POST", f"{self._path}/{action}", body)


def _follow(client: Client, path: str, last: str) -> Iterator[tuple[str, Json]]:
    """Server-sent events, from the one after `last`."""
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        try:
            with client.open("GET", path, headers=headers) as answer:
                for identifier, kind, content in _events(answer):
                    last = identifier or last
                    yield kind, content
        except TimeoutError:
            continue
        except (OSError, StoreError):
            time.sleep(2.0)


def _events(lines: Any) -> Iterator[tuple[str, str, Json]]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])
            fields = {}


def _as_thon_error(status: int, body: bytes) -> ThonError:
    try:
        told = json.loads(body)
        fields = {name: told.get(name) for name in ("got", "expected", "mend", "path")}
        what = str(told["what"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return StoreError("the server answers with something else", got=f"status {status}")
    return (StoreError if status in (409, 507) or status >= 500 else InputError)(what, **fields)
