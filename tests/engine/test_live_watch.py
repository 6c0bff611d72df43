"""Files settle by what is seen of them and by the monotonic clock, whatever the file's own time says."""

from __future__ import annotations

import os
from pathlib import Path

from thon.engine.live.sources import FolderSource, Rules
from thon.engine.live.watch import AGAIN, Watcher
from thon.jobs.movie_sources import find_session

SKIP = Rules(skip=(".*", "*.part"))


def watcher(folder: Path, rules: Rules = SKIP, settle: float = 5.0) -> Watcher:
    return Watcher(FolderSource(folder, rules), settle)


def test_a_file_settles_after_it_has_stayed_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    watch = watcher(tmp_path)
    assert (watch.look(0.0).arrived, watch.look(4.9).settled) == (["a"], [])
    (tmp_path / "a").write_text("12")
    assert watch.look(5.1).settled == []
    assert watch.stamp("a") is None
    news = watch.look(10.2)
    assert (news.settled, news.arrived, news.moving, news.total) == (["a"], [], 0, 1)
    stamp = watch.stamp("a")
    assert stamp is not None
    assert stamp[0] == 2
    assert watch.look(20.0).settled == []


def test_a_file_time_in_the_past_or_the_future_is_only_compared(tmp_path: Path) -> None:
    for name, moment in (("past", 1.0), ("future", 4e9)):
        (tmp_path / name).write_text("1")
        os.utime(tmp_path / name, (moment, moment))
    watch = watcher(tmp_path)
    watch.look(0.0)
    assert sorted(watch.look(5.0).settled) == ["future", "past"]
    os.utime(tmp_path / "future", (2e9, 2e9))
    assert watch.look(6.0).settled == []
    assert watch.look(11.5).settled == ["future"]


def test_what_changes_after_it_settled_is_found_however_many_there_are(tmp_path: Path) -> None:
    for k in range(AGAIN + 20):
        (tmp_path / f"{k:04d}").touch()
    watch = watcher(tmp_path, settle=0.0)
    assert len(watch.look(0.0).settled) == AGAIN + 20
    (tmp_path / "0510").write_text("more")
    (tmp_path / "0001").write_text("more")
    seen = [name for moment in (1.0, 2.0) for name in watch.look(moment).settled]
    assert sorted(seen) == ["0001", "0510"]


def test_known_files_are_no_news_and_gone_ones_are_told(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("1")
    stat = (tmp_path / "a").stat()
    watch = watcher(tmp_path)
    watch.remember("a", (stat.st_size, stat.st_mtime_ns))
    watch.remember("gone", (1, 1))
    news = watch.look(0.0)
    assert (news.arrived, news.gone, news.settled) == (["b"], ["gone"], [])
    watch.look_again("a")
    assert watch.stamp("a") is None
    watch.look(1.0)
    assert sorted(watch.look(6.5).settled) == ["a", "b"]


def test_rules_and_what_is_no_file_or_another_project(tmp_path: Path) -> None:
    for name in ("a.eer", "deep/b.eer", "deep/c.tif", ".hidden/d.eer", "OUT/e.eer", "other/f.eer", "deep/g.eer.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "OUT" / "project.json").write_text('{"thon": "1"}')
    (tmp_path / "other" / "project.json").write_text("[]")
    (tmp_path / "nowhere.eer").symlink_to(tmp_path / "none")
    (tmp_path / "itself.eer").symlink_to("itself.eer")
    os.mkfifo(tmp_path / "pipe.eer")
    rules = Rules(include=("*.eer", "deep/*.tif"), exclude=("a*",), skip=SKIP.skip)
    source = FolderSource(tmp_path, rules)
    assert set(source.scan(lambda name: True)) == {"deep/b.eer", "deep/c.tif", "other/f.eer"}
    assert source.faults == []


def test_each_folder_is_met_once_wherever_links_lead(tmp_path: Path) -> None:
    session, data = tmp_path / "session", tmp_path / "data"
    for folder in (session / "deep", data / "more"):
        folder.mkdir(parents=True)
        (folder / "a.eer").touch()
    (session / "up").symlink_to(tmp_path)
    (session / "here").symlink_to("deep")
    (session / "raw").symlink_to(data)
    (session / "raw again").symlink_to(data / "more")
    (data / "back").symlink_to(session)
    seen = set(FolderSource(session, SKIP).scan(lambda name: True))
    assert seen == {"deep/a.eer", "raw/more/a.eer"}
    # The import, which walks by itself, must mean the same files.
    assert {str(ports["movie"][0].relative_to(session)) for ports in find_session(session).values()} == seen
