"""What a job declares, read from its annotations."""

from __future__ import annotations

from pathlib import Path

import pytest

from thon.base.options import Options
from thon.data.alignment import AlignedTiltSeries
from thon.data.tilt_series import TiltSeries
from thon.data.volume import Tomogram, Volume
from thon.job.context import Context
from thon.job.spec import chain, each, whole


class SomeOptions(Options):
    number: int = 3
    """A number."""


@each(title="Some job", stage="test", gpus=1)
def some_job(series: AlignedTiltSeries, options: SomeOptions, context: Context, mask: Volume | None = None) -> Tomogram:
    return Tomogram(series.name + str(options.number), Volume("x", (1, 1, 1), 1.0))


class TestEach:
    def test_ports_options_and_result_come_from_the_annotations(self) -> None:
        assert (some_job.name, some_job.title, some_job.gpus, some_job.whole) == ("some-job", "Some job", 1, False)
        assert [(port.name, port.type, port.optional) for port in some_job.ports] == [
            ("series", AlignedTiltSeries, False),
            ("mask", Volume, True),
        ]
        assert (some_job.options, some_job.options_name, some_job.context_name) == (SomeOptions, "options", "context")
        assert some_job.gives is Tomogram

    def test_a_subclass_connects_where_its_parent_is_asked_and_not_the_other_way_round(self) -> None:
        @each(title="", stage="")
        def any_series(series: TiltSeries) -> TiltSeries:
            return series

        assert any_series.ports[0].accepts(AlignedTiltSeries)
        assert not some_job.ports[0].accepts(TiltSeries)

    def test_a_job_can_still_be_called(self) -> None:
        @each(title="", stage="")
        def twice(source: Path) -> Path:
            return source / source.name

        assert twice(Path("a")) == Path("a/a")
        assert twice.ports[0].takes_file
        assert not twice.imports

    def test_a_job_of_the_import_stage_that_takes_a_file_imports(self) -> None:
        @each(title="", stage="import")
        def read_it(source: Path) -> Volume:
            return Volume(str(source), (1, 1, 1), 1.0)

        assert read_it.imports


class TestWhole:
    def test_the_first_port_is_a_set(self) -> None:
        @whole(title="", stage="")
        def all_of_them(volumes: tuple[Volume, ...]) -> Volume:
            return volumes[0]

        assert all_of_them.whole
        assert all_of_them.ports[0].type is Volume

    def test_a_single_record_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"tuple\[Record, ...\]"):

            @whole(title="", stage="")
            def one_of_them(volume: Volume) -> Volume:
                return volume


class TestMistakes:
    def test_a_missing_annotation(self) -> None:
        with pytest.raises(TypeError, match="'volume' needs an annotation"):

            @each(title="", stage="")
            def untyped(volume) -> Volume:  # type: ignore[no-untyped-def]
                return volume

    def test_what_is_no_record(self) -> None:
        with pytest.raises(TypeError, match="must be a record"):

            @each(title="", stage="")
            def takes_number(number: int) -> Volume:
                raise NotImplementedError

    def test_no_input_at_all(self) -> None:
        with pytest.raises(TypeError, match="takes no record"):

            @each(title="", stage="")
            def takes_nothing(options: SomeOptions) -> Volume:
                raise NotImplementedError


def test_a_chain_holds_names() -> None:
    made = chain("a", "b", name="c", title="C", stage="s", shared=("size",))
    assert (made.steps, made.shared, made.live) == (("a", "b"), ("size",), False)


class TestGroup:
    def test_its_first_port_takes_many(self) -> None:
        @each(title="", stage="", group="name")
        def gather(all_of_one: tuple[TiltSeries, ...], start: Tomogram | None = None) -> Tomogram:
            raise NotImplementedError

        assert (gather.group, gather.whole, gather.ports[0].many, gather.ports[1].many) == ("name", False, True, False)
        assert gather.starts_warm
        assert not some_job.starts_warm

    def test_a_single_record_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"tuple\[Record, ...\]"):

            @each(title="", stage="", group="name")
            def gather_one(series: TiltSeries) -> TiltSeries:
                return series

    def test_only_files_are_expanded(self) -> None:
        with pytest.raises(TypeError, match="takes none"):

            @each(title="", stage="", expand=lambda path, options: {})
            def grow(series: TiltSeries) -> TiltSeries:
                return series
