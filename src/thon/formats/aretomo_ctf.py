"""What AreTomo 3's `_CTF.txt` and `_CTF_Imod.txt` say about a series, both ways.

Both have a row for each image of the stack, dark ones included, unlike the `.aln`. The hand of `_CTF.txt` is minus the
house's, which is RELION's (so says the converter aretomo3torelion5). AreTomo's own `_CTF_Imod.txt` is an IMOD defocus
file with two slips that are read for what they mean and not repeated: the smaller defocus stands first while the angle
is the larger one's, and with phase shifts the column of tilt angles holds the defocus.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.ctf import TiltCtf
from thon.formats.aretomo_tables import AreTomoCtf
from thon.formats.ctf_values import tilt_ctf
from thon.formats.imod_defocus import ImodDefocus, ctf_to_defocus, read_imod_defocus, write_imod_defocus
from thon.formats.text import PathLike


def table_to_ctf(table: AreTomoCtf, count: int | None = None) -> tuple[TiltCtf, int | None]:
    """The CTF of each image of the stack, and the hand of the series (+1 or −1; None where the file does not say).

    Args:
        table: Content of a `_CTF.txt`.
        count: Images of the stack; as many as the table names where not given. A defocus of 0 means no fit.

    Raises:
        InputError: If the table names images beyond `count`.
    """
    count = int(table.image.max()) + 1 if count is None else count
    if table.image.max() >= count:
        raise InputError("the CTF table names images beyond the stack", got=table.image.max() + 1, expected=count)
    columns = np.full((count, 6), np.nan)
    values = (table.defocus, table.azimuth, np.rad2deg(table.phase), table.correlation, table.resolution)
    columns[table.image] = np.column_stack(values)
    columns[(columns[:, :2] == 0).all(1)] = np.nan
    ctf = tilt_ctf(
        columns[:, :2],
        columns[:, 2],
        phase_shift=columns[:, 3].copy(),
        score=columns[:, 4].copy(),
        resolution=columns[:, 5].copy(),
    )
    votes = int(table.hand.sum())
    return ctf, None if votes == 0 else int(-np.sign(votes))


def ctf_to_table(ctf: TiltCtf, hand: int | None = None) -> AreTomoCtf:
    """A `_CTF.txt` for all images of the stack.

    Args:
        ctf: Of the series in the stack's order, dark images included; those without a fit get zeros.
        hand: +1 or −1 as in the house; None leaves the column out.
    """
    count = len(ctf)
    return AreTomoCtf(
        image=np.arange(count),
        defocus=np.stack([ctf.defocus_u, ctf.defocus_v], -1),
        azimuth=ctf.angle,
        phase=np.deg2rad(ctf.phase_shift),
        correlation=ctf.score,
        resolution=ctf.resolution,
        hand=np.full(count, 0 if hand is None else -hand),
    )


def read_ctf_imod(path: PathLike) -> ImodDefocus:
    """Read a `_CTF_Imod.txt`, AreTomo's own or one that is as IMOD has it.

    Returns:
        The larger defocus first with its angle. Tilt angles are NaN where AreTomo wrote the defocus in their place.

    Raises:
        InputError: If there is no such file.
        FormatError: If it is no defocus file.
    """
    found = read_imod_defocus(path)
    first, second = found.defocus.T
    if found.astigmatic and (first <= second).all():
        found = replace(found, defocus=found.defocus[:, ::-1])
    if (np.abs(found.tilt) > 360).any():
        found = replace(found, tilt=np.full_like(found.tilt, np.nan))
    return found


def write_ctf_imod(
    path: PathLike, ctf: TiltCtf, tilt: Float[np.ndarray, "tilts"], index: list[int] | np.ndarray | None = None
) -> None:
    """Write a `_CTF_Imod.txt` as IMOD means it, so that ctfphaseflip takes it.

    Args:
        path: File to write.
        ctf: Of the whole series.
        tilt: Tilt angles of the whole series, degrees.
        index: Images in the stack the file is for, in its order; all where not given.

    Raises:
        InputError: If no image has a fit.
    """
    write_imod_defocus(path, ctf_to_defocus(ctf, tilt, index))
