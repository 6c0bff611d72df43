"""Sentences that tell a person what is doubtful about a CTF fit."""

from __future__ import annotations

from thon.algorithms.ctf_options import CtfFitOptions
from thon.algorithms.ctf_solve import FOUND, Solution
from thon.data.ctf import CtfFit

NODE = 6.0
"""Gain of the log likelihood from which a thickness is believed."""


def ctf_warnings(fit: CtfFit, solution: Solution, options: CtfFitOptions, masked: float) -> tuple[str, ...]:
    """What a person should know.

    Args:
        fit: The fit.
        solution: How it was found.
        options: What was asked for.
        masked: Share of the image that was left out.
    """
    ctf, sigma, height = fit.ctf, fit.sigma, solution.height
    said: list[str] = []
    found = height >= FOUND and fit.resolution <= 0.8 * fit.fit_range[0]
    if not found:
        said.append(f"No rings stand out of the noise ({height:.1f} standard deviations): the defocus is a guess.")
    elif sigma.defocus_u > 0.02 * ctf.defocus:
        said.append(f"The defocus is uncertain by {sigma.defocus_u:.0f} Å.")
    if found and ctf.astigmatism > 1000 and ctf.astigmatism > 5 * max(sigma.defocus_u, sigma.defocus_v):
        said.append(f"Strong astigmatism: {ctf.astigmatism:.0f} Å.")
    if min(ctf.defocus - options.min_defocus, options.max_defocus - ctf.defocus) < 1:
        said.append("The defocus lies at the end of the range that was searched.")
    if options.fit_phase and min(abs(ctf.phase_shift - end) for end in options.phase_range) < 0.5:
        said.append("The phase shift lies at the end of the range that was searched.")
    if fit.resolution > 2.5 * max(fit.fit_range[1], 3.2):
        said.append(f"Rings fit only to {fit.resolution:.1f} Å.")
    if options.fit_thickness and solution.thickness_gain < NODE:
        said.append("No node tells the thickness of the sample: it is too thin, or the rings end too early.")
    if fit.ice_ring > 1.2:
        said.append(f"Crystalline ice: its ring is {fit.ice_ring:.2f} times as strong as what lies around it.")
    if masked > 0.2:
        said.append(f"{masked:.0%} of the image is empty, blocked or dirty and was left out.")
    return tuple(said)
