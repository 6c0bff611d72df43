"""Files settle by what is seen of them and by the monotonic clock, whatever the file's own time says."""

from __future__ import annotations

import os
from pathlib import Path

from thon.engine.live_sources import FolderSource, Rules
from thon.engine.live_watch import AGAIN, Watcher

SKIP = Rules(skip=(".*", "*.part"))


def watcher(folder: Path, rules: Rules = SKIP, settle: float = 5.0) -> Watcher:
    return Watcher(FolderSource(folder, rules, folder / "OUT"), settle)


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
    assert watch.look(6.5).settled == ["a", "b"] or set(watch.look(6.5).settled) <= {"a", "b"}


def test_rules_the_output_links_in_circles_and_folders_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("a.eer", "deep/b.eer", "deep/c.tif", ".hidden/d.eer", "OUT/e.eer", "deep/f.eer.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "deep" / "round").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    rules = Rules(include=("*.eer", "deep/*.tif"), exclude=("a*",), skip=SKIP.skip)
    seen = FolderSource(tmp_path, rules, tmp_path / "OUT").scan(lambda name: True)
    assert {"deep/b.eer", "deep/c.tif"} <= set(seen)
    assert not any("OUT" in name and "round" not in name for name in seen)
    assert not any(part in name for name in seen for part in (".hidden", ".part", "a.eer"))
    assert all(name.count("round") <= 1 for name in seen)
