"""Viewers: what the server makes of records is what is in the files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.web import views_project as made
from tests.web.conftest import Servers
from thon.formats.png import to_gray
from thon.project.project import Project
from thon.web.views.pictures import Contrast, Tone, mean_blocks, to_eight_bits


class Viewed:
    """A client of a project with one item of each type."""

    def __init__(self, project: Project, web: Any):
        self.project, self.web = project, web

    def get(self, job: str, item: str, rest: str) -> Any:
        return self.web.get(f"/api/v1/projects/{self.project.root.name}/jobs/{job}/items/{item}/{rest}")

    def json(self, job: str, item: str, rest: str) -> Any:
        answer = self.get(job, item, rest)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pixels(self, job: str, item: str, rest: str) -> np.ndarray:
        answer = self.get(job, item, rest)
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.fixture(scope="module")
def viewed(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    project = made.make_project(tmp_path_factory.mktemp("views") / "viewed")
    servers = Servers()
    yield Viewed(project, servers(project.root))
    servers.close()


KINDS = {
    ("J001", "mic_1"): ["micrograph", "ctf", "motion", "facts", "files"],
    ("J002", "mic_1"): ["micrograph", "table", "ctf", "motion", "facts"],
    ("J003", "all"): ["classes", "particles", "table", "facts", "files"],
    ("J004", "all"): ["surface", "slices", "fsc", "guinier", "facts", "files"],
    ("J005", "TS_1"): ["tilts", "alignment", "table", "facts", "files"],
    ("J006", "TS_1"): ["slices", "surface", "tilts", "alignment", "table", "facts", "files"],
    ("J007", "mic_1"): ["particles", "table", "facts"],
}


@pytest.mark.parametrize(("job", "item"), KINDS)
def test_viewers_follow_from_the_type_of_the_record(viewed: Viewed, job: str, item: str) -> None:
    views = viewed.json(job, item, "views")
    assert [view["kind"] for view in views] == KINDS[job, item]
    assert all(view["title"] and view["url"].endswith(f"/jobs/{job}/items/{item}") for view in views)


class TestPictures:
    def test_eight_bits_are_those_of_reports(self) -> None:
        image = np.random.default_rng(0).normal(3, 2, (31, 44)).astype(np.float32)
        image[3, 4] = np.nan
        limits = (-1.0, 6.5)
        difference = to_eight_bits(image, limits).astype(int) - to_gray(image, limits)
        assert np.abs(difference[np.isfinite(image)]).max() <= 1
        assert (difference == 0).mean() > 0.99

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8])
    def test_bytes_go_through_a_table_to_the_same(self, dtype: type) -> None:
        image = np.arange(256, dtype=np.uint8).view(dtype).reshape(16, 16)
        limits = (-50.0, 90.0)
        assert (to_eight_bits(image, limits) == to_eight_bits(image.astype(np.float32), limits)).all()

    def test_means_of_blocks(self) -> None:
        image = np.random.default_rng(1).normal(size=(11, 14)).astype(np.float32)
        found = mean_blocks(image, 4)
        assert found.shape == (3, 4)
        assert found[1, 2] == pytest.approx(image[4:8, 8:12].mean(), abs=1e-6)
        edge = np.pad(image, ((0, 1), (0, 2)), mode="edge")[8:, 12:]
        assert found[2, 3] == pytest.approx(edge.mean(), abs=1e-6)

    def test_an_image_of_one_value_is_middle_grey(self) -> None:
        flat = np.full((9, 9), 4.0, np.float32)
        assert set(to_eight_bits(flat, Tone.of(flat).limits(Contrast())).ravel()) <= {127, 128}

    def test_matter_that_stands_out_is_not_cut_off(self) -> None:
        image = np.random.default_rng(2).normal(0, 0.1, (60, 60))
        image[20:40, 20:40] += np.linspace(3, 9, 20)
        shown = to_eight_bits(image, Tone.of_matter(image).limits(Contrast()))
        assert len(np.unique(shown[30, 20:40])) > 15
        assert shown[30, 38] > 230


class TestTiles:
    def tone(self, level: int) -> tuple[float, float]:
        values = made.micrograph_values()[::-1]
        rows, columns = (-(-n // 2**level) for n in values.shape)
        middle = mean_blocks(values, 2**level)
        if level < 2:
            middle = middle[max(0, rows // 2 - 512) : rows // 2 + 512, max(0, columns // 2 - 512) : columns // 2 + 512]
        return Tone.of(middle).limits(Contrast(2.0, 0.5))

    def test_the_image_is_told(self, viewed: Viewed) -> None:
        told = viewed.json("J001", "mic_1", "image")
        assert (told["height"], told["width"], told["pixel_size"]) == (made.ROWS, made.COLUMNS, 1.5)
        assert told["levels"] == 3

    @pytest.mark.parametrize(("level", "row", "column"), [(0, 0, 0), (0, 2, 2), (0, 1, 0), (1, 1, 0), (2, 0, 0)])
    def test_a_tile_is_the_mean_of_the_pixels_from_the_top_down(
        self, viewed: Viewed, level: int, row: int, column: int
    ) -> None:
        shown = viewed.pixels("J001", "mic_1", f"tiles/{level}/{row}/{column}.png?contrast=2&brightness=0.5")
        whole = mean_blocks(made.micrograph_values()[::-1], 2**level)
        part = whole[512 * row : 512 * (row + 1), 512 * column : 512 * (column + 1)]
        assert shown.shape == part.shape
        difference = shown.astype(int) - to_gray(part, self.tone(level))
        assert np.abs(difference).max() <= 1

    def test_jpeg_shows_the_same(self, viewed: Viewed) -> None:
        exact = viewed.pixels("J001", "mic_1", "tiles/2/0/0.png").astype(float)
        close = viewed.pixels("J001", "mic_1", "tiles/2/0/0.jpg")
        assert np.abs(close - exact).mean() < 4

    def test_low_pass_takes_off_what_is_finer(self, viewed: Viewed) -> None:
        told = viewed.json("J001", "mic_1", "image?lowpass=30")
        assert told["factor"] == 4
        assert told["width"] == -(-made.COLUMNS // 4)
        plain = viewed.pixels("J001", "mic_1", "tiles/2/0/0.png?contrast=8")
        smooth = viewed.pixels("J001", "mic_1", "tiles/0/0/0.png?lowpass=30&contrast=8")
        steps = [np.abs(np.diff(image.astype(float), axis=1)).mean() for image in (plain, smooth)]
        assert steps[1] < 0.7 * steps[0]

    def test_picks_lie_where_their_pixels_are(self, viewed: Viewed) -> None:
        told = viewed.json("J002", "mic_1", "picks")
        assert told["y"] == [100.0, 640.5, 1200.0]
        assert told["score"] == [0.9, None, 0.2]
        assert viewed.json("J002", "mic_1", "image?source=micrograph.path")["pixel_size"] == 1.5

    @pytest.mark.parametrize(
        ("rest", "status"),
        [
            ("tiles/0/3/0.jpg", 404),
            ("tiles/9/0/0.jpg", 404),
            ("tiles/0/0/0.gif", 404),
            ("tiles/-1/0/0.jpg", 422),
            ("tiles/0/x/0.jpg", 422),
            ("tiles/0/0/0.jpg?contrast=nan", 422),
            ("tiles/0/0/0.jpg?brightness=inf", 422),
            ("tiles/0/0/0.jpg?lowpass=-1", 422),
            ("tiles/0/0/0.jpg?section=1", 404),
            ("tiles/0/0/0.jpg?source=optics", 404),
            ("tiles/0/0/0.jpg?source=__class__", 404),
            ("tiles/0/0/0.jpg?source=nothing", 404),
            ("tiles/0/0/0.jpg?source=@notes.txt", 422),
            ("text?source=@../../job.json", 404),
            ("text?source=@/etc/passwd", 404),
            ("text?source=@%00", 404),
            ("file?source=@..", 404),
            ("fsc", 404),
            ("classes", 404),
            ("tilts", 404),
            ("surface?level=nan", 422),
            ("surface?level=1e300&source=path", 422),
            ("surface?level=-1e300&source=path", 422),
            (f"text?source=@{'x' * 300}", 404),
            ("tiles/99999999999999999999/0/0.jpg", 404),
            ("slices/z/99999999999999999999.jpg?source=path", 404),
            ("slices/w/0.jpg?source=path", 422),
        ],
    )
    def test_what_cannot_be_is_refused_in_words(self, viewed: Viewed, rest: str, status: int) -> None:
        answer = viewed.get("J001", "mic_1", rest)
        assert answer.status_code == status
        assert answer.json()["what"]

    @pytest.mark.parametrize(
        ("job", "item"), [("J001", "mic_2"), ("J001", ".tmp-mic_1"), ("J099", "all"), ("J001", "%2e%2e")]
    )
    def test_an_item_that_is_not_there(self, viewed: Viewed, job: str, item: str) -> None:
        assert viewed.get(job, item, "views").status_code == 404

    def test_a_file_that_was_lost(self, viewed: Viewed, tmp_path: Any) -> None:
        lost = made.add_job(viewed.project, "import-micrographs", {"mic_1": made.micrograph})
        (lost.outputs / "mic_1" / "mic_1.mrc").unlink()
        assert viewed.get(lost.path.name.split("-")[0], "mic_1", "tiles/0/0/0.jpg").status_code == 404


class TestSlices:
    @pytest.mark.parametrize(("axis", "index"), [("z", 4), ("y", 30), ("x", 46)])
    @pytest.mark.parametrize("slab", [0, 2])
    def test_a_slice_is_the_mean_of_its_slab(self, viewed: Viewed, axis: str, index: int, slab: int) -> None:
        shown = viewed.pixels("J006", "TS_1", f"slices/{axis}/{index}.png?slab={slab}")
        values = made.volume_values().astype(np.float32)

        def plane(at: int) -> np.ndarray:
            part = np.moveaxis(values, "zyx".index(axis), 0)[max(0, at - slab) : at + slab + 1].mean(0)
            return (part.T if axis == "x" else part)[::-1]

        limits = Tone.of_matter(plane(values.shape["zyx".index(axis)] // 2)).limits(Contrast())
        assert shown.shape == plane(index).shape
        assert np.abs(shown.astype(int) - to_gray(plane(index), limits)).max() <= 1

    def test_what_is_told_of_a_volume(self, viewed: Viewed) -> None:
        told = viewed.json("J006", "TS_1", "volume")
        assert (told["shape"], told["voxel_size"]) == (list(made.VOLUME), 10.0)

    def test_beyond_the_end_is_nothing(self, viewed: Viewed) -> None:
        assert viewed.get("J006", "TS_1", "slices/z/13.jpg").status_code == 404


class TestTilts:
    @pytest.mark.parametrize("index", [0, 1, 2])
    def test_an_aligned_image_has_the_specimen_upright(self, viewed: Viewed, index: int) -> None:
        shown = viewed.pixels("J005", "TS_1", f"tilts/{index}.png?contrast=100").astype(float)
        assert shown.shape == (101, 120)
        raw = viewed.pixels("J005", "TS_1", f"tilts/{index}.png?contrast=100&aligned=false").astype(float)
        geometry = viewed.project.job("J005").output("TS_1").geometry
        v, u = geometry.plane(np.array([[0.0, 60.0, -90.0]]))[index, 0] / 5.0
        row, column = spot(shown)
        assert (100 - row - 50, column - 60) == pytest.approx((v, u), abs=0.6)
        y, x = geometry.project(np.array([[0.0, 60.0, -90.0]]))[index, 0] / 5.0
        row, column = spot(raw)
        assert (100 - row - 50, column - 60) == pytest.approx((y, x), abs=0.6)

    def test_columns_and_what_was_excluded(self, viewed: Viewed) -> None:
        told = viewed.json("J005", "TS_1", "tilts")
        assert told["columns"]["tilt"] == [-30, 0, 30]
        assert told["excluded"] == {"2": "dark"}
        assert told["aligned"]
        assert viewed.json("J006", "TS_1", "tilts?source=tilts")["columns"] == told["columns"]


def spot(image: np.ndarray) -> tuple[float, float]:
    """Where an image's one spot is, by its centre of gravity above the half."""
    weight = np.clip(image - (image.min() + image.max()) / 2, 0, None)
    y, x = np.indices(image.shape)
    return float((weight * y).sum() / weight.sum()), float((weight * x).sum() / weight.sum())


