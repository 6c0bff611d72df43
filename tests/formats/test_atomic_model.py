"""Small models, written here as PDB and mmCIF."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.formats.atomic_model import is_atomic_model, read_atomic_model

PDB = """\
ATOM      1  N   GLY A   1      11.104   6.134  -6.504  1.00 12.50           N
ATOM      2  CA AGLY A   1      11.639   6.071  -5.147  0.60 20.00           C
ATOM      3  CA BGLY A   1      11.700   6.100  -5.200  0.40 30.00           C
ATOM      4  C   GLY A   1      13.107   5.673  -5.149  1.00  9.00           C
ATOM      5  O   GLY A   1      13.700   5.000  -6.000  1.00  9.00           O
HETATM    6 MG    MG A 100       0.000   1.000   2.000  1.00 40.00          MG
HETATM    7  O   HOH A 201       5.000   5.000   5.000  1.00 40.00           O
END
"""

CIF = """\
data_test
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.pdbx_PDB_model_num
ATOM 1 C CA . ALA A 1 1 A 1.5 -2.5 3.5 0.5 17 1
ATOM 2 C CB . ALA A 1 1 A 2.5 -3.5 4.5 1.0 18 1
ATOM 3 C CA . ALA A 1 1 A 9.5 -9.5 9.5 1.0 19 2
"""


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pdb_file_gives_its_atoms(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / ("small.pdb.gz" if zipped else "small.pdb")
    path.write_bytes(gzip.compress(PDB.encode()) if zipped else PDB.encode())
    model = read_atomic_model(path)
    assert model.element == ("N", "C", "C", "C", "O", "MG")
    np.testing.assert_allclose(model.position[0], [-6.504, 6.134, 11.104])
    np.testing.assert_allclose(model.bfactor, [12.5, 20, 30, 9, 9, 40])
    np.testing.assert_allclose(model.occupancy, [1, 0.6, 0.4, 1, 1, 1])
    # Glycine has five hydrogens, shared by its atoms; magnesium has none.
    assert model.hydrogens[:5].sum() == pytest.approx(5)
    assert model.hydrogens[5] == 0
    assert is_atomic_model(path)


def test_waters_come_on_request(tmp_path: Path) -> None:
    (tmp_path / "small.pdb").write_text(PDB)
    with_water = read_atomic_model(tmp_path / "small.pdb", waters=True)
    assert len(with_water) == 7
    np.testing.assert_allclose(with_water.position[-1], 5)


def test_of_several_models_in_mmcif_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "small.cif").write_text(CIF)
    model = read_atomic_model(tmp_path / "small.cif")
    np.testing.assert_allclose(model.position, [[3.5, -2.5, 1.5], [4.5, -3.5, 2.5]])
    np.testing.assert_allclose(model.occupancy, [0.5, 1])
    assert model.element == ("C", "C")


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_atomic_model(tmp_path / "none.pdb")
    (tmp_path / "empty.pdb").write_text("END\n")
    with pytest.raises(InputError, match="no atoms"):
        read_atomic_model(tmp_path / "empty.pdb")
    (tmp_path / "broken.cif").write_text("loop_\n_atom_site.id\n_atom_site.x\n1 2 3\n")
    with pytest.raises(FormatError, match=r"broken\.cif"):
        read_atomic_model(tmp_path / "broken.cif")
    unknown = PDB.replace("          MG\n", "          XX\n")
    (tmp_path / "strange.pdb").write_text(unknown)
    with pytest.raises(FormatError, match="no known element"):
        read_atomic_model(tmp_path / "strange.pdb")
    zipped = gzip.compress(PDB.encode() * 3)
    for name, content in (("cut.pdb.gz", zipped[:-9]), ("text.pdb.gz", b"nothing")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match="no whole gzip file"):
            read_atomic_model(tmp_path / name)
    assert not is_atomic_model("density.mrc")
    assert not is_atomic_model("density.map.gz")
