"""The forward process over a timestep matrix, and predictions that convert into one another.

For every cell e = (m, n) at its own level t, with alpha² = alpha_bar and sigma² = 1 − alpha_bar:

    (1) z_t = alpha_t z_0 + sigma_t epsilon                         arXiv:2405.13762 Eq. 5 (alpha_bar is meant there)
    (2) x0 = (z_t − sigma epsilon) / alpha                           epsilon = (z_t − alpha x0) / sigma
    (3) v = alpha epsilon − sigma x0                                 x0 = alpha z_t − sigma v, epsilon = sigma z_t + alpha v
    (4) velocity = epsilon − x0                                      x0 = (z_t − sigma velocity) / (alpha + sigma),
                                                                     epsilon = (z_t + alpha velocity) / (alpha + sigma)
    (5) z_s = alpha_{s|t} z_t + sqrt(sigma_s² − alpha²_{s|t} sigma_t²) xi,   alpha_{s|t} = alpha_s / alpha_t,   s > t

(3) is Salimans and Ho's v (arXiv:2202.00512) and holds for alpha² + sigma² = 1. At level 0 a cell is exactly clean:
z_t = z_0 bit for bit, x0 = z_t and epsilon = 0 whatever was predicted. No division by zero is ever formed, so that
gradients are finite as well. (5) is the forward process from level t on: if z_t is distributed as Eq. (1) says, so is z_s
(arXiv:2201.09865 Eq. 6 for one step).
"""

from collections.abc import Mapping
from functools import cached_property

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Latents, NoiseSchedule
from mmseqdiff.timesteps import expand

__all__ = ["PREDICTION_KINDS", "ForwardProcess", "Prediction", "check_prediction_kind", "normal_latents"]

PREDICTION_KINDS = ("epsilon", "x0", "v", "velocity")
"""What a network may predict."""


def check_prediction_kind(kind: str, schedule: NoiseSchedule) -> None:
    """Refuses a kind that does not exist, and epsilon where the schedule ends in pure noise.

    Raises:
        ValueError: as above; with alpha(T) = 0 epsilon says nothing about x0, so the message names the kinds that do.
    """
    if kind not in PREDICTION_KINDS:
        raise ValueError(f"there is no prediction kind {kind!r}; known: {', '.join(PREDICTION_KINDS)}")
    if kind == "epsilon" and float(schedule.alpha(torch.tensor(float(schedule.num_levels), device="cpu"))) == 0:
        raise ValueError(
            "epsilon prediction cannot be used with a zero-terminal-SNR schedule: at level T the noisy latents are the "
            "noise itself; predict v, velocity or x0"
        )