class TestGalleries:
    def test_classes_and_their_sheets(self, viewed: Viewed) -> None:
        told = viewed.json("J003", "all", "classes")
        assert [one["count"] for one in told["classes"][:5]] == [58, 58, 57, 57, 0]
        assert told["classes"][3]["score"] is None
        assert (told["count"], told["per_sheet"], told["across"], told["cell"]) == (117, 100, 10, [20, 20])
        first = viewed.pixels("J003", "all", "classes/sheet/0.png")
        second = viewed.pixels("J003", "all", "classes/sheet/1.png")
        assert first.shape == (200, 200)
        assert second.shape == (40, 200)
        image = np.random.default_rng(1).normal(size=(117, 20, 20)).astype(np.float32)[113, ::-1]
        expected = to_eight_bits(image, Tone.of_matter(image).limits(Contrast()))
        assert (second[20:40, 60:80] == expected).all()
        assert viewed.get("J003", "all", "classes/sheet/2.png").status_code == 404

    def test_particles_in_any_order(self, viewed: Viewed) -> None:
        told = viewed.json("J003", "all", "particles?where=class_number%3D2&sort=score&descending=true")
        assert (told["count"], told["total"]) == (58, 230)
        first = viewed.json("J003", "all", "particles/row/0?where=class_number%3D2&sort=score&descending=true")
        score, members = (np.arange(230) * 7) % 230, np.arange(230) % 4 == 1
        best = np.flatnonzero(members)[np.argmax(score[members])]
        assert first["number"] == best
        assert first["values"]["class_number"] == 2
        assert viewed.pixels("J003", "all", "particles/sheet/0.png?where=class_number%3D2").shape == (72, 120)

    def test_particles_that_are_still_in_their_micrograph(self, viewed: Viewed) -> None:
        shown = viewed.pixels("J007", "mic_1", "particles/sheet/0.png")
        values = made.micrograph_values()
        image = -values[284:316, 384:416][::-1]
        assert np.abs(shown[:32, :32].astype(int) - to_gray(image, Tone.of(image).limits(Contrast()))).max() <= 1
        rows, columns = np.clip(np.arange(-13, 19), 0, None), np.clip(np.arange(1084, 1116), None, made.COLUMNS - 1)
        edge = -values[np.ix_(rows, columns)][::-1]
        assert np.abs(shown[:32, 32:64].astype(int) - to_gray(edge, Tone.of(edge).limits(Contrast()))).max() <= 1


