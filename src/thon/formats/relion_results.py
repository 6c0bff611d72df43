"""What a classification or refinement made, written as a job of a RELION project.

A refinement becomes `Refine3D/jobNNN/run_*`, a classification `Class2D` or `Class3D/jobNNN/run_it025_*`: particles,
model, sampling and optimiser stars, maps, and the job in the project's pipeline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.maps import ClassifiedParticles, RefinedParticles, ShellCurves
from thon.data.particles import Particles
from thon.data.volume import Volume
from thon.formats.maps import read_map
from thon.formats.mrc import open_mrc, write_mrc
from thon.formats.relion_model import RelionClass, RelionModel
from thon.formats.relion_model_write import write_model
from thon.formats.relion_optimiser import RelionOptimiser, write_optimiser
from thon.formats.relion_particles import write_particles
from thon.formats.relion_pipeline import RelionJob, add_job, next_job_folder
from thon.formats.relion_sampling import RelionSampling, write_sampling
from thon.formats.text import PathLike

_ITERATION = 25
_ORDER = 1
_LARGEST_SSNR = 999.0
_TITLES = {"Refine3D": "relion.refine3d", "Class3D": "relion.class3d", "Class2D": "relion.class2d"}


def write_results(
    project: PathLike,
    found: RefinedParticles | ClassifiedParticles,
    noise: Sequence[Float[np.ndarray, "shells"]],
    *,
    for_relion_3: bool = False,
) -> list[str]:
    """Write what a classification or refinement made as the next job of a RELION project.

    Args:
        project: Its folder, new or old.
        found: What was made.
        noise: Variance of the noise of each optics group by shell, in RELION's scale.
        for_relion_3: Write for RELION 3.1 what only that reads.

    Returns:
        Sentences about what was left out.

    Raises:
        InputError: There are no maps, or they cannot be read.
    """
    root = Path(project)
    title = _title(found)
    folder = next_job_folder(root, title)
    (root / folder).mkdir(parents=True)
    stem = f"{folder}/run" if title == "Refine3D" else f"{folder}/run_it{_ITERATION:03d}"
    maps = (
        _write_refined(root, folder, found)
        if isinstance(found, RefinedParticles)
        else _write_classes(root, stem, found)
    )
    particles, groups = _grouped(found)
    notes = write_particles(root / f"{stem}_data.star", particles, relative_to=root)
    model = _model(found, maps, groups, noise)
    sampling = _sampling(found, model)
    write_model(root / f"{stem}_model.star", model, sampling, for_relion_3=for_relion_3)
    write_sampling(root / f"{stem}_sampling.star", sampling)
    optimiser = RelionOptimiser(
        root=f"{folder}/run",
        model=f"{stem}_model.star",
        data=f"{stem}_data.star",
        sampling=f"{stem}_sampling.star",
        iteration=-1 if title == "Refine3D" else _ITERATION,
        iterations=999 if title == "Refine3D" else _ITERATION,
        diameter=found.diameter or 0.9 * model.box * model.pixel_size,
        mask=_write_mask(root, folder, found),
        refine=title == "Refine3D",
    )
    write_optimiser(root / f"{stem}_optimiser.star", optimiser)
    add_job(root, RelionJob(folder, _TITLES[title], outputs=_nodes(title, stem, maps)))
    if title == "Class3D" and sampling.directions is None:
        order = f"--healpix_order {_ORDER + 1}"
        notes.append(f"RELION goes on from {stem}_optimiser.star when it is given another sampling, such as {order}.")
    return notes


def _title(found: RefinedParticles | ClassifiedParticles) -> str:
    if isinstance(found, RefinedParticles):
        return "Refine3D"
    return "Class3D" if found.averages is None else "Class2D"


def _write_refined(root: Path, folder: str, found: RefinedParticles) -> list[str]:
    name = f"{folder}/run_class001.mrc"
    _copy(found.volume, root / name)
    _copy(found.first, root / f"{folder}/run_half1_class001_unfil.mrc")
    _copy(found.second, root / f"{folder}/run_half2_class001_unfil.mrc")
    return [name]


def _write_classes(root: Path, stem: str, found: ClassifiedParticles) -> list[str]:
    """Names of the classes' maps, or of their averages in one stack."""
    if found.averages is not None:
        name = f"{stem}_classes.mrcs"
        with open_mrc(found.averages.path) as stack:
            write_mrc(root / name, stack.asarray().astype(np.float32), found.averages.voxel_size)
        return [f"{k:06d}@{name}" for k in range(1, len(found.classes) + 1)]
    names = [f"{stem}_class{k:03d}.mrc" for k in range(1, len(found.classes) + 1)]
    for one, name in zip(found.classes, names, strict=True):
        if one.volume is None:
            raise InputError("a class has neither a map nor an average", got=PurePosixPath(name).name)
        _copy(one.volume, root / name)
    return names


def _copy(volume: Volume, path: Path) -> None:
    """A map with the voxel size of its record in the header."""
    values, voxel_size = read_map(volume)
    write_mrc(path, values, voxel_size, kind="volume")


def _write_mask(root: Path, folder: str, found: RefinedParticles | ClassifiedParticles) -> str | None:
    mask = found.mask if isinstance(found, RefinedParticles) else None
    if mask is None:
        return None
    _copy(mask, root / f"{folder}/mask.mrc")
    return f"{folder}/mask.mrc"


