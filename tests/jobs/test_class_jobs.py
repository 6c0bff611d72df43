"""Jobs around classes: resume, selection, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.algorithms.likelihood_phantom import phantom
from tests.jobs.report_pages import read_report, sections
from tests.jobs.seen_particles import write_phantom, write_simulated
from thon.algorithms.classify2d import Classify2dOptions
from thon.algorithms.project_map import even_rotations
from thon.base.errors import InputError
from thon.base.options import Options
from thon.data.maps import ClassifiedParticles
from thon.data.particles import Particles
from thon.formats.maps import write_map
from thon.formats.mrc import read_mrc
from thon.formats.relion_particles import read_particles
from thon.job.context import Context
from thon.job.events import Event
from thon.job.plan import Resources
from thon.job.spec import JobSpec
from thon.jobs.classify2d import classify2d
from thon.jobs.classify3d import Classify3dJobOptions, classify3d
from thon.jobs.project import ProjectJobOptions, project
from thon.jobs.reconstruct_particles import ReconstructParticlesJobOptions, reconstruct_particles
from thon.jobs.select import SelectOptions, select


class _Killed(BaseException):
    pass


def killed_after(folder: Path, iteration: int) -> Context:
    """A context that ends the job once it has told of an iteration."""

    def hear(event: Event) -> None:
        if str(getattr(event, "text", "")).startswith(f"Iteration {iteration}:"):
            raise _Killed

    return Context.local(folder, emit=hear)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Particles:
    return read_particles(write_simulated(tmp_path_factory.mktemp("seen"), 60, poses=True))


@pytest.fixture(scope="module")
def classified(seen: Particles, tmp_path_factory: pytest.TempPathFactory) -> ClassifiedParticles:
    options = Classify2dOptions(classes=3, diameter=100, iterations=3)
    return classify2d((seen,), options, Context.local(tmp_path_factory.mktemp("classified")))


@pytest.mark.parametrize(
    "options",
    [Classify2dOptions(classes=2, diameter=100, iterations=3),
     Classify2dOptions(classes=2, diameter=100, method="VDAM", mini_batches=3)],
    ids=["EM", "VDAM"],
)  # fmt: skip
def test_classes_after_a_kill_are_the_same_bits(options: Classify2dOptions, seen: Particles, tmp_path: Path) -> None:
    whole = classify2d((seen,), options, Context.local(tmp_path / "whole"))
    with pytest.raises(_Killed):
        classify2d((seen,), options, killed_after(tmp_path / "part", 2))
    said: list[str] = []
    context = Context.local(tmp_path / "part", emit=lambda event: said.append(str(getattr(event, "text", ""))))
    resumed = classify2d((seen,), options, context)
    assert "Going on after iteration 2." in said
    assert whole.averages is not None
    assert resumed.averages is not None
    np.testing.assert_array_equal(read_mrc(resumed.averages.path), read_mrc(whole.averages.path))
    for name in ("class_number", "rotation", "shift", "probability", "norm"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    for name in ("classes", "flow", "convergence", "posterior"):
        one, other = ((tmp_path / part / f"outputs/{name}.png").read_bytes() for part in ("whole", "part"))
        assert one == other, name


def test_maps_of_classes_after_a_kill_are_the_same_bits(seen: Particles, tmp_path: Path) -> None:
    options = Classify3dJobOptions(
        classes=2, diameter=100, iterations=3, align=False, references=(write_phantom(tmp_path),)
    )
    whole = classify3d((seen,), options, Context.local(tmp_path / "whole"))
    with pytest.raises(_Killed):
        classify3d((seen,), options, killed_after(tmp_path / "part", 1))
    resumed = classify3d((seen,), options, Context.local(tmp_path / "part"))
    for one, other in zip(whole.classes, resumed.classes, strict=True):
        assert one.volume is not None
        assert other.volume is not None
        np.testing.assert_array_equal(read_mrc(one.volume.path), read_mrc(other.volume.path))
    page = read_report(tmp_path / "part/outputs")
    assert sections(page) == ["maps", "flow", "convergence", "posterior", "origin"]
    shares = [float(row[2]) for row in page.rows if len(row) == 5 and row[0] in ("1", "2")]
    assert sorted(shares) == sorted(round(100 * one.share, 1) for one in whole.classes)


class TestClassify2d:
    def test_what_it_yields(self, classified: ClassifiedParticles) -> None:
        assert classified.class_number is not None
        counts = np.bincount(classified.class_number, minlength=4)
        assert counts[0] == 0
        np.testing.assert_allclose([one.share for one in classified.classes], counts[1:] / 60)
        assert all(0 <= one.score <= 1 for one in classified.classes)
        assert classified.averages is not None
        assert read_mrc(classified.averages.path).shape == (3, 32, 32)

    def test_its_report(self, classified: ClassifiedParticles) -> None:
        assert classified.averages is not None
        page = read_report(Path(classified.averages.path).parent)
        assert sections(page) == ["classes", "flow", "convergence", "posterior", "origin"]
        for number, one in enumerate(classified.classes, 1):
            assert page.row(str(number), f"{round(60 * one.share)}")[3:] == [
                f"{one.resolution:.2f}",
                f"{one.score:.2f}",
            ]
        # After the last iteration, in the table of the flow.
        (last,) = {row[-1] for row in page.rows if row[0] == "1" and len(row) == 4}
        assert float(last) == pytest.approx(100 * classified.classes[0].share, abs=0.06)

    def test_what_is_refused(self, seen: Particles, tmp_path: Path) -> None:
        context = Context.local(tmp_path)
        with pytest.raises(InputError, match="too few"):
            classify2d((seen.select(np.arange(2)),), Classify2dOptions(classes=3), context)
        with pytest.raises(InputError, match="too small"):
            classify2d((seen,), Classify2dOptions(classes=3, diameter=300), context)
        with pytest.raises(InputError, match="CTF"):
            classify2d((replace(seen, ctf=None),), Classify2dOptions(classes=3, diameter=100), context)


class TestSelect:
    def test_by_number(self, classified: ClassifiedParticles, tmp_path: Path) -> None:
        number = np.repeat([1, 2, 3], [10, 45, 5])
        context, sorted_in = Context.local(tmp_path), replace(classified, class_number=number)
        found = select(sorted_in, SelectOptions(classes=(1, 3)), context)
        assert found.class_number is not None
        np.testing.assert_array_equal(found.class_number, np.repeat([1, 3], [10, 5]))
        rest = select(sorted_in, SelectOptions(classes=(1, 3), invert=True), context)
        assert len(rest) == 45
        assert (tmp_path / "outputs" / "selected_classes.png").stat().st_size > 1000
        assert "45 of 60 particles (75 %)" in read_report(tmp_path / "outputs").text

    def test_by_score_and_until_there_are_enough(self, classified: ClassifiedParticles, tmp_path: Path) -> None:
        context = Context.local(tmp_path)
        scores = (0.9, 0.2, 0.5)
        judged = replace(
            classified,
            classes=tuple(replace(one, score=score) for one, score in zip(classified.classes, scores, strict=True)),
            class_number=np.repeat([1, 2, 3], [10, 45, 5]),
        )
        assert len(select(judged, SelectOptions(min_score=0.4), context)) == 15
        assert len(select(judged, SelectOptions(min_score=0.6), context)) == 10
        assert len(select(judged, SelectOptions(min_score=0.6, min_particles=12), context)) == 15
        assert len(select(judged, SelectOptions(min_score=0.6, min_classes=3), context)) == 60
        with pytest.raises(InputError, match="no particle"):
            select(judged, SelectOptions(min_score=0.95), context)

    def test_a_class_that_is_not_there(self, classified: ClassifiedParticles, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such class"):
            select(classified, SelectOptions(classes=(4,)), Context.local(tmp_path))


class TestProject:
    def test_projections_are_particles_that_can_be_read(self, tmp_path: Path) -> None:
        found = project(write_phantom(tmp_path), ProjectJobOptions(angular_step=60), Context.local(tmp_path / "job"))
        stack = read_mrc(found.files[0])
        assert stack.shape == (12, 32, 32)
        rows = even_rotations(60, "C1")
        clean = np.stack([phantom().projection(one, np.zeros(2), 32) for one in rows])
        assert np.corrcoef(stack.ravel(), clean.ravel())[0, 1] > 0.999
        page = read_report(tmp_path / "job/outputs")
        assert sections(page) == ["projections"]
        assert "first 12 of 12" in page.all("img")[0]["alt"]

    def test_at_the_poses_of_a_star(self, tmp_path: Path) -> None:
        star = write_simulated(tmp_path, 6, poses=True)
        options = ProjectJobOptions(poses=star, ctf=True)
        found = project(write_phantom(tmp_path), options, Context.local(tmp_path / "job"))
        images, seen = read_mrc(found.files[0]), read_mrc(tmp_path / "seen.mrcs")
        for image, noisy in zip(images, seen, strict=True):
            assert np.corrcoef(image.ravel(), noisy.ravel())[0, 1] > 0.5

    def test_ctfs_need_particles(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="CTF"):
            project(write_phantom(tmp_path), ProjectJobOptions(ctf=True), Context.local(tmp_path / "job"))


class TestReconstruct:
    def test_halves_are_written_as_relion_names_them(self, seen: Particles, tmp_path: Path) -> None:
        options = ReconstructParticlesJobOptions(diameter=100)
        found = reconstruct_particles((seen,), options, Context.local(tmp_path))
        assert found.curves is not None
        assert found.curves.best[1:4].min() > 0.8
        assert found.half is not None
        assert np.bincount(found.half).tolist() == [0, 30, 30]
        assert found.first.path.endswith("_half1_class001_unfil.mrc")
        page = read_report(tmp_path / "outputs")
        assert sections(page) == ["views", "fsc", "directions", "cones", "origin"]
        assert f"{found.resolution:.2f} Å" in page.text

    def test_particles_without_poses_are_refused(self, seen: Particles, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="poses"):
            reconstruct_particles(
                (replace(seen, rotation=None),), ReconstructParticlesJobOptions(), Context.local(tmp_path)
            )


@pytest.mark.parametrize(
    ("job", "options"),
    [
        (classify2d, Classify2dOptions()),
        (classify3d, Classify3dJobOptions()),
        (reconstruct_particles, ReconstructParticlesJobOptions()),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_no_particles_at_all_are_planned_for(seen: Particles, job: JobSpec, options: Options) -> None:
    """So that the job itself says what is missing."""
    nothing = seen.select(np.arange(0)).compact()
    assert nothing.optics == ()
    assert job.plan is not None
    assert "0 particles" in job.plan((nothing,), options, Resources(threads=1, memory=0)).understood[0]


def test_reconstruction_refuses_halves_that_share_images(seen: Particles, tmp_path: Path) -> None:
    twice = replace(seen.select(np.repeat(np.arange(10), 2)), half=np.tile([1, 2], 10))
    options, context = ReconstructParticlesJobOptions(diameter=100), Context.local(tmp_path)
    with pytest.raises(InputError, match="10 in both"):
        reconstruct_particles((twice,), options, context)
    with pytest.raises(InputError, match="a half set is empty"):
        reconstruct_particles((replace(seen, half=np.full(60, 1)),), options, context)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_is_no_mask_is_refused(seen: Particles, tmp_path: Path, value: float) -> None:
    mask, context = tmp_path / "mask.mrc", Context.local(tmp_path / "job")
    write_map(mask, np.full((32, 32, 32), value, np.float32), 4.0)
    with pytest.raises(InputError, match="is no mask"):
        reconstruct_particles((seen,), ReconstructParticlesJobOptions(diameter=100, mask=mask), context)
    options = Classify3dJobOptions(diameter=100, mask=mask, references=(write_phantom(tmp_path),))
    with pytest.raises(InputError, match="is no mask"):
        classify3d((seen,), options, context)