class TestCurves:
    def test_where_a_correlation_crosses(self, viewed: Viewed) -> None:
        told = viewed.json("J004", "all", "fsc")
        crossings = told["crossings"]["unmasked"]
        assert crossings["0.5"] == pytest.approx(1 / 0.2, rel=1e-5)
        assert crossings["0.143"] == pytest.approx(2.5 / 0.857, rel=1e-5)

    def test_motion(self, viewed: Viewed) -> None:
        told = viewed.json("J001", "mic_1", "motion")
        assert told["travelled"] == [0, 5, 9]
        assert told["position"] == [1, 3, 5]
        assert told["tracks"][0][1] == [4, 3]
        assert told["rejected"] == {"1": "too little signal"}

    def test_guinier(self, viewed: Viewed) -> None:
        told = viewed.json("J004", "all", "guinier")
        assert (told["slope"], told["b_factor"]) == (-20, -80)

    def test_maps_of_the_project(self, viewed: Viewed) -> None:
        told = viewed.web.get(f"/api/v1/projects/{viewed.project.root.name}/maps").json()
        assert ("J004", "all", "unsharpened") in {(one["job"], one["item"], one["source"]) for one in told}


class TestFiles:
    def test_text_and_download(self, viewed: Viewed) -> None:
        assert viewed.json("J001", "mic_1", "text?source=@notes.txt")["text"] == "a line\n"
        answer = viewed.get("J001", "mic_1", "file?source=@notes.txt&inline=true")
        assert answer.text == "a line\n"
        assert answer.headers["content-disposition"].startswith("attachment")

    def test_what_is_no_text_is_refused(self, viewed: Viewed) -> None:
        assert viewed.get("J001", "mic_1", "text?source=@mic_1.mrc").status_code == 422

    def test_the_log_goes_on_from_where_it_was(self, viewed: Viewed) -> None:
        job = viewed.project.job("J001")
        base = f"/api/v1/projects/{viewed.project.root.name}/jobs/J001/loglines"
        job.events_file.write_text(
            '{"time":1.0,"kind":"log","text":"one"}\n{"time":2.0,"kind":"warning","text":"two"}\n{"ti'
        )
        told = viewed.web.get(base).json()
        assert [(one["text"], one["level"]) for one in told["lines"]] == [("one", "info"), ("two", "warning")]
        with job.events_file.open("a") as file:
            file.write('me":3.0,"kind":"log","text":"three"}\n')
        after = viewed.web.get(f"{base}?after={told['next']}").json()
        assert [one["text"] for one in after["lines"]] == ["three"]
        assert [one["text"] for one in viewed.web.get(f"{base}?level=warning").json()["lines"]] == ["two"]
        assert [one["text"] for one in viewed.web.get(f"{base}?contains=ONE").json()["lines"]] == ["one"]


