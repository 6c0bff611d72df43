"""RELION's stars of particles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.formats.particle_files import (
    OPTICS,
    PIXEL_SIZE,
    known,
    optics_block,
    particle_table,
    write_particle_star,
    write_stacks,
)
from thon.base.errors import FormatError, InputError
from thon.formats.relion_euler import euler_from_rotation
from thon.formats.relion_particles import ParticleStar, read_particle_star, read_particles, write_particles
from thon.formats.star import StarBlock, read_star, write_star

SHARED = Path(__file__).resolve().parents[3] / "shared/data"


@pytest.fixture
def star(tmp_path: Path) -> ParticleStar:
    write_stacks(tmp_path)
    return read_particle_star(write_particle_star(tmp_path))


class TestRead:
    def test_fields(self, star: ParticleStar, tmp_path: Path) -> None:
        found = star.particles
        assert found.files == (str(tmp_path / "Extract/b.mrcs"), str(tmp_path / "Extract/a.mrcs"))
        np.testing.assert_array_equal(found.file, [0, 1, 1, 0, 1, 0])
        np.testing.assert_array_equal(found.section, [1, 4, 0, 3, 2, 0])
        assert [found.micrographs[k] for k in found.micrograph] == [
            "mic2.mrc",
            *["mic1.mrc"] * 2,
            *["mic2.mrc", "mic1.mrc", "mic2.mrc"],
        ]
        assert found.coordinates is not None
        assert found.rotation is not None
        assert found.shift is not None
        assert found.score is not None
        np.testing.assert_array_equal(found.coordinates[0], [10, 100.5])
        np.testing.assert_allclose(euler_from_rotation(found.rotation)[1], [-20.5, 30, -170])
        np.testing.assert_allclose(found.shift[0], [0.12345, -1.25])
        np.testing.assert_array_equal(found.half, [1, 2, 1, 2, 1, 2])
        np.testing.assert_array_equal(found.class_number, [3, 1, 1, 2, 2, 3])
        assert np.isnan(found.score[1])
        assert found.columns["wrpUnknown"][:2] == ("x", "y y")
        assert found.probability is None

    def test_the_larger_defocus_comes_first(self, star: ParticleStar) -> None:
        ctf = star.particles.ctf
        assert ctf is not None
        assert (ctf.defocus_u[1], ctf.defocus_v[1], ctf.angle[1]) == (13500, 13000, 110)
        assert ctf.angle[0] == pytest.approx(19.61)
        assert (ctf.phase_shift[5], ctf.b_factor[1], ctf.scale[1]) == (90, 5, 0.9)

    def test_optics(self, star: ParticleStar) -> None:
        (group,) = star.particles.optics
        assert (group.name, group.box, group.pixel_size, group.premultiplied) == ("left", 12, 1.7, True)
        assert (group.optics.voltage, group.optics.cs, group.optics.amplitude_contrast) == (200, 1.4, 0.07)
        assert group.micrograph_pixel_size == 0.85
        assert group.beam_tilt == (-0.01409, 0.043489)
        assert group.odd_zernike == (0.0680480107376, -1.79877045848, 0)
        assert group.even_zernike == (45.4677386628, -1.53244542745)
        assert group.mtf == "mtf_k2.star"
        assert group.magnification is not None
        # RELION's matrix takes recorded to true frequencies (x, y): seen in maps that RELION 3.1.3 reconstructed.
        (yy, yx), (xy, xx) = group.magnification
        np.testing.assert_allclose(
            np.array([[xx, xy], [yx, yy]]) @ [[1.01, 0.002], [0.003, 0.99]], np.eye(2), atol=1e-12
        )
        assert group.columns["rlnSomethingNew"] == "kept"

    def test_relion_30_spells_otherwise(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        table = particle_table(rlnOriginXAngst=None, rlnOriginYAngst=None, rlnOpticsGroup=None)
        table |= {
            "rlnOriginX": ["1.0"] * 6,
            "rlnOriginY": ["-2.0"] * 6,
            "rlnMagnification": ["29411.764706"] * 6,
            "rlnDetectorPixelSize": ["5.0"] * 6,
            "rlnVoltage": ["300"] * 3 + ["200"] * 3,
            "rlnSphericalAberration": ["2.7"] * 6,
            "rlnAmplitudeContrast": ["0.1"] * 6,
        }
        path = tmp_path / "old.star"
        write_star(path, {"": StarBlock({}, table)})
        found = read_particles(path)
        assert found.shift is not None
        np.testing.assert_allclose(found.shift, np.tile([2 * PIXEL_SIZE, -PIXEL_SIZE], (6, 1)), rtol=1e-6)
        assert [group.optics.voltage for group in found.optics] == [300, 200]
        assert [group.name for group in found.optics] == ["opticsGroup1", "opticsGroup2"]
        np.testing.assert_array_equal(found.group, [0, 0, 0, 1, 1, 1])
        write_particles(tmp_path / "new.star", found)
        again = read_particles(tmp_path / "new.star")
        assert again.optics == found.optics
        assert "rlnVoltage" not in read_star(tmp_path / "new.star")["particles"].columns

    def test_a_single_group_need_not_be_named(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        found = read_particles(write_particle_star(tmp_path, particle_table(rlnOpticsGroup=None)))
        np.testing.assert_array_equal(found.group, np.zeros(6))

    def test_the_angle_of_a_picker_is_no_pose(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        found = read_particles(write_particle_star(tmp_path, particle_table(rlnAngleRot=None, rlnAngleTilt=None)))
        assert found.rotation is None
        assert found.columns["rlnAnglePsi"][0] == "5.000000"

    def test_an_optics_group_without_particles_is_left_out_and_told(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        second, third = (
            OPTICS | {"rlnOpticsGroup": "2"},
            OPTICS | {"rlnOpticsGroup": "7", "rlnOpticsGroupName": "right"},
        )
        table = particle_table(rlnOpticsGroup=["7", "7", "1", "7", "7", "7"])
        empty = second | {"rlnOpticsGroupName": "empty"}
        star = read_particle_star(write_particle_star(tmp_path, table, optics_block(OPTICS, empty, third)))
        assert [group.name for group in star.particles.optics] == ["left", "right"]
        np.testing.assert_array_equal(star.particles.group, [1, 1, 0, 1, 1, 1])
        assert star.notes == ("The optics group empty has no particles and is left out.",)

    def test_stacks_need_not_be_there_if_nobody_asks(self, tmp_path: Path) -> None:
        found = read_particles(write_particle_star(tmp_path), need_images=False)
        assert found.files == ("Extract/b.mrcs", "Extract/a.mrcs")
        assert found.optics[0].box == 12

    def test_relion_tells_the_format_of_a_stack_by_a_suffix(self, tmp_path: Path) -> None:
        stacks = write_stacks(tmp_path, counts=(6,))
        (tmp_path / "Extract/a.mrcs").rename(tmp_path / "Extract/a.mrc")
        names = [f"{k}@Extract/a.mrc:mrcs" for k in range(1, 7)]
        found = read_particles(write_particle_star(tmp_path, particle_table(rlnImageName=names)))
        assert found.files == (str(tmp_path / "Extract/a.mrc"),)
        assert len(stacks[0]) == len(found)
        write_particles(tmp_path / "again.star", found)
        columns = read_star(tmp_path / "again.star")["particles"].columns
        assert columns["rlnImageName"][5] == "000006@Extract/a.mrc:mrcs"


class TestRoundTrip:
    def test_every_text_and_place_survives(self, star: ParticleStar, tmp_path: Path) -> None:
        path = tmp_path / "again.star"
        assert write_particles(path, star.particles, relative_to=tmp_path, like=star.block) == []
        again = read_star(path)
        assert list(again["particles"].columns.items()) == list(star.block.columns.items())
        assert list(again["optics"].columns.items()) == [(label, [text]) for label, text in OPTICS.items()]

    def test_what_changed_is_written_and_the_rest_keeps_its_text(self, star: ParticleStar, tmp_path: Path) -> None:
        particles = star.particles
        assert particles.shift is not None
        particles.shift[2] = 1.5, -2.5
        write_particles(tmp_path / "again.star", particles, relative_to=tmp_path, like=star.block)
        columns = read_star(tmp_path / "again.star")["particles"].columns
        assert columns["rlnOriginXAngst"] == ["1.250000", "-3.00000", "2.500000", "2.000000", "4.000000", "5.000000"]
        assert columns["rlnOriginYAngst"][2] == "-1.500000"

    def test_without_the_table_the_values_are_the_same(self, star: ParticleStar, tmp_path: Path) -> None:
        write_particles(tmp_path / "again.star", star.particles, relative_to=tmp_path)
        again = read_particles(tmp_path / "again.star")
        np.testing.assert_allclose(known(again.rotation), known(star.particles.rotation), atol=1e-7)
        np.testing.assert_array_equal(again.shift, star.particles.shift)
        np.testing.assert_array_equal(again.coordinates, star.particles.coordinates)
        for name in ("defocus_u", "defocus_v", "angle", "phase_shift", "b_factor", "scale"):
            np.testing.assert_allclose(getattr(again.ctf, name), getattr(star.particles.ctf, name), atol=1e-6)
        np.testing.assert_array_equal(again.score, star.particles.score)
        assert again.columns == star.particles.columns
        assert again.optics == star.particles.optics
        assert again.files == star.particles.files

    def test_a_selection_takes_its_rows(self, star: ParticleStar, tmp_path: Path) -> None:
        chosen = star.particles.select(np.array([4, 0]))
        write_particles(tmp_path / "some.star", chosen)
        columns = read_star(tmp_path / "some.star")["particles"].columns
        assert columns["rlnImageName"] == ["000003@Extract/a.mrcs", "000002@Extract/b.mrcs"]
        assert columns["wrpUnknown"] == ["0.10", "x"]

    def test_optics_groups_left_without_particles_are_left_out(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        table = particle_table(rlnOpticsGroup=["1", "2", "2", "1", "2", "2"])
        other = OPTICS | {"rlnOpticsGroup": "2", "rlnOpticsGroupName": "right"}
        both = read_particles(write_particle_star(tmp_path, table, optics_block(OPTICS, other)))
        write_particles(tmp_path / "some.star", both.select(np.array([1, 4])))
        again = read_star(tmp_path / "some.star")
        assert again["optics"].columns["rlnOpticsGroupName"] == ["right"]
        assert again["particles"].columns["rlnOpticsGroup"] == ["1", "1"]
        assert read_particles(tmp_path / "some.star").optics == (both.optics[1],)

    def test_files_outside_the_project_are_named_in_full(self, star: ParticleStar, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        write_particles(tmp_path / "elsewhere/p.star", star.particles)
        columns = read_star(tmp_path / "elsewhere/p.star")["particles"].columns
        assert columns["rlnImageName"][0] == f"000002@{tmp_path}/Extract/b.mrcs"

    def test_groups_with_and_without_aberrations(self, star: ParticleStar, tmp_path: Path) -> None:
        plain = {label: text for label, text in OPTICS.items() if "Zernike" not in label and "MagMat" not in label}
        plain |= {"rlnOpticsGroupName": "plain", "rlnBeamTiltX": "0", "rlnBeamTiltY": "0"}
        table = particle_table(rlnOpticsGroup=["1", "1", "2", "2", "2", "2"])
        other = OPTICS | {"rlnOpticsGroup": "2", "rlnOpticsGroupName": "right"}
        both = read_particles(write_particle_star(tmp_path, table, optics_block(OPTICS, other)))
        first = read_particles(write_particle_star(tmp_path, particle_table(), optics_block(plain))).optics[0]
        assert first.magnification is None
        mixed = replace(both, optics=(first, both.optics[1]))
        write_particles(tmp_path / "mixed.star", mixed)
        assert read_particles(tmp_path / "mixed.star").optics == mixed.optics


BAD: dict[str, tuple[dict[str, Any], type[InputError], str]] = {
    "no particles": ({label: [] for label in particle_table()}, FormatError, "holds no particles"),
    "a stack that is not there": (
        {"rlnImageName": [*particle_table()["rlnImageName"][:5], "000003@Extract/gone.mrcs"]},
        InputError,
        r"the stack of 000003@Extract/gone.mrcs is not there",
    ),
    "an image beyond the end": (
        {"rlnImageName": [*particle_table()["rlnImageName"][:5], "000005@Extract/b.mrcs"]},
        FormatError,
        r"000005@.*Extract/b.mrcs is beyond the end of its stack",
    ),
    "no image in a stack": ({"rlnImageName": ["Extract/a.mrcs"] * 6}, FormatError, "is no image in a stack"),
    "no CTF": ({f"rlnDefocus{x}": None for x in ("U", "V", "Angle")}, InputError, "have no CTF"),
    "no such optics group": (
        {"rlnOpticsGroup": ["1", "1", "4", "1", "1", "1"]},
        FormatError,
        r"000001@Extract/a.mrcs is of an optics group that is not there",
    ),
    "a value that is none": (
        {"rlnDefocusU": ["1", "2", "3", "nan", "5", "6"]},
        FormatError,
        "rlnDefocusU of 000004@Extract/b.mrcs is no number",
    ),
    "a third half": ({"rlnRandomSubset": ["1", "2", "3", "1", "2", "1"]}, FormatError, "other halves"),
    "halves that are not disjoint": (
        {"rlnImageName": [*particle_table()["rlnImageName"][:5], "000002@Extract/b.mrcs"]},
        FormatError,
        r"000002@.*Extract/b.mrcs is in both half sets",
    ),
    "a magnification that contradicts": (
        {"rlnMagnification": ["10000"] * 6, "rlnDetectorPixelSize": ["1.8"] * 6},
        FormatError,
        "000002@Extract/b.mrcs contradicts its optics group",
    ),
}


class TestBadInput:
    @pytest.mark.parametrize("case", BAD)
    def test_says_which_particle_and_why(self, case: str, tmp_path: Path) -> None:
        changes, kind, message = BAD[case]
        write_stacks(tmp_path)
        with pytest.raises(kind, match=message):
            read_particles(write_particle_star(tmp_path, particle_table(**changes)))

    def test_a_header_with_another_pixel_size(self, tmp_path: Path) -> None:
        write_stacks(tmp_path, pixel_size=1.75)
        path = write_particle_star(tmp_path)
        with pytest.raises(FormatError, match=r"pixel size of 000002@.*/b.mrcs contradicts"):
            read_particles(path)
        assert read_particles(path, check_pixel_size=False).optics[0].pixel_size == 1.7

    @pytest.mark.parametrize("pixel_size", [1.0, 1.71])
    def test_a_header_that_does_not_know_or_differs_little_is_no_contradiction(
        self, pixel_size: float, tmp_path: Path
    ) -> None:
        write_stacks(tmp_path, pixel_size=pixel_size)
        assert read_particles(write_particle_star(tmp_path)).optics[0].pixel_size == 1.7

    def test_a_box_that_contradicts(self, tmp_path: Path) -> None:
        write_stacks(tmp_path, box=14)
        with pytest.raises(FormatError, match="has not its optics group's size"):
            read_particles(write_particle_star(tmp_path))

    def test_a_pixel_size_that_nobody_knows(self, tmp_path: Path) -> None:
        write_stacks(tmp_path, pixel_size=1.0)
        unknown = {label: text for label, text in OPTICS.items() if label != "rlnImagePixelSize"}
        path = write_particle_star(tmp_path, optics=optics_block(unknown))
        with pytest.raises(FormatError, match="pixel size of optics group 1 is missing"):
            read_particles(path)
        assert read_particles(path, pixel_size=3.5).optics[0].pixel_size == 3.5
        # Where the file tells, what is given for files that do not is no contradiction.
        assert read_particles(write_particle_star(tmp_path), pixel_size=3.5).optics[0].pixel_size == 1.7

    @pytest.mark.parametrize("label", ["rlnOddZernike", "rlnVoltage"])
    def test_optics_that_are_no_numbers(self, label: str, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        with pytest.raises(FormatError, match=label):
            read_particles(write_particle_star(tmp_path, optics=optics_block(OPTICS | {label: "[1.0,x]"})))

    def test_a_magnification_that_cannot_be(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        singular = OPTICS | {"rlnMagMat00": "0.002", "rlnMagMat11": "0"}
        with pytest.raises(FormatError, match="anisotropic magnification"):
            read_particles(write_particle_star(tmp_path, optics=optics_block(singular)))

    def test_a_ctf_without_a_microscope(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        lacking = {label: text for label, text in OPTICS.items() if label != "rlnVoltage"}
        with pytest.raises(FormatError, match="left lacks its microscope"):
            read_particles(write_particle_star(tmp_path, optics=optics_block(lacking)))

    def test_two_groups_of_one_name(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        table = particle_table(rlnOpticsGroup=["1", "2"] * 3)
        with pytest.raises(FormatError, match="two optics groups are called 'left'"):
            read_particles(write_particle_star(tmp_path, table, optics_block(OPTICS, OPTICS | {"rlnOpticsGroup": "2"})))

    def test_nothing_to_write(self, star: ParticleStar, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no particles to write"):
            write_particles(tmp_path / "none.star", star.particles.select(np.zeros(0, np.int64)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
@pytest.mark.parametrize(
    ("name", "count", "groups", "pixel_size"),
    [
        ("particles_aspire/sample_particles_relion30.star", 17, 2, 1.338),
        ("particles_aspire/sample_particles_relion31.star", 17, 2, 1.4),
        ("particles_cryodrgn/FinalRefinement-OriginalParticles-PfCRT.star", 5, 1, 1.035),
        ("particles_cryodrgn/relion31.6opticsgroups.star", 139, 6, 1.25),
        ("particles_cryodrgn/relion5.star", 17, 1, 0.89),
        ("particles_cryodrgn/empiar_10076_7.star", 7, 1, 1.309998),
        ("relion_bgal_simulated/refine3d_data.star", 2000, 1, 2.66),
        ("relion_bgal_simulated/class2d_data.star", 2000, 1, 2.66),
        ("metadata/relion_empiar10204_stars/data/pyem.star", 24, 1, 3.54),
    ],
)
def test_real_files(name: str, count: int, groups: int, pixel_size: float, tmp_path: Path) -> None:
    """Of RELION 3.0 to 5 and of pyem: read, and what RELION 3.1 and later have is written again as it was."""
    star = read_particle_star(SHARED / name, need_images=False)
    found = star.particles
    assert (len(found), len(found.optics)) == (count, groups)
    assert found.optics[0].pixel_size == pytest.approx(pixel_size, abs=1e-6)
    write_particles(tmp_path / "again.star", found, relative_to=SHARED / Path(name).parent, like=star.block)
    again = read_star(tmp_path / "again.star")
    gone = {"rlnOriginX", "rlnOriginY", "rlnMagnification", "rlnDetectorPixelSize"}
    gone |= {"rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast", "rlnImageName"}
    for label, texts in star.block.columns.items():
        assert label in gone or list(again["particles"].columns[label]) == list(texts), label
    for label, texts in read_star(SHARED / name).get("optics", StarBlock()).columns.items():
        assert list(again["optics"].columns[label]) == list(texts), label
