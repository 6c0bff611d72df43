"""What a job function is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thon.base.errors import JobError
from thon.job.context import Context
from thon.job.events import Event
from thon.job.plan import Resources


def test_outputs_lie_in_the_items_folder_and_titles_are_kept(tmp_path: Path) -> None:
    context = Context.local(tmp_path)
    path = context.output("deep/x.mrc", title="Tomogram")
    assert path.parent.is_dir()
    assert context.results == {"Tomogram": path, "Report": context.report()}
    with pytest.raises(JobError, match="inside"):
        context.output("../elsewhere")


def test_a_preview_is_stretched_reduced_and_drawn_with_row_0_at_the_bottom(tmp_path: Path) -> None:
    events: list[Event] = []
    context = Context.local(tmp_path, emit=events.append)
    image = np.zeros((2050, 1001), np.float32)
    image[:200] = 5.0
    image[700, 3] = np.nan
    drawn = np.asarray(Image.open(context.preview("slice", image, "a slice")))
    assert max(drawn.shape) <= 1024
    assert drawn[-1].min() == 255
    assert drawn[0].max() == 0
    assert [(event.kind, event.item) for event in events] == [("preview", "item")]


def test_a_thin_picture_keeps_a_row(tmp_path: Path) -> None:
    with Image.open(Context.local(tmp_path).preview("thin", np.ones((3, 12000), np.uint8))) as drawn:
        assert drawn.size == (1000, 1)


def test_colours_and_png_bytes_are_taken_as_they_are(tmp_path: Path) -> None:
    context = Context.local(tmp_path)
    colours = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    path = context.preview("colours", colours)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), colours[::-1])
    assert context.preview("same", path.read_bytes()).read_bytes() == path.read_bytes()


def test_progress_is_told_seldom_but_the_end_always(tmp_path: Path) -> None:
    events: list[Event] = []
    context = Context.local(tmp_path, emit=events.append)
    for k in range(1001):
        context.progress(k, 1000)
    assert 2 <= len(events) < 100
    assert events[-1].kind == "progress"
    assert events[-1].done == 1000


def test_limits_are_passed_on(tmp_path: Path) -> None:
    context = Context.local(tmp_path, resources=Resources(threads=3, memory=1000, device="cuda"), seed=7)
    assert (context.threads, context.memory, context.device, context.seed) == (3, 1000, "cuda", 7)
