"""One reconstruction from images to volumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from thon.algorithms.ctf_correction import ImageRestoration
from thon.algorithms.reconstruction.admm import Admm, Penalties
from thon.algorithms.reconstruction.blocks import Blocks, BlockSystem, rows_with_halo
from thon.algorithms.reconstruction.filtered import filter_weights, weigh
from thon.algorithms.reconstruction.grid import ReconstructionGrid
from thon.algorithms.reconstruction.iterative import Monitor, ordered_subsets, solve_cg, solve_sirt
from thon.algorithms.reconstruction.options import ReconstructOptions
from thon.algorithms.reconstruction.output import Sink, Statistics, VolumeWriter, output_shape, slab_index, unorient
from thon.algorithms.reconstruction.plan import CENTRAL_BOX, ReconstructionPlan, plan_for
from thon.algorithms.reconstruction.storage import Storage
from thon.algorithms.reconstruction.stream import ImageSource, LaidOut, lay_out_blocks
from thon.algorithms.reconstruction.weights import Rays
from thon.base.errors import InputError
from thon.ops.fourier import soft_edge
from thon.ops.fsc import ShellCorrelation, fourier_shell_correlation


@dataclass(frozen=True)
class Reconstruction:
    """What `reconstruct` made.

    Args:
        volume: In the orientation and number format asked for; None where a sink took it.
        even: The same from the images with an even place in the order of acquisition, or from the even frames, if
            halves were asked for.
        odd: From the others.
        voxel_size: Å.
        shape: (z, y, x), voxels, whatever the orientation.
        origin: Specimen position (z, y, x) of voxel n // 2, Å.
        statistics: Of the voxels, by name of the volume: "full", "even", "odd".
        residuals: Relative residual before each iteration, of iterative methods.
        fsc: Between the halves, in a central box.
        plan: What was planned.
    """

    volume: torch.Tensor | None
    even: torch.Tensor | None
    odd: torch.Tensor | None
    voxel_size: float
    shape: tuple[int, int, int]
    origin: tuple[float, float, float]
    statistics: dict[str, Statistics]
    residuals: list[float]
    fsc: ShellCorrelation | None
    plan: ReconstructionPlan


class Run:
    """One reconstruction: its plan, where its arrays lie, and its volumes.

    Args:
        images: Raw images.
        grid: Of the reconstruction.
        options: Method and budget.
        sets: Indices of the images of each volume, by its name.
        sinks: Where each volume goes.
        initial: Start of the iterative methods, if any.
        mask: Zero where the volume is to be zero, if any.
        scratch: Folder for scratch files.
        restore: Corrects each image, if anything does.

    Raises:
        InputError: The job does not fit the memory, or an array has another shape than the output.
    """

    def __init__(
        self,
        images: ImageSource,
        grid: ReconstructionGrid,
        options: ReconstructOptions,
        sets: dict[str, np.ndarray],
        sinks: dict[str, Sink | None],
        *,
        initial: Any = None,
        mask: Any = None,
        scratch: str | None = None,
        restore: ImageRestoration | None = None,
    ):
        self.restore = restore
        self.images, self.grid, self.options, self.sets = images, grid, options, sets
        self.initial, self.mask = self._checked("initial", initial), self._checked("mask", mask)
        keeps_output = any(sink is None for sink in sinks.values())
        self.plan = plan_for(
            grid, options, keeps_output=keeps_output, masked=mask is not None, restored=restore is not None
        )
        self.like = like_of(images)
        self.image_storage = Storage(self.like, self.plan.images_on_disk, scratch)
        self.whole = self.plan.strategy == "whole"
        self.solver_storage = Storage(self.like, self.plan.state_on_disk and self.whole, scratch)
        waiting = Storage(self.like, self.plan.state_on_disk, scratch)
        self.writers = {
            name: VolumeWriter(grid.shape, options, sinks[name], waiting, CENTRAL_BOX if name != "full" else 0)
            for name in sets
        }
        self.monitors = {name: Monitor(options.iterations.tolerance) for name in sets}
        self.projector = grid.projector()
        self.tilt = torch.from_numpy(grid.geometry.tilt).to(self.like)

    def __call__(
        self, callback: Callable[[int, float], None] | None, progress: Callable[[float], None]
    ) -> Reconstruction:
        """Do it.

        Args:
            callback: Told each iteration of the full volume and the relative residual before it.
            progress: Told the share that is done.
        """
        options, rows = self.options, self.plan.rows
        reading = 0.05 if options.iterative else 0.3
        laid = lay_out_blocks(
            self.images,
            self.grid,
            rows,
            self.image_storage,
            subtract_mean=options.background == "mean",
            invert=options.invert,
            with_coverage=options.iterative,
            restore=self.restore,
            progress=lambda done: progress(reading * done),
        )
        first = next(iter(self.sets))
        self.monitors[first].callback = callback
        solve = self._iterate if options.iterative else self._filter
        groups = [range(len(rows))] if self.whole else [range(b, b + 1) for b in range(len(rows))]
        tasks = [(name, blocks) for blocks in groups for name in self.sets]
        for step, (name, blocks) in enumerate(tasks):
            solve(name, blocks, laid)
            progress(reading + (1 - reading) * (step + 1) / len(tasks))
        volumes = {name: writer.finish() for name, writer in self.writers.items()}
        return Reconstruction(
            volume=volumes.get("full"),
            even=volumes.get("even"),
            odd=volumes.get("odd"),
            voxel_size=self.grid.voxel_size,
            shape=self.grid.shape,
            origin=self.grid.origin,
            statistics={name: writer.statistics for name, writer in self.writers.items()},
            residuals=self.monitors[first].residuals,
            fsc=compare_halves(self, self),
            plan=self.plan,
        )

    def _filter(self, name: str, blocks: range, laid: LaidOut) -> None:
        """Weighted back-projection of some blocks."""
        index, rows, halo = self.sets[name], self.plan.rows, self.projector.rows_halo
        projector = self.projector.select(index)
        weights = filter_weights(
            self.tilt[index], projector.columns, self.grid.depth, self.grid.voxel_size, self.options
        )
        for block in blocks:
            images = rows_with_halo(laid.blocks, rows, halo, block)
            weighed = weigh(images if name == "full" else images[index], weights)
            volume = replace(projector, rows=rows[block]).adjoint(weighed)
            mask = self._given(self.mask, block, outside=1)
            self._put(name, block, volume if mask is None else volume.mul_(mask))

    def _iterate(self, name: str, blocks: range, laid: LaidOut) -> None:
        """Solve for some blocks together."""
        index, options = self.sets[name], self.options
        projector = self.projector.select(index)
        rays = Rays.of(projector, self.like, None if laid.covered is None else laid.covered[index])
        system = BlockSystem(
            projector,
            tuple(self.plan.rows[b] for b in blocks),
            projector.rows_halo,
            rays.by_length() if options.method in ("SIRT", "SART") else rays.plain(),
            self.solver_storage.allocate,
            coupled=options.couples_rows or projector.rows_halo > 0,
        )
        images = [laid.blocks[b] for b in blocks]
        if name != "full":
            images = [part.copy_(whole[index]) for part, whole in zip(system.new_images(), images, strict=True)]
        volume = self._filled(system, self.initial, blocks, outside=0)
        masks = None if self.mask is None else self._filled(system, self.mask, blocks, outside=1)
        self._solve(system, rays, images, volume, masks, deviation=laid.deviation, name=name)
        for block in blocks:
            self._put(name, block, volume[block - blocks[0]])

    def _solve(
        self,
        system: BlockSystem,
        rays: Rays,
        images: Blocks,
        volume: Blocks,
        masks: Blocks | None,
        *,
        deviation: float,
        name: str,
    ) -> None:
        """Run the iterative method in place on the volume."""
        settings, admm, monitor = self.options.iterations, self.options.admm, self.monitors[name]
        match self.options.method:
            case "CG":
                solve_cg(system, images, volume, options=settings, monitor=monitor, mask=masks)
            case "ADMM":
                penalties = Penalties.of(admm, settings.positive, deviation, system.tilts)
                Admm(system, images, volume, penalties, masks).solve(settings.number, admm.inner, monitor)
            case _:
                size = settings.subset if self.options.method == "SART" else system.tilts
                subsets = ordered_subsets(self.tilt[self.sets[name]], size)
                solve_sirt(system, rays, images, volume, subsets=subsets, options=settings, monitor=monitor, mask=masks)

    def _put(self, name: str, block: int, volume: torch.Tensor) -> None:
        """Hand a solved block, without its extra planes, to its writer."""
        start, extra = sum(self.plan.rows[:block]), self.grid.extra
        self.writers[name].put(start, volume[extra : extra + self.grid.depth])

    def _filled(self, system: BlockSystem, array: Any, blocks: range, outside: float) -> Blocks:
        """A new volume with what was given; zeros if nothing was."""
        volume = system.new_volume()
        for part, block in zip(volume, blocks, strict=True):
            given = self._given(array, block, outside)
            if given is not None:
                part.copy_(given)
        return volume

    def _given(self, array: Any, block: int, outside: float) -> torch.Tensor | None:
        """One block of an array that lies as the output does, with `outside` in the extra planes."""
        if array is None:
            return None
        start = sum(self.plan.rows[:block])
        index = slab_index(self.options.orientation, start, start + self.plan.rows[block])
        part = array[index]
        slab = part if isinstance(part, torch.Tensor) else torch.from_numpy(np.array(part, dtype=np.float32))
        slab = unorient(slab.to(self.like), self.options.orientation, self.options.hand)
        extra = self.grid.extra
        return torch.nn.functional.pad(slab, (0, 0, 0, 0, extra, extra), value=outside)

    def _checked(self, name: str, array: Any) -> Any:
        expected = output_shape(self.grid.shape, self.options.orientation)
        if array is not None and tuple(array.shape) != expected:
            raise InputError(f"{name} has another shape than the output", got=tuple(array.shape), expected=expected)
        return array


def compare_halves(first: Run, second: Run) -> ShellCorrelation | None:
    """FSC of the even volume of one run and the odd one of another, or the same, in their central box with a soft edge
    along x and y; None where there are no such volumes."""
    if "even" not in first.writers or "odd" not in second.writers:
        return None
    even, odd = first.writers["even"].box, second.writers["odd"].box
    edge = soft_edge((even.shape[1], even.shape[2]), 0.1, even.device, even.dtype)
    return fourier_shell_correlation(even, odd, first.grid.voxel_size, mask=edge.expand(even.shape))


def like_of(images: ImageSource) -> torch.Tensor:
    """An empty tensor with the device and dtype to compute in: those of a tensor of floats, else float32."""
    if not isinstance(images, torch.Tensor):
        return torch.empty(0)
    return images.new_empty(0, dtype=images.dtype if images.dtype == torch.float64 else torch.float32)