def normal_latents(
    layout: Layout,
    keys: Int[Tensor, " batch"],
    stream: str,
    counts: Int[Tensor, "modality segment"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Standard normal latents, keyed by example, stream, modality name, segment and (where given) a count per cell.

    A cell's numbers depend on nothing else: not on the batch, the other cells or the order of the tracks.
    """
    drawn = {}
    for m, track in enumerate(layout.tracks):
        cells = random.fold(keys[:, None], stream, track.modality, torch.arange(track.segments, device=keys.device))
        if counts is not None:
            cells = random.fold(cells, counts[m, : track.segments].to(keys.device))
        drawn[track.modality] = random.normal(cells, "normal", (*track.grid, track.channels), dtype)
    return drawn


@attrs.frozen
class ForwardProcess:
    """Corrupts clean latents to a timestep matrix, Eq. (1), and noisy ones further, Eq. (5)."""

    schedule: NoiseSchedule
    layout: Layout

    def corrupt(self, z0: Latents, noise: Latents, t: Float[Tensor, "batch modality segment"]) -> dict[str, Tensor]:
        """Latents at levels ``t``: elementwise, exact at level 0, and the noise itself where alpha is 0."""
        alphas, sigmas = self.layout.split(self.schedule.alpha(t)), self.layout.split(self.schedule.sigma(t))
        noisy = {}
        for name in self.layout.modalities:
            alpha, sigma = expand(alphas[name], z0[name]), expand(sigmas[name], z0[name])
            noisy[name] = torch.where(sigma == 0, z0[name], alpha * z0[name] + sigma * noise[name])
        return noisy

    def renoise(
        self,
        z: Latents,
        noise: Latents,
        t: Float[Tensor, "batch modality segment"],
        s: Float[Tensor, "batch modality segment"],
    ) -> dict[str, Tensor]:
        """Latents at levels ``s`` from latents at levels ``t``, Eq. (5), where s > t; the others bit for bit as they are."""
        rises = s > t
        alpha_st = self.schedule.alpha(s) / torch.where(rises, self.schedule.alpha(t), 1)  # t < T there, so alpha_t > 0
        variance = self.schedule.sigma(s) ** 2 - (alpha_st * self.schedule.sigma(t)) ** 2
        scales = self.layout.split(alpha_st), self.layout.split(variance.clamp(min=0).sqrt())
        noisier = {}
        for name, cells in self.layout.split(rises).items():
            alpha, sigma = (expand(scale[name], z[name]) for scale in scales)
            noisier[name] = torch.where(expand(cells, z[name]), alpha * z[name] + sigma * noise[name], z[name])
        return noisier


@attrs.frozen(eq=False)
class Prediction:
    """What a denoiser returned at ``(z, t)``; every other kind follows on demand through (x0, epsilon).

    Attributes:
        value: modality → tensor shaped as ``z``.
        kind: one of :data:`PREDICTION_KINDS`.
        z: the noisy latents it was made from.
        t: their levels.
        schedule: the noise schedule.
        layout: the layout.
    """

    value: Latents
    kind: str = attrs.field(validator=attrs.validators.in_(PREDICTION_KINDS))
    z: Latents
    t: Float[Tensor, "batch modality segment"]
    schedule: NoiseSchedule
    layout: Layout

    @cached_property
    def _scales(self) -> dict[str, tuple[Tensor, Tensor]]:
        alphas, sigmas = self.layout.split(self.schedule.alpha(self.t)), self.layout.split(self.schedule.sigma(self.t))
        return {name: (expand(alphas[name], z), expand(sigmas[name], z)) for name, z in self.z.items()}

    @cached_property
    def _pair(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(x0, epsilon), through which all conversions go."""
        clean, noise = {}, {}
        for name, z in self.z.items():
            value, (alpha, sigma) = self.value[name], self._scales[name]
            if self.kind == "epsilon":
                x0, epsilon = (z - sigma * value) / alpha, value  # Eq. (2); alpha > 0 was checked with the schedule
            elif self.kind == "x0":
                x0, epsilon = value, (z - alpha * value) / torch.where(sigma == 0, 1, sigma)  # Eq. (2)
            elif self.kind == "v":
                x0, epsilon = alpha * z - sigma * value, sigma * z + alpha * value  # Eq. (3)
            else:
                x0 = (z - sigma * value) / (alpha + sigma)  # Eq. (4)
                epsilon = (z + alpha * value) / (alpha + sigma)
            clean[name] = torch.where(sigma == 0, z, x0)
            noise[name] = torch.where(sigma == 0, 0, epsilon)
        return clean, noise

    @property
    def x0(self) -> dict[str, Tensor]:
        """The clean latents."""
        return self._pair[0]

    @property
    def epsilon(self) -> dict[str, Tensor]:
        """The noise; 0 where there is none."""
        return self._pair[1]

    @property
    def v(self) -> dict[str, Tensor]:
        """alpha epsilon − sigma x0, Eq. (3)."""
        x0, epsilon = self._pair
        return {name: alpha * epsilon[name] - sigma * x0[name] for name, (alpha, sigma) in self._scales.items()}

    @property
    def velocity(self) -> dict[str, Tensor]:
        """epsilon − x0, Eq. (4)."""
        x0, epsilon = self._pair
        return {name: epsilon[name] - x0[name] for name in x0}

    def to(self, kind: str) -> "Prediction":
        """The same prediction as another kind."""
        return self if kind == self.kind else attrs.evolve(self, value=getattr(self, kind), kind=kind)

    def with_value(self, value: Mapping[str, Tensor]) -> "Prediction":
        """Another value of the same kind at the same ``(z, t)``."""
        return attrs.evolve(self, value=value)