class TestSurfaces:
    def surface(self, viewed: Viewed, rest: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Vertices (x, y, z), Å from the centre, and their values if there are any."""
        answer = viewed.get("J004" if "colour" not in rest else "J008", "all", f"surface?{rest}")
        assert answer.status_code == 200, answer.text
        vertices, _, coloured = np.frombuffer(answer.content, "<u4", 3).tolist()
        places = np.frombuffer(answer.content, "<f4", 3 * vertices, 12).reshape(-1, 3)
        return places, np.frombuffer(answer.content, "<f4", vertices, 12 + 12 * vertices) if coloured else None

    def test_it_is_where_the_map_is(self, viewed: Viewed) -> None:
        places, _ = self.surface(viewed, "level=0")
        centre = (np.array(made.CENTRE) - np.array([14, 20, 18]))[::-1] * 1.25
        assert np.linalg.norm(places - centre, axis=1) == pytest.approx(made.RADIUS * 1.25, abs=0.2)

    def test_a_binned_one_is_in_the_same_place(self, viewed: Viewed) -> None:
        places, _ = self.surface(viewed, "level=0&side=20")
        centre = (np.array(made.CENTRE) - np.array([14, 20, 18]))[::-1] * 1.25
        assert np.linalg.norm(places - centre, axis=1) == pytest.approx(made.RADIUS * 1.25, abs=1.25)

    def test_colours_are_those_of_the_other_map(self, viewed: Viewed) -> None:
        places, values = self.surface(viewed, "level=0&colour=local")
        assert values == pytest.approx(places[:, 2] / 1.25 + 14, abs=1e-3)

    def test_dark_matter_is_below_the_level(self, viewed: Viewed) -> None:
        told = viewed.json("J004", "all", "levels?below=true")
        assert told["lowest"] < told["suggested"] < told["mean"]
        inner, _ = self.surface(viewed, "level=0&below=true")
        outer, _ = self.surface(viewed, "level=0")
        # The same sphere, seen from its other side, and the faces of the box.
        assert len(inner) > len(outer)
