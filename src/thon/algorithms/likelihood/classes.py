"""Classes of particles: references of two or three dimensions without half sets, by full or by stochastic steps.

A full step makes each reference from all particles, with a prior from its own power (expectation maximisation). A
stochastic step looks at a few particles only and moves each reference along the difference between what they say and
what it is, as far as two halves of them agree (VDAM).

Source: Scheres 2012, J. Struct. Biol. 180, 519; Kimanius et al. 2021, Biochem. J. 478, 4169.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from thon.algorithms.likelihood.expectation import Expectation, Expected, NoiseModel, Poses, make_blocks
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.likelihood.noise import update_noise
from thon.algorithms.likelihood.reconstruction import ClassSums
from thon.algorithms.likelihood.references import PADDING, from_spectrum, particle_mask, shell_radius, to_spectrum
from thon.algorithms.likelihood.search import References, SearchPlan
from thon.data.particles import Particles
from thon.ops.fourier import half_spectrum

_MOMENTUM, _MEMORY = 0.9, 0.99


@dataclass(frozen=True)
class ClassRecord:
    """What an iteration was and brought.

    Args:
        iteration: Its number, from 1.
        particles: That took part.
        shells: Shells that took part.
        resolution: Of each class, Å.
        shares: Of each class.
        probability: Mean of the largest share of one pose.
        changed: Fraction of the particles whose class changed.
    """

    iteration: int
    particles: int
    shells: int
    resolution: tuple[float, ...]
    shares: tuple[float, ...]
    probability: float
    changed: float


@dataclass(frozen=True)
class ClassState:
    """State of a classification after an iteration: all that the next one needs.

    Args:
        references: Images or volumes, masked.
        shares: Prior share of each class.
        power: Expected power of each reference by shell, of its orthonormal projections; zero before the first step.
        momentum: Mean of past steps, in real space; none before the first stochastic step.
        disagreement: Squared difference of halves over squared mean of past steps, by class and shell.
        poses: Of all particles.
        model: Noise, scales and norms.
        shells: That take part in the next iteration.
        records: Of the iterations.
    """

    references: Float[np.ndarray, "classes *shape"]
    shares: Float[np.ndarray, "classes"]
    power: Float[np.ndarray, "classes shells"]
    poses: Poses
    model: NoiseModel
    shells: int
    momentum: Float[np.ndarray, "classes *shape"] | None = None
    disagreement: Float[np.ndarray, "classes shells"] | None = None
    records: tuple[ClassRecord, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Classifier:
    """Iterations of a classification.

    Args:
        particles: With CTFs.
        source: Their images.
        pixel_size: Of the references, Å.
        diameter: Of the mask, Å.
        symmetry: Rotations of the point group.
        regularisation: T, by which the prior is loosened.
        block: Particles that are done at once.
        mask: Multiplied onto references instead of a soft sphere.
    """

    particles: Particles
    source: ImageSource
    pixel_size: float
    diameter: float
    symmetry: Float[np.ndarray, "operators 3 3"]
    regularisation: float = 2.0
    block: int = 256
    mask: Float[np.ndarray, "*shape"] | None = None

    def full_step(
        self,
        state: ClassState,
        plan: SearchPlan,
        *,
        most_shells: int,
        keep_noise: bool = False,
        owners: Int[np.ndarray, "n"] | None = None,
        done: Callable[[int], None] = lambda count: None,
    ) -> ClassState:
        """One step of expectation maximisation over all particles.

        Args:
            state: Before.
            plan: How poses are searched.
            most_shells: The next iteration's shells at most.
            keep_noise: Whether noise, scales and norms stay as they are.
            owners: Class of each particle where it is not to be found.
            done: Told the number of particles after each block.
        """
        found = self._expect(state, plan, done, owners)
        return self.maximise(state, found, most_shells=most_shells, keep_noise=keep_noise)

    def maximise(self, state: ClassState, found: Expected, *, most_shells: int, keep_noise: bool = False) -> ClassState:
        """References, and the rest of the next state, from what an expectation step found; see `full_step`."""
        box, dimensions = state.references.shape[-1], state.references.ndim - 1
        references, power, resolution = [], [], []
        mask = self._mask(box, dimensions)
        for k in range(len(state.references)):
            one = found.sums[0].of_class(k, self.symmetry)
            reference = one.reconstruct(box, self._precision(state.power[k], one)) * mask
            references.append(reference.numpy())
            # Of the masked reference: the noise around it would loosen the prior, and let more noise in each time.
            power.append(_pad(self._power(reference, state.shells), box // 2))
            weight = one.mean_weight()[: state.shells].numpy() * PADDING**dimensions
            resolution.append(_last_shell(power[-1][: state.shells] * weight))
        model, extent = state.model, box * self.pixel_size
        if not keep_noise:
            model = update_noise(state.model, self.particles, found, extent, state.shells)
        return self._next(state, found, np.stack(references), np.stack(power), resolution, model, most_shells)

    def _precision(
        self, power: Float[np.ndarray, "all_shells"], sums: ClassSums
    ) -> Float[torch.Tensor, "shells"] | None:
        """Of the prior of a reference of some power; none before that is known."""
        if not power.any():
            return None
        prior = torch.from_numpy(power)[: sums.shells] * self.regularisation
        return 1 / (prior.clamp(min=1e-12) * PADDING**sums.dimensions)

    def _mask(self, box: int, dimensions: int) -> torch.Tensor:
        if self.mask is not None:
            return torch.from_numpy(self.mask).float()
        return particle_mask(box, self.diameter / self.pixel_size, dimensions)

    def stochastic_step(
        self,
        state: ClassState,
        plan: SearchPlan,
        chosen: Int[np.ndarray, "n"],
        *,
        step: float,
        most_shells: int,
        done: Callable[[int], None] = lambda count: None,
    ) -> ClassState:
        """One step along the gradient of a few particles.

        Args:
            state: Before.
            plan: How poses are searched.
            chosen: Particles that take part, every other one in the second half.
            step: Length of the step, 0 to 1.
            most_shells: The next iteration's shells at most.
            done: Told the number of particles after each block.
        """
        halves = np.full(len(self.particles), -1)
        halves[chosen] = np.arange(len(chosen)) % 2
        found = self._expect_halves(state, plan, halves, done)
        dimensions, (classes, box) = plan.grid.dimensions, (len(state.references), state.references.shape[-1])
        spectra = to_spectrum(torch.from_numpy(state.references), state.shells)
        shares = _shares(found, classes)
        momentum = np.zeros_like(state.references) if state.momentum is None else state.momentum.copy()
        disagreement = None if state.disagreement is None else state.disagreement.copy()
        references, resolution = state.references.copy(), []
        new_disagreement = np.ones((classes, box // 2))
        for k in range(classes):
            sums = [one.of_class(k, self.symmetry) for one in found.sums]
            steps = [self._gradient(one, spectra[k], box) for one in sums]
            apart = self._power(steps[0] - steps[1], box // 2) / 4
            mean = (steps[0] + steps[1]) / 2
            ratio = apart / np.maximum(self._power(mean, box // 2), 1e-30)
            old = ratio if disagreement is None else disagreement[k]
            new_disagreement[k] = _MEMORY * old + (1 - _MEMORY) * np.minimum(ratio, 10)
            keep = 0.0 if state.momentum is None else _MOMENTUM
            momentum[k] = keep * momentum[k] + (1 - keep) * mean.numpy()
            trust = 1 / (1 + new_disagreement[k])
            agreed = filter_shells(torch.from_numpy(momentum[k]), trust).numpy()
            shrunk = filter_shells(torch.from_numpy(references[k]), (1 - trust) / self.regularisation).numpy()
            length = step * (1 - math.exp(-(3 * classes + 10) * shares[k]))
            references[k] += length * (agreed - shrunk)
            resolution.append(_last_shell(trust[: state.shells] / (1 - trust[: state.shells])))
        masked = torch.from_numpy(references) * self._mask(box, dimensions)
        power = np.stack([_pad(self._power(one, box // 2), box // 2) for one in masked])
        model = update_noise(state.model, self.particles, found, box * self.pixel_size, state.shells)
        new = self._next(state, found, masked.numpy(), power, resolution, model, most_shells)
        shares = 0.9 * state.shares + 0.1 * shares
        return replace(new, shares=shares / shares.sum(), momentum=momentum, disagreement=new_disagreement)

    def _expect(
        self, state: ClassState, plan: SearchPlan, done: Callable[[int], None], owners: Int[np.ndarray, "n"] | None
    ) -> Expected:
        """Of all particles, each compared with all references, or with its owner's alone."""
        spectra = to_spectrum(torch.from_numpy(state.references), state.shells)
        if owners is None:
            everyone = np.zeros(len(self.particles), np.int64)
            return self._expectation(state, plan, [_references(spectra, state.shares)]).run(
                state.poses, make_blocks(self.particles, everyone, self.block), done
            )
        single = [_references(spectra[k : k + 1], np.ones(1)) for k in range(len(spectra))]
        blocks = make_blocks(self.particles, owners, self.block)
        found = self._expectation(state, plan, single).run(state.poses, blocks, done)
        return _as_owned(found, owners, len(spectra))

    def _expect_halves(
        self, state: ClassState, plan: SearchPlan, halves: Int[np.ndarray, "n"], done: Callable[[int], None]
    ) -> Expected:
        """Of the particles of two halves, with the same references."""
        spectra = to_spectrum(torch.from_numpy(state.references), state.shells)
        references = _references(spectra, state.shares)
        blocks = make_blocks(self.particles, halves, self.block)
        return self._expectation(state, plan, [references, references]).run(state.poses, blocks, done)

    def _expectation(self, state: ClassState, plan: SearchPlan, references: Sequence[References]) -> Expectation:
        extent = state.references.shape[-1] * self.pixel_size
        return Expectation(
            self.particles, self.source, references, plan, state.model, extent, state.shells, self.diameter
        )

    def _gradient(self, sums: ClassSums, spectrum: Float[torch.Tensor, "z y x 2"], box: int) -> torch.Tensor:
        """What particles say of a reference less what it is, in real space."""
        rest = sums.data - sums.weight[..., None] * spectrum
        radius = shell_radius((sums.weight.shape[0], sums.weight.shape[1], sums.weight.shape[2]))
        shell = radius.round().long().clamp(max=sums.shells - 1)
        mean = sums.mean_weight().float().clamp(min=1e-20)
        inside = radius < sums.shells - 0.5
        return from_spectrum(rest * (inside / mean[shell])[..., None], box, sums.dimensions)

    def _power(self, reference: torch.Tensor, shells: int) -> Float[np.ndarray, "shells"]:
        """Mean power of a reference's projections' orthonormal spectra, by shell."""
        power = (half_spectrum(reference, reference.ndim).abs() / reference.shape[-1]).square()
        return _mean_by_shell(power, reference.shape[-1], shells)

    def _next(
        self, state: ClassState, found: Expected, references: np.ndarray, power: np.ndarray,
        resolution: list[int], model: NoiseModel, most_shells: int,
    ) -> ClassState:  # fmt: skip
        classes, extent = len(references), references.shape[-1] * self.pixel_size
        shares = _shares(found, classes)
        used = np.concatenate([one.block.indices for one in found.statistics])
        record = ClassRecord(
            iteration=len(state.records) + 1,
            particles=len(used),
            shells=state.shells,
            resolution=tuple(extent / max(shell, 1) for shell in resolution),
            shares=tuple(float(share) for share in shares),
            probability=float(found.poses.probability[used].mean()),
            changed=float((found.poses.classes[used] != state.poses.classes[used]).mean()),
        )
        return replace(
            state,
            references=references,
            shares=shares,
            power=power,
            poses=found.poses,
            model=model,
            shells=min(most_shells, references.shape[-1] // 2, max(resolution) + 10),
            records=(*state.records, record),
        )


def filter_shells(reference: torch.Tensor, factors: Float[np.ndarray, "shells"]) -> torch.Tensor:
    """Multiply each shell of a reference's spectrum; shells beyond the factors become zero."""
    box, axes = reference.shape[-1], tuple(range(reference.ndim))
    shell = _shells(box, reference.ndim).clamp(max=len(factors))
    factor = torch.from_numpy(np.append(factors, 0)).float()[shell]
    return torch.fft.irfftn(half_spectrum(reference, reference.ndim) * factor, s=tuple(reference.shape), dim=axes)


def _shells(box: int, dimensions: int) -> Int[torch.Tensor, "*half"]:
    axis = (torch.fft.fftfreq(box, dtype=torch.float64) * box).square()
    half = (torch.fft.rfftfreq(box, dtype=torch.float64) * box).square()
    square = axis[:, None] + half
    return (axis[:, None, None] + square if dimensions == 3 else square).sqrt().round().long()


def _mean_by_shell(values: torch.Tensor, box: int, shells: int) -> Float[np.ndarray, "shells"]:
    shell = _shells(box, values.ndim).clamp(max=shells).flatten()
    total = torch.zeros(shells + 1, dtype=torch.float64).index_add_(0, shell, values.double().flatten())
    return (total / torch.bincount(shell, minlength=shells + 1).clamp(min=1))[:shells].numpy()


def _references(spectra: torch.Tensor, shares: Float[np.ndarray, "classes"]) -> References:
    return References(spectra, torch.from_numpy(np.log(np.maximum(shares, 1e-10))).float())


def _as_owned(found: Expected, owners: Int[np.ndarray, "n"], classes: int) -> Expected:
    """One set of sums with a class of each of several sets of one class."""
    values = torch.cat([one.values for one in found.sums])
    statistics = [replace(one, class_weights=np.eye(classes)[owners[one.block.indices]]) for one in found.statistics]
    sums = replace(found.sums[0], values=values)
    return Expected(replace(found.poses, classes=owners.copy()), (sums,), tuple(statistics))


def _shares(found: Expected, classes: int) -> Float[np.ndarray, "classes"]:
    total = sum((one.class_weights.sum(0) for one in found.statistics), np.zeros(classes))
    return total / total.sum()


def _pad(values: Float[np.ndarray, "n"], length: int) -> Float[np.ndarray, "length"]:
    result = np.zeros(length)
    result[: min(len(values), length)] = values[:length]
    return result


def _last_shell(ratio: Float[np.ndarray, "shells"]) -> int:
    """Last shell before the signal-to-noise ratio first falls below 1."""
    below = np.flatnonzero(ratio[1:] < 1)
    return max(1, int(below[0])) if len(below) else len(ratio) - 1
