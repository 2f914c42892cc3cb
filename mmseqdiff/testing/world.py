"""What all exact worlds share: latents as vectors, the optimal denoiser, and the loss that it has.

A world knows E[z_0 | z_t] and the variance of every coordinate of z_0 given z_t. No denoiser's expected squared error is
below that of the exact prediction, the *Bayes risk*. With r = Var[z_0 | z_t] of one coordinate at its own level:

    (1) x0          r                                       its error is z_0 − E[z_0 | z_t]
    (2) epsilon     (alpha / sigma)² r                       epsilon = (z_t − alpha z_0) / sigma
    (3) v           ((alpha² + sigma²) / sigma)² r           v = alpha epsilon − sigma z_0
    (4) velocity    ((alpha + sigma) / sigma)² r             velocity = epsilon − z_0

Each prediction's error is that of x0 times a factor that is known, so all four follow from r. For any denoiser f, with f*
the exact one, the risk is that of f* plus the *excess* E|f − f*|²: the cross term vanishes, as f* is a conditional mean.
"""

from abc import ABC, abstractmethod

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff.forward import Prediction, check_prediction_kind
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Cells, Denoiser, Keys, Latents, Levels, NoiseSchedule

__all__ = ["World", "WorldDenoiser", "task_levels"]


def task_levels(
    layout: Layout, given: Bool[Tensor, "modality segment"], level: float
) -> Float[Tensor, "1 modality segment"]:
    """The matrix of a task at one level: given cells clean, all others at ``level``; float64."""
    return torch.where(given | ~layout.valid, 0.0, torch.tensor(level, dtype=torch.float64))[None]


class World(ABC):
    """A distribution of latents about which everything is known; all in float64.

    A subclass has ``layout``, and says what its draws and its exact predictions are.
    """

    layout: Layout

    @abstractmethod
    def sample(self, keys: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """One draw per key."""

    @abstractmethod
    def posterior_mean(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], schedule: NoiseSchedule
    ) -> dict[str, Tensor]:
        """E[z_0 | z_t]."""

    @property
    def dimension(self) -> int:
        """D: the numbers in one example."""
        return sum(torch.Size(track.shape).numel() for track in self.layout.tracks)

    def flatten(self, latents: Latents) -> Float[Tensor, "batch dimension"]:
        """Latents as vectors, track by track, segment by segment."""
        return torch.cat([latents[name].flatten(1).double() for name in self.layout.modalities], dim=1)

    def unflatten(self, vectors: Float[Tensor, "batch dimension"]) -> dict[str, Tensor]:
        """Vectors as latents."""
        sizes = [torch.Size(track.shape).numel() for track in self.layout.tracks]
        parts = zip(self.layout.tracks, vectors.split(sizes, dim=1))
        return {track.modality: part.reshape(-1, *track.shape) for track, part in parts}

    def coordinates(self, matrix: Tensor) -> Tensor:
        """A number per cell ``(*, M, N)`` repeated for every coordinate: ``(*, D)``."""
        rows = self.layout.split(matrix)
        sizes = {track.modality: torch.Size(track.shape[1:]).numel() for track in self.layout.tracks}
        return torch.cat([rows[name].repeat_interleave(size, dim=-1) for name, size in sizes.items()], dim=-1)

    def cell_means(self, values: Float[Tensor, "batch dimension"]) -> Float[Tensor, "batch modality segment"]:
        """The mean over each cell's coordinates; 0 in padding."""
        return self.layout.stack({name: part.flatten(2).mean(-1) for name, part in self.unflatten(values).items()})

    def modality_means(
        self, cells: Float[Tensor, "batch modality segment"], given: Bool[Tensor, "modality segment"]
    ) -> Float[Tensor, "batch modality"]:
        """The mean over each modality's cells that are not given; 0 for a modality that is given whole.

        The denoiser's loss is reduced like this (:mod:`mmseqdiff.train.objective`).
        """
        free = self.layout.valid & ~given
        return torch.where(free, cells, 0).sum(-1) / free.sum(-1).clamp(min=1)

    def risk_of_variance(
        self,
        variance: Float[Tensor, "batch dimension"],
        t: Float[Tensor, "batch modality segment"],
        schedule: NoiseSchedule,
        kind: str,
    ) -> Float[Tensor, "batch modality segment"]:
        """The exact prediction's mean squared error in every cell, Eq. (1) to (4), from Var[z_0 | z_t]; 0 at level 0."""
        check_prediction_kind(kind, schedule)
        alpha, sigma = schedule.alpha(t.double()), schedule.sigma(t.double())
        clean = sigma == 0
        numerator = {"x0": sigma, "epsilon": alpha, "v": alpha**2 + sigma**2, "velocity": alpha + sigma}[kind]
        factor = numerator / torch.where(clean, 1, sigma)
        return torch.where(clean, 0, factor**2 * self.cell_means(variance))

    def denoiser(self, schedule: NoiseSchedule, kind: str = "x0") -> "WorldDenoiser":
        """The optimal denoiser."""
        return WorldDenoiser(self, schedule, kind)


@attrs.frozen(eq=False)
class WorldDenoiser(Denoiser):
    """A world's optimal denoiser for any timestep matrix; it needs no self-condition and ignores it.

    Attributes:
        world: says what is exact.
        schedule: the noise schedule.
        kind: what it says that it predicts.

    Raises:
        ValueError: if the kind does not fit the schedule.
    """

    world: World
    schedule: NoiseSchedule
    kind: str = "x0"

    def __attrs_post_init__(self) -> None:
        check_prediction_kind(self.kind, self.schedule)

    @property
    def layout(self) -> Layout:
        """The world's."""
        return self.world.layout

    def __call__(
        self,
        z: Latents,
        t: Levels,
        *,
        given: Cells | None = None,
        keys: Keys | None = None,
        self_condition: Latents | None = None,
    ) -> Prediction:
        """The exact prediction at ``(z, t)``."""
        x0 = self.world.posterior_mean(z, t, self.schedule)
        return Prediction(value=x0, kind="x0", z=z, t=t, schedule=self.schedule, layout=self.layout).to(self.kind)
