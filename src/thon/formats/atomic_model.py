"""Atomic models: PDB, mmCIF and mmJSON, plain or gzip, through gemmi."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.data.atoms import AtomicModel
from thon.formats.text import PathLike

MODEL_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".json")


def is_atomic_model(path: PathLike) -> bool:
    """Whether a file's name says that it holds an atomic model."""
    names = [suffix.lower() for suffix in Path(path).suffixes]
    return bool(names) and (names[-1] in MODEL_SUFFIXES or (names[-1] == ".gz" and names[-2:-1] != [".map"]))


def read_atomic_model(path: PathLike, *, waters: bool = False) -> AtomicModel:
    """The atoms of the first model in a file.

    The file's own coordinates are taken: a crystal's asymmetric unit is not expanded. Hydrogens that the model lacks
    are counted by the residue's name and shared among its atoms.

    Args:
        path: PDB, mmCIF or mmJSON, also gzip.
        waters: Keep waters of the model, which a simulated ice has anyway.

    Raises:
        InputError: If there is no such file, or it holds no atoms.
        FormatError: If it cannot be understood.
    """
    if not Path(path).is_file():
        raise InputError("there is no such file", path=path, expected="a PDB or mmCIF file")
    if Path(path).suffix.lower() == ".gz":
        _require_whole(path)
    try:
        structure = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError) as error:
        raise FormatError("is no PDB or mmCIF file", path=path, got=error) from error
    residues = [residue for chain in structure[0] for residue in chain] if len(structure) else []
    parts = [_atoms(residue) for residue in residues if waters or not residue.is_water()]
    elements = tuple(element for names, _ in parts for element in names)
    if not elements:
        raise InputError("holds no atoms", path=path, expected="ATOM or HETATM records, or an _atom_site loop")
    numbers = np.concatenate([values for _, values in parts])
    unknown = sorted({element for element in elements if gemmi.Element(element).atomic_number == 0})
    if unknown or not np.isfinite(numbers).all():
        raise FormatError("atoms have no known element or no position", path=path, got=", ".join(unknown))
    return AtomicModel(
        name=structure.name or Path(path).name.split(".")[0],
        element=elements,
        position=numbers[:, :3],
        bfactor=numbers[:, 3],
        occupancy=numbers[:, 4],
        hydrogens=numbers[:, 5],
    )


def _require_whole(path: PathLike) -> None:
    """Refuse gzip that breaks off: gemmi takes what is left of it for the model."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise FormatError("is no whole gzip file", path=path, got=error, mend="copy it again") from error


def _atoms(residue: gemmi.Residue) -> tuple[list[str], Float[np.ndarray, "atoms 6"]]:
    """Elements, and z, y, x, B-factor, occupancy and share of hydrogens of each atom."""
    names = [atom.element.name.upper() for atom in residue]
    heavy = sum(not atom.is_hydrogen() for atom in residue)
    listed = len(names) - heavy
    known = gemmi.find_tabulated_residue(residue.name)
    share = known.hydrogen_count / heavy if known.found() and heavy and not listed else 0.0
    rows = [
        (atom.pos.z, atom.pos.y, atom.pos.x, atom.b_iso, atom.occ, 0.0 if atom.is_hydrogen() else share)
        for atom in residue
    ]
    return names, np.array(rows, np.float64).reshape(-1, 6)
