"""RELION's model, sampling and optimiser stars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError
from thon.formats.relion_model import RelionClass, RelionModel, read_model
from thon.formats.relion_model_write import write_model
from thon.formats.relion_optimiser import RelionOptimiser, read_optimiser, write_optimiser
from thon.formats.relion_sampling import RelionSampling, read_sampling, write_sampling
from thon.formats.star import StarBlock, read_star, write_star

DATA = Path(__file__).parents[1] / "data" / "relion"
SHARED = Path(__file__).resolve().parents[3] / "shared/data"
SAMPLING = RelionSampling(order=2, psi_step=15.0, offset_range=13.3, offset_step=5.32, symmetry="C1")


def model(classes: int = 2, dimensions: int = 3) -> RelionModel:
    shells = np.arange(9.0)
    made = [
        RelionClass(
            image=f"Class3D/job001/run_it025_class{k:03d}.mrc",
            share=1 / classes,
            resolution=8.5 + k,
            accuracy=(1.5, 0.7),
            ssnr=100 / (1 + shells),
            fsc=np.linspace(1, 0, 9),
            sigma2=1e-7 * (1 + shells + k),
            tau2=1e-5 / (1 + shells),
        )
        for k in range(1, classes + 1)
    ]
    return RelionModel(
        dimensions=dimensions,
        box=16,
        pixel_size=2.5,
        classes=tuple(made),
        groups={"mic1.mrc": (40, 1.02), "mic2.mrc": (33, 0.98)},
        noise=(1e-5 * (2 + shells), 2e-5 * (2 + shells)),
        resolution=9.5,
        tau2_fudge=4.0,
        norm_average=0.7,
        sigma_offset=6.2,
        log_likelihood=123456.0,
        probability=0.25,
    )


class TestModel:
    def test_what_relion_5_wrote(self) -> None:
        found = read_model(DATA / "refine3d_model_5.0.1.star")
        assert (found.dimensions, found.box, found.pixel_size, len(found.classes)) == (3, 96, 2.66, 1)
        assert (found.resolution, found.norm_average, found.sigma_offset) == (42.56, 3.424808, 6.300928)
        assert len(found.groups) == 20
        assert found.groups["mic001.mrc"][0] == 52
        assert found.local_search is None
        assert found.classes[0].image == "r3d/run_it001_half1_class001.mrc"
        assert len(found.noise[0]) == len(found.classes[0].fsc) == 49
        np.testing.assert_allclose(found.classes[0].tau2, found.classes[0].ssnr * found.classes[0].sigma2, rtol=2e-3)

    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_round_trip(self, dimensions: int, tmp_path: Path) -> None:
        written = model(dimensions=dimensions)
        write_model(tmp_path / "m.star", written, replace(SAMPLING, dimensions=dimensions))
        found = read_model(tmp_path / "m.star")
        assert found.groups == written.groups
        for name in ("dimensions", "box", "pixel_size", "resolution", "sigma_offset", "probability", "log_likelihood"):
            assert getattr(found, name) == getattr(written, name), name
        np.testing.assert_allclose(found.noise, written.noise)
        for one, other in zip(found.classes, written.classes, strict=True):
            assert (one.image, one.share, one.resolution, one.accuracy) == (
                *(other.image, other.share, other.resolution, other.accuracy),
            )
            for name in ("ssnr", "fsc", "sigma2", "tau2"):
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, err_msg=name)

    def test_directions_are_told_where_their_number_is_known(self, tmp_path: Path) -> None:
        """12 · 4^order in C1, which RELION holds against its own."""
        write_model(tmp_path / "m.star", model(), SAMPLING)
        blocks = read_star(tmp_path / "m.star")
        assert len(blocks["model_pdf_orient_class_2"]) == 192
        assert blocks["model_pdf_orient_class_2"].numbers("rlnOrientationDistribution").sum() == pytest.approx(1)
        write_model(tmp_path / "m.star", model(), replace(SAMPLING, symmetry="D2"))
        assert "model_pdf_orient_class_1" not in read_star(tmp_path / "m.star")

    def test_relion_3_knows_the_noise_of_groups(self, tmp_path: Path) -> None:
        write_model(tmp_path / "m.star", model(), SAMPLING, for_relion_3=True)
        blocks = read_star(tmp_path / "m.star")
        np.testing.assert_allclose(blocks["model_group_2"].numbers("rlnSigma2Noise"), model().noise[0])
        old = {name: block for name, block in blocks.items() if "optics" not in name}
        write_star(tmp_path / "old.star", old)
        (noise,) = read_model(tmp_path / "old.star").noise
        np.testing.assert_allclose(noise, model().noise[0])

    def test_what_was_not_estimated_is_nan(self, tmp_path: Path) -> None:
        write_model(tmp_path / "m.star", model(), SAMPLING)
        text = (tmp_path / "m.star").read_text().replace("9.500000", "inf", 2)
        (tmp_path / "m.star").write_text(text.replace("inf", "9.500000", 1))
        assert np.isnan(read_model(tmp_path / "m.star").classes[0].resolution)

    def test_no_model(self, tmp_path: Path) -> None:
        write_sampling(tmp_path / "s.star", SAMPLING)
        with pytest.raises(FormatError, match="is no model star"):
            read_model(tmp_path / "s.star")

    def test_a_value_that_is_missing(self, tmp_path: Path) -> None:
        write_model(tmp_path / "m.star", model(), SAMPLING)
        blocks = read_star(tmp_path / "m.star")
        pairs = {label: text for label, text in blocks["model_general"].pairs.items() if label != "rlnPixelSize"}
        write_star(tmp_path / "m.star", blocks | {"model_general": StarBlock(pairs)})
        with pytest.raises(FormatError, match="rlnPixelSize is missing"):
            read_model(tmp_path / "m.star")


def test_sampling_round_trip(tmp_path: Path) -> None:
    write_sampling(tmp_path / "s.star", replace(SAMPLING, symmetry="D2"))
    assert read_sampling(tmp_path / "s.star") == replace(SAMPLING, symmetry="D2")


def test_a_sampling_of_class_averages_has_no_order(tmp_path: Path) -> None:
    write_sampling(tmp_path / "s.star", replace(SAMPLING, dimensions=2, order=0))
    pairs = dict(read_star(tmp_path / "s.star")["sampling_general"].pairs)
    del pairs["rlnHealpixOrder"]
    write_star(tmp_path / "s.star", {"sampling_general": StarBlock(pairs)})
    assert read_sampling(tmp_path / "s.star") == replace(SAMPLING, dimensions=2, order=0)


class TestOptimiser:
    def test_what_relion_5_wrote(self) -> None:
        assert read_optimiser(DATA / "refine3d_optimiser_5.0.1.star") == RelionOptimiser(
            root="r3d/run",
            model="r3d/run_model.star",
            data="r3d/run_data.star",
            sampling="r3d/run_sampling.star",
            iteration=-1,
            iterations=999,
            diameter=200.0,
            refine=True,
            seed=1,
        )

    def test_round_trip_keeps_what_relion_5_said_and_lacks_nothing_that_3_1_reads(self, tmp_path: Path) -> None:
        found = replace(read_optimiser(DATA / "refine3d_optimiser_5.0.1.star"), mask="mask.mrc", refine=False)
        write_optimiser(tmp_path / "o.star", found)
        assert read_optimiser(tmp_path / "o.star") == found
        theirs = read_star(DATA / "refine3d_optimiser_5.0.1.star")["optimiser_general"].pairs
        ours = read_star(tmp_path / "o.star")["optimiser_general"].pairs
        new = ("Tomo", "Blush", "Grad", "Sgd", "Tau2Fudge", "GradientRefine", "MaximumSignificant", "OffsetRange")
        assert [label for label in theirs if label not in ours and not any(word in label for word in new)] == []

    def test_no_optimiser(self) -> None:
        with pytest.raises(FormatError, match="is no optimiser star"):
            read_optimiser(DATA / "refine3d_model_5.0.1.star")


@pytest.mark.skipif(not SHARED.exists(), reason="the larger data are not here")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relion_bgal_simulated/refine3d_model.star", (3, 96, 1, 20, 0.9375)),
        ("relion_bgal_simulated/class2d_model.star", (2, 96, 16, 20, None)),
        ("relion5_empiar10164_project/Class3D/job017/run_it025_model.star", (3, 128, 9, 5, 1.66667)),
        ("particles_aspire/sample_data_model.star", (3, 150, 1, 1, None)),
    ],
)
def test_real_models(name: str, expected: tuple[int, int, int, int, float | None]) -> None:
    found = read_model(SHARED / name)
    assert (found.dimensions, found.box, len(found.classes), len(found.groups), found.local_search) == expected
    assert sum(one.share for one in found.classes) == pytest.approx(1, abs=1e-4)
    assert all(len(one.tau2) == found.box // 2 + 1 for one in found.classes)