def _grouped(found: Particles) -> tuple[Particles, dict[str, tuple[int, float]]]:
    """Particles that say which group they are of, which is their micrograph, and how many each group has."""
    names = [*(PurePosixPath(name).name.replace(" ", "_") for name in found.micrographs), "none"]
    texts = [names[k] for k in found.micrograph.tolist()]
    counts = Counter(texts)
    numbers = {name: str(k) for k, name in enumerate(counts, 1)}
    columns = dict(found.columns) | {
        "rlnGroupNumber": tuple(numbers[text] for text in texts),
        "rlnGroupName": tuple(texts),
    }
    return replace(found.plain(), columns=columns), {name: (count, 1.0) for name, count in counts.items()}


def _model(
    found: RefinedParticles | ClassifiedParticles,
    maps: list[str],
    groups: dict[str, tuple[int, float]],
    noise: Sequence[Float[np.ndarray, "shells"]],
) -> RelionModel:
    flat = isinstance(found, ClassifiedParticles) and found.averages is not None
    volume = _volume(found)
    box, pixel_size = volume.shape[-1], volume.voxel_size
    known = (
        [(1.0, found.resolution)]
        if isinstance(found, RefinedParticles)
        else [(c.share, c.resolution) for c in found.classes]
    )
    curves = found.curves if isinstance(found, RefinedParticles) else None
    spectra = tuple(_resized(one, box // 2 + 1) for one in noise)
    classes = tuple(
        _class(name, share, resolution, _ssnr(box, pixel_size, resolution, curves), spectra[0] / len(found))
        for name, (share, resolution) in zip(maps, known, strict=True)
    )
    finite = [resolution for _, resolution in known if np.isfinite(resolution)]
    return RelionModel(
        dimensions=2 if flat else 3,
        box=box,
        pixel_size=pixel_size,
        classes=classes,
        groups=groups,
        noise=spectra,
        resolution=min(finite, default=10 * pixel_size),
        tau2_fudge=1.0 if isinstance(found, RefinedParticles) else 2.0 if flat else 4.0,
        norm_average=1.0 if found.norm is None else float(found.norm.mean()),
        sigma_offset=3.0 if found.shift is None else max(float(found.shift.std()), pixel_size / 2),
        log_likelihood=0.0 if found.likelihood is None else float(found.likelihood.sum()),
        probability=0.0 if found.probability is None else float(found.probability.mean()),
    )


def _volume(found: RefinedParticles | ClassifiedParticles) -> Volume:
    if isinstance(found, RefinedParticles):
        return found.volume
    volume = found.averages or found.classes[0].volume
    if volume is None:
        raise InputError("the classes have neither maps nor averages")
    return volume


def _resized(spectrum: Float[np.ndarray, "shells"], shells: int) -> Float[np.ndarray, "more"]:
    """A spectrum of another box's images on the shells of the model, the last value repeated."""
    return np.interp(np.arange(shells) / (shells - 1), np.linspace(0, 1, len(spectrum)), spectrum)


def _ssnr(box: int, pixel_size: float, resolution: float, curves: ShellCurves | None) -> Float[np.ndarray, "shells"]:
    """Signal over noise of a map: from its FSC, or else as much as its resolution says."""
    frequency = np.arange(box // 2 + 1) / (box * pixel_size)
    if curves is None:
        limit = 1 / resolution if np.isfinite(resolution) else 0.0
        return np.where(frequency <= limit, 10.0, 0.1)
    fsc = np.clip(np.interp(frequency, curves.frequency, np.nan_to_num(curves.best)), 1e-3, 1 - 1e-6)
    return np.minimum(fsc / (1 - fsc), _LARGEST_SSNR)


def _class(
    image: str,
    share: float,
    resolution: float,
    ssnr: Float[np.ndarray, "shells"],
    sigma2: Float[np.ndarray, "shells"],
) -> RelionClass:
    """A class whose variances are about right: RELION computes them anew before it needs them."""
    return RelionClass(
        image=image,
        share=share,
        resolution=resolution,
        ssnr=ssnr,
        fsc=ssnr / (1 + ssnr),
        sigma2=sigma2,
        tau2=ssnr * sigma2,
    )


def _sampling(found: RefinedParticles | ClassifiedParticles, model: RelionModel) -> RelionSampling:
    """A coarse one, which RELION makes finer as it goes on."""
    return RelionSampling(
        order=_ORDER,
        psi_step=60 / 2**_ORDER,
        offset_range=5 * model.pixel_size,
        offset_step=2 * model.pixel_size,
        symmetry=found.symmetry,
        dimensions=model.dimensions,
    )


def _nodes(title: str, stem: str, maps: list[str]) -> dict[str, str]:
    """What RELION's window offers to other jobs."""
    kind = title.lower()
    nodes = {
        f"{stem}_data.star": f"ParticleGroupMetadata.star.relion.{kind}",
        f"{stem}_optimiser.star": f"OptimiserData.star.relion.{kind}",
    }
    if title == "Class2D":
        return nodes
    nodes |= dict.fromkeys(maps, f"DensityMap.mrc.relion.{kind}")
    if title == "Refine3D":
        nodes[f"{PurePosixPath(stem).parent}/run_half1_class001_unfil.mrc"] = f"DensityMap.mrc.relion.halfmap.{kind}"
    return nodes
