"""cryoSPARC's particles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.formats.particle_files import OPTICS, known, optics_block, write_particle_star, write_stacks
from thon.base.errors import FormatError, InputError
from thon.data.particles import Particles
from thon.formats.cryosparc import read_cryosparc
from thon.formats.cryosparc_table import build_table, group_files, load_table, write_cs, write_group
from thon.formats.cryosparc_write import write_cryosparc
from thon.formats.mrc import write_mrc
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_euler import rotation_from_euler
from thon.formats.relion_particles import read_particles, write_particles

PLAIN = {label: text for label, text in OPTICS.items() if "Zernike" not in label and "MagMat" not in label} | {
    "rlnBeamTiltX": "0",
    "rlnBeamTiltY": "0",
    "rlnCtfDataAreCtfPremultiplied": "0",
    "rlnOpticsGroupName": "exposureGroup7",
}


SHARED = Path(__file__).resolve().parents[3] / "shared/data"


@pytest.fixture
def particles(tmp_path: Path) -> Particles:
    """Particles in micrographs that are there, as their places are fractions of these."""
    write_stacks(tmp_path)
    for name in ("mic1.mrc", "mic2.mrc"):
        write_mrc(tmp_path / name, np.zeros((1, 90, 128), np.float32), 0.85)
    return read_particles(write_particle_star(tmp_path, optics=optics_block(PLAIN)))


def table_of(**fields: np.ndarray) -> np.ndarray:
    """Two particles of one stack with the fields given, `__` for `/`."""
    known = {
        "uid": np.array([7, 9], np.uint64),
        "blob/path": np.array([b">Extract/a.mrcs"] * 2),
        "blob/idx": np.array([0, 3], np.uint32),
        "blob/shape": np.array([[12, 12]] * 2, np.uint32),
        "blob/psize_A": np.array([1.7, 1.7], np.float32),
        "blob/sign": np.array([-1, -1], np.float32),
        "ctf/exp_group_id": np.array([23, 23], np.uint32),
        "ctf/accel_kv": np.array([300, 300], np.float32),
        "ctf/cs_mm": np.array([2.7, 2.7], np.float32),
        "ctf/amp_contrast": np.array([0.07, 0.07], np.float32),
        "ctf/df1_A": np.array([15301.1, 15000], np.float32),
        "ctf/df2_A": np.array([14916.4, 15200], np.float32),
        "ctf/df_angle_rad": np.array([0.092153385, 0.1], np.float32),
    }
    return build_table(known | {name.replace("__", "/"): values for name, values in fields.items()})


class TestRead:
    def test_the_ctf_is_relions(self, tmp_path: Path) -> None:
        """Values of a particle of EMPIAR-10076, whose star file says 15301.1 14916.4 5.28."""
        write_stacks(tmp_path)
        write_cs(tmp_path / "p.cs", table_of())
        ctf = read_cryosparc(tmp_path / "p.cs").particles.ctf
        assert ctf is not None
        np.testing.assert_allclose(ctf.defocus_u, [15301.1, 15200], rtol=1e-6)
        np.testing.assert_allclose(ctf.defocus_v, [14916.4, 15000], rtol=1e-6)
        np.testing.assert_allclose(ctf.angle, [5.28, np.rad2deg(0.1) + 90], rtol=1e-6)

    def test_optics_and_the_images_sign(self, tmp_path: Path) -> None:
        stacks = write_stacks(tmp_path)
        write_cs(tmp_path / "p.cs", table_of())
        found = read_cryosparc(tmp_path / "p.cs").particles
        (group,) = found.optics
        assert (group.name, group.box, group.pixel_size, group.dark) == ("exposureGroup23", 12, 1.7, True)
        assert (group.optics.voltage, group.optics.cs, group.optics.amplitude_contrast) == (300, 2.7, 0.07)
        with ParticleImages(found) as images:
            np.testing.assert_array_equal(images.read(np.array([0, 1])), -stacks[0][[0, 3]])

    def test_a_pose_is_relions_turned_round(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        pose = np.array([[0, 0, np.pi / 2], [0.3, -0.2, 0.5]], np.float32)
        shift = np.array([[2.0, -3.0], [0, 0]], np.float32)
        size = np.array([3.4, 3.4], np.float32)
        table = table_of(alignments3D__pose=pose, alignments3D__shift=shift, alignments3D__psize_A=size)
        write_cs(tmp_path / "p.cs", table)
        found = read_cryosparc(tmp_path / "p.cs").particles
        assert found.rotation is not None
        assert found.shift is not None
        np.testing.assert_allclose(found.rotation[:1], rotation_from_euler(np.array([[0.0, 0, 90]])), atol=1e-6)
        np.testing.assert_allclose(found.rotation[1] @ found.rotation[1].T, np.eye(3), atol=1e-12)
        # Another pixel size than the images' own: shifts count its pixels.
        np.testing.assert_allclose(found.shift[0], [10.2, -6.8], rtol=1e-6)

    def test_classes_of_two_dimensions_count_from_one(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        fields = {
            "alignments2D__pose": np.array([0.5, 5.0], np.float32),
            "alignments2D__shift": np.zeros((2, 2), np.float32),
            "alignments2D__class": np.array([4, 0], np.uint32),
        }
        write_cs(tmp_path / "p.cs", table_of(**fields))
        found = read_cryosparc(tmp_path / "p.cs").particles
        expected = rotation_from_euler(np.array([[0, 0, np.rad2deg(0.5)], [0, 0, np.rad2deg(5.0)]]))
        np.testing.assert_array_equal(found.class_number, [5, 1])
        np.testing.assert_allclose(known(found.rotation), expected, atol=1e-7)

    @pytest.mark.parametrize(("values", "halves"), [((0, 1), [1, 2]), ((0, 0), None)])
    def test_halves(self, values: tuple[int, int], halves: list[int] | None, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        write_cs(tmp_path / "p.cs", table_of(alignments3D__split=np.array(values, np.uint32)))
        found = read_cryosparc(tmp_path / "p.cs").particles.half
        assert found is None if halves is None else found is not None and found.tolist() == halves

    def test_what_is_left_out_is_told(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        write_cs(tmp_path / "p.cs", table_of(ctf__tilt_A=np.ones((2, 2), np.float32)))
        assert "beam tilt" in read_cryosparc(tmp_path / "p.cs").notes[0]

    def test_a_group_gathers_fields_by_particle(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        whole = table_of(alignments3D__split=np.array([0, 1], np.uint32))
        names = ["uid", *(name for name in whole.dtype.names or () if name.startswith("ctf/"))]
        write_cs(tmp_path / "second.cs", whole[names][::-1])
        write_cs(
            tmp_path / "first.cs", whole[[name for name in whole.dtype.names or () if not name.startswith("ctf/")]]
        )
        text = "group:\n  name: particles\nresults:\n"
        text += "".join(
            f"  {slot}:\n    metafile: '>{name}.cs'\n    num_items: 2\n    type: particle.{slot}\n"
            for slot, name in (("blob", "first"), ("ctf", "second"))
        )
        (tmp_path / "p.csg").write_text(text + "version: v4\n")
        found = load_table(tmp_path / "p.csg")
        assert set(found.dtype.names or ()) == set(whole.dtype.names or ())
        for name in whole.dtype.names or ():
            np.testing.assert_array_equal(found[name], whole[name])
        assert len(read_cryosparc(tmp_path / "p.csg").particles) == 2


class TestRoundTrip:
    def test_star_to_cs_to_star(self, particles: Particles, tmp_path: Path) -> None:
        """Everything that both formats have, equal to what float32 holds."""
        assert write_cryosparc(tmp_path / "p.cs", particles) == []
        write_particles(tmp_path / "p.star", read_cryosparc(tmp_path / "p.cs").particles)
        again = read_particles(tmp_path / "p.star")
        np.testing.assert_allclose(known(again.rotation), known(particles.rotation), atol=1e-6)
        np.testing.assert_allclose(known(again.shift), known(particles.shift), atol=1e-6)
        np.testing.assert_allclose(known(again.coordinates), known(particles.coordinates), rtol=1e-6)
        for name in ("defocus_u", "defocus_v", "angle", "phase_shift", "b_factor", "scale"):
            np.testing.assert_allclose(
                getattr(again.ctf, name), getattr(particles.ctf, name), rtol=1e-6, atol=2e-6, err_msg=name
            )
        for name in ("half", "class_number", "section", "file", "micrograph", "group"):
            np.testing.assert_array_equal(getattr(again, name), getattr(particles, name), err_msg=name)
        np.testing.assert_allclose(known(again.score), known(particles.score), rtol=1e-6)
        assert again.files == particles.files
        assert again.micrographs == particles.micrographs
        assert again.optics[0].name == "exposureGroup7"
        assert again.optics[0].optics == particles.optics[0].optics
        assert again.optics[0].micrograph_pixel_size == 0.85

    def test_unknown_fields_survive_beside_the_table(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        table = table_of(ctf__tilt_A=np.ones((2, 2), np.float32), blob__import_sig=np.array([1, 2], np.uint64))
        write_cs(tmp_path / "p.cs", table)
        write_cryosparc(tmp_path / "again.cs", read_cryosparc(tmp_path / "p.cs").particles, like=table)
        again = load_table(tmp_path / "again.cs")
        for name in ("uid", "ctf/tilt_A", "blob/import_sig", "blob/sign", "ctf/accel_kv", "ctf/exp_group_id"):
            np.testing.assert_array_equal(again[name], table[name], err_msg=name)

    def test_exposure_groups_of_different_names_do_not_meet(self, particles: Particles, tmp_path: Path) -> None:
        first = replace(particles.optics[0], name="opticsGroup1")
        second = replace(particles.optics[0], name="exposureGroup0")
        group = np.array([0, 1, 0, 1, 0, 1])
        write_cryosparc(tmp_path / "p.cs", replace(particles, optics=(first, second), group=group))
        np.testing.assert_array_equal(load_table(tmp_path / "p.cs")["ctf/exp_group_id"], group)

    def test_cryosparc_finds_a_particle_by_the_same_number(self, particles: Particles, tmp_path: Path) -> None:
        write_cryosparc(tmp_path / "a.cs", particles)
        first = load_table(tmp_path / "a.cs")["uid"]
        write_cryosparc(tmp_path / "a.cs", particles.select(np.array([3, 1])))
        np.testing.assert_array_equal(load_table(tmp_path / "a.cs")["uid"], first[[3, 1]])
        assert len(set(first.tolist())) == len(particles)

    def test_the_group_lists_the_slots(self, particles: Particles, tmp_path: Path) -> None:
        write_cryosparc(tmp_path / "p.cs", particles)
        slots = {"alignments3D", "blob", "ctf", "location", "pick_stats"}
        assert group_files(tmp_path / "p.csg") == dict.fromkeys(slots, "p.cs")

    def test_places_need_micrographs(self, particles: Particles, tmp_path: Path) -> None:
        (tmp_path / "mic2.mrc").unlink()
        (note,) = write_cryosparc(tmp_path / "p.cs", particles)
        assert "mic2.mrc" in note
        assert read_cryosparc(tmp_path / "p.cs").particles.coordinates is None


class TestBadInput:
    def test_no_particles(self, tmp_path: Path, particles: Particles) -> None:
        write_cs(tmp_path / "p.cs", table_of()[:0])
        with pytest.raises(FormatError, match="holds no particles"):
            read_cryosparc(tmp_path / "p.cs")
        with pytest.raises(InputError, match="no particles to write"):
            write_cryosparc(tmp_path / "p.cs", particles.select(np.zeros(0, np.int64)))

    def test_fields_without_which_there_are_no_images(self, tmp_path: Path) -> None:
        table = table_of()
        write_cs(tmp_path / "p.cs", table[[name for name in table.dtype.names or () if name != "blob/idx"]])
        with pytest.raises(FormatError, match="fields blob/idx"):
            read_cryosparc(tmp_path / "p.cs")

    def test_missing_stacks(self, tmp_path: Path) -> None:
        write_cs(tmp_path / "p.cs", table_of())
        with pytest.raises(InputError, match="a stack of particles is not there"):
            read_cryosparc(tmp_path / "p.cs")
        assert read_cryosparc(tmp_path / "p.cs", need_images=False).particles.files == ("Extract/a.mrcs",)

    def test_missing_ctf(self, tmp_path: Path) -> None:
        table = table_of()
        write_cs(tmp_path / "p.cs", table[[name for name in table.dtype.names or () if "df" not in name]])
        with pytest.raises(InputError, match="have no CTF"):
            read_cryosparc(tmp_path / "p.cs")

    def test_one_exposure_group_with_two_microscopes(self, tmp_path: Path) -> None:
        write_stacks(tmp_path)
        write_cs(tmp_path / "p.cs", table_of(ctf__accel_kv=np.array([300, 200], np.float32)))
        with pytest.raises(InputError, match="exposure group has several"):
            read_cryosparc(tmp_path / "p.cs")

    @pytest.mark.parametrize("data", [b"\x94CSDAT123", b"no array", b"\x93NUMPY\x01\x00"])
    def test_no_cs_file(self, data: bytes, tmp_path: Path) -> None:
        (tmp_path / "p.cs").write_bytes(data)
        with pytest.raises(FormatError, match=r"is no .cs file|stream format"):
            read_cryosparc(tmp_path / "p.cs")

    def test_a_plain_array(self, tmp_path: Path) -> None:
        with (tmp_path / "p.cs").open("wb") as file:
            np.save(file, np.zeros(3))
        with pytest.raises(FormatError, match="structured array"):
            read_cryosparc(tmp_path / "p.cs")

    def test_a_group_of_different_particles(self, tmp_path: Path) -> None:
        write_cs(tmp_path / "a.cs", table_of())
        write_cs(tmp_path / "b.cs", table_of(uid=np.array([7, 8], np.uint64)))
        write_group(tmp_path / "a.csg", "a.cs", table_of(), ["blob"])
        text = (tmp_path / "a.csg").read_text()
        extra = text.split("results:\n")[1].split("version")[0].replace("a.cs", "b.cs").replace("blob", "ctf")
        (tmp_path / "a.csg").write_text(text.replace("version", f"{extra}version"))
        with pytest.raises(FormatError, match="not of the same particles"):
            read_cryosparc(tmp_path / "a.csg")

    def test_a_group_that_lists_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "a.csg").write_text("results: {}\n")
        with pytest.raises(FormatError, match=r"lists no .cs files"):
            read_cryosparc(tmp_path / "a.csg")

    def test_aberrations_are_told(self, particles: Particles, tmp_path: Path) -> None:
        plain = replace(particles.optics[0], premultiplied=False)
        tilted = replace(particles, optics=(replace(plain, beam_tilt=(0.1, 0.0)),))
        assert write_cryosparc(tmp_path / "p.cs", tilted) == [
            "Beam tilt, aberrations and anisotropic magnification are left out."
        ]
        assert write_cryosparc(tmp_path / "q.cs", replace(particles, optics=(plain,))) == []

    def test_multiplied_images_are_told(self, particles: Particles, tmp_path: Path) -> None:
        multiplied = replace(particles, optics=(replace(particles.optics[0], premultiplied=True),))
        (note,) = write_cryosparc(tmp_path / "p.cs", multiplied)
        assert note.startswith("The images were multiplied by their CTFs")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
class TestRealFiles:
    def test_a_refinement_of_t20s(self, tmp_path: Path) -> None:
        """11 764 particles; poses, shifts, CTFs and halves survive star and back as far as float32 goes."""
        path = SHARED / "cryosparc_t20s/cryosparc_P9_J209_000_particles.cs"
        found = read_cryosparc(path, need_images=False)
        particles = found.particles
        assert len(particles) == 11_764
        assert particles.half is not None
        assert np.bincount(particles.half).tolist() == [0, 5882, 5882]
        bright = replace(particles, optics=(replace(particles.optics[0], dark=False),))
        write_particles(tmp_path / "p.star", bright)
        write_cryosparc(tmp_path / "p.cs", read_particles(tmp_path / "p.star", need_images=False), like=found.table)
        again = load_table(tmp_path / "p.cs")
        for name in ("ctf/df1_A", "ctf/df2_A", "ctf/accel_kv", "uid", "alignments3D/split", "alignments3D/error"):
            np.testing.assert_array_equal(again[name], found.table[name], err_msg=name)
        np.testing.assert_allclose(again["alignments3D/shift"], found.table["alignments3D/shift"], atol=1e-5)
        matrices = [rotations(table["alignments3D/pose"]) for table in (again, found.table)]
        np.testing.assert_allclose(matrices[0], matrices[1], atol=1e-6)

    def test_a_star_and_a_cs_file_of_the_same_particles(self) -> None:
        folder = SHARED / "particles_cryodrgn"
        star = read_particles(folder / "empiar_10076_7.star")
        found = read_cryosparc(folder / "empiar_10076_7.cs").particles
        for name in ("defocus_u", "defocus_v", "angle", "phase_shift"):
            np.testing.assert_allclose(getattr(found.ctf, name), getattr(star.ctf, name), rtol=1e-6, err_msg=name)
        assert found.optics[0].optics == star.optics[0].optics
        assert found.optics[0].pixel_size == pytest.approx(star.optics[0].pixel_size, abs=1e-6)
        assert found.files == star.files
        np.testing.assert_array_equal(found.section, star.section)


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Rodrigues' formula, by its series-free form."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = (vectors.astype(np.float64) / angle[:, 0]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
