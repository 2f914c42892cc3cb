"""Weighted branches: predictions of one network that is shown the condition at different levels.

A branch is a level for every condition cell and a weight for every predicted cell. A cell at level t is shown at

    (1) level  t + f (T − t):   f = 0 its own level, f = 1 noise and nothing else, between them noised further
    (2) D = Σ_j w_j D_j,  Σ_j w_j = 1 in every cell

f is a fraction of the way in levels, which for a given cell (t = 0) is a fraction of T; log-SNR would not do, for it is
infinite at level 0. Vanilla, temporal and fractional history guidance (arXiv:2502.06764 §4), classifier-free guidance for
free (arXiv:2405.13762 App. E) and UniDiffuser's (arXiv:2303.06555 §4.3) all are such sums.

Branches that show the same merge, weights of zero drop, and what is left runs as one batch. The branch that shows every
cell at its own level is the plain prediction. A re-noised cell has the same noise in all branches and for the whole
trajectory, and no self-condition, through which the condition would leak back.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.denoiser import WrappedDenoiser
from mmseqdiff.errors import UserError
from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Cells, Denoiser, Keys, Latents, Levels
from mmseqdiff.timesteps import expand
from mmseqdiff_guidance.compose import ALWAYS, Composed

__all__ = ["Branch", "BranchGuidance", "merged", "per_modality", "stretch"]


@attrs.frozen(eq=False)
class Branch:
    """One way to show the condition, and how much it counts.

    Attributes:
        weight: w_j in Eq. (2), of each predicted cell; 0 where the cell is re-noised itself.
        fraction: f in Eq. (1), of each cell; 0 in padding.
    """

    weight: Float[Tensor, "modality segment"]
    fraction: Float[Tensor, "modality segment"]

    @property
    def plain(self) -> bool:
        """Whether every cell is shown at its own level."""
        return not self.fraction.any()


def merged(branches: Sequence[Branch], free: Cells, keep_plain: bool = False) -> list[Branch]:
    """The branches to evaluate, the plain one first.

    Args:
        branches: as the guidance writes them down; on the host.
        free: the cells that are generated: what weights are for.
        keep_plain: keep the plain branch whatever its weight, for what is compared with it.

    Raises:
        ValueError: if the weights do not sum to 1 in a free cell, or a branch counts for a free cell that it re-noises: its
            prediction there is for another level.
    """
    kept: list[Branch] = []
    for branch in branches:
        same = [k for k, other in enumerate(kept) if torch.equal(other.fraction, branch.fraction)]
        if same:
            kept[same[0]] = attrs.evolve(branch, weight=kept[same[0]].weight + branch.weight)
        else:
            kept.append(branch)
    total = sum(branch.weight for branch in kept)
    if not torch.allclose(total[free], torch.ones_like(total[free])):
        raise ValueError(
            f"the weights of the branches sum to {total[free].tolist()} in the generated cells, expected 1"
        )
    kept = sorted((branch for branch in kept if branch.weight[free].any()), key=lambda branch: not branch.plain)
    for branch in kept:
        if (branch.weight[free & (branch.fraction > 0)] != 0).any():
            raise ValueError("a branch counts for a generated cell that it re-noises; its weight there must be 0")
    # Composed as differences from the first, which must therefore be at the loop's own level in every free cell.
    keep_plain |= any(branch.fraction[free].any() for branch in kept)
    if kept and not kept[0].plain and keep_plain:
        kept.insert(0, Branch(torch.zeros_like(total), torch.zeros_like(total)))
    return kept


@attrs.frozen(kw_only=True)
class BranchGuidance(Composed):
    """A guidance that is a sum of weighted branches."""

    @abstractmethod
    def branches(self, layout: Layout, given: Cells) -> list[Branch]:
        """The branches of a task, before they are merged; tensors are on the host, float64."""

    def merged(self, layout: Layout, given: Cells) -> list[Branch]:
        """The branches to evaluate for a task, on the host.

        Raises:
            UserError: if the guidance names a modality that the layout does not have, or no stretch of the clip.
        """
        compared = self.interval != ALWAYS or self.rescale > 0
        try:
            branches = self.branches(layout, given)
        except (KeyError, ValueError) as error:
            raise UserError(f"the guidance does not fit the model: {error.args[0]}") from error
        return merged(branches, layout.valid & ~given, compared)

    def evaluations(self, layout: Layout, given: Cells) -> int:
        """One for every different branch."""
        return len(self.merged(layout, given))

    def __call__(self, denoiser: Denoiser) -> "BranchedDenoiser":
        """The guided denoiser.

        Raises:
            UserError: if the guidance names a modality that the denoiser's layout does not have.
        """
        self.merged(denoiser.layout, torch.zeros_like(denoiser.layout.valid))
        return BranchedDenoiser(denoiser, self)


@attrs.frozen(eq=False)
class BranchedDenoiser(WrappedDenoiser):
    """What a :class:`BranchGuidance` makes of a denoiser."""

    denoiser: Denoiser
    guidance: BranchGuidance
    _known: dict[str, object] = attrs.field(factory=dict, init=False, repr=False)

    def branches(self, given: Cells) -> list[Branch]:
        """The task's branches, on its device; what is given is read once a run, not at every step."""
        if self._known.get("given") is not given:
            made = self.guidance.merged(self.layout, given.cpu())
            moved = [Branch(branch.weight.to(given.device), branch.fraction.to(given.device)) for branch in made]
            self._known.update(given=given, branches=moved, plain=[branch.plain for branch in made])
        return self._known["branches"]

    def __call__(
        self, z: Latents, t: Levels, *, given: Cells, keys: Keys, self_condition: Latents | None = None
    ) -> Prediction:
        """Eq. (2), all branches as one batch."""
        branches = self.branches(given)
        if not branches or self._known["plain"] == [True]:
            return self.denoiser(z, t, given=given, keys=keys, self_condition=self_condition)
        count = len(branches)
        fraction = torch.stack([branch.fraction.to(t.dtype).expand_as(t) for branch in branches]).flatten(0, 1)
        own = t.repeat(count, 1, 1)
        levels = torch.lerp(own, torch.full_like(own, self.schedule.num_levels), fraction)  # Eq. (1), exact at its ends
        noise = normal_latents(self.layout, keys, "guidance", dtype=next(iter(z.values())).dtype)
        noise, shown = (
            {name: x.repeat(count, *[1] * (x.ndim - 1)) for name, x in latents.items()} for latents in (noise, z)
        )
        shown = ForwardProcess(self.schedule, self.layout).renoise(shown, noise, own, levels)
        for name, absent in self.layout.split((fraction == 1) & (levels > own)).items():
            shown[name] = torch.where(expand(absent, noise[name]), noise[name], shown[name])
        if self_condition is not None:
            self_condition = {
                name: torch.where(expand(noised, shown[name]), 0, torch.cat([self_condition[name]] * count))
                for name, noised in self.layout.split(levels > own).items()
            }
        prediction = self.denoiser(shown, levels, given=given, keys=keys.repeat(count), self_condition=self_condition)
        values = [
            dict(zip(prediction.value, parts)) for parts in zip(*(x.chunk(count) for x in prediction.value.values()))
        ]
        first = attrs.evolve(prediction, value=values[0], z=z, t=t)
        return self.guidance.compose(first, [(branch.weight, value) for branch, value in zip(branches[1:], values[1:])])


def stretch(layout: Layout, modalities: Sequence[str] | None, start: Fraction, stop: Fraction | None) -> Cells:
    """The cells of some modalities in ``[start, stop)`` seconds; of all where None, to the clip's end where None.

    Raises:
        KeyError: if the layout has no such modality.
        ValueError: if that is no stretch of the clip.
    """
    stop = max(track.edges[-1] for track in layout.tracks) if stop is None else stop
    if not start < stop:
        raise ValueError(f"there is nothing between {float(start):g} and {float(stop):g} s")
    return layout.covered({name: [(start, stop)] for name in (layout.modalities if modalities is None else modalities)})


def per_modality(layout: Layout, scale: float, scales: Mapping[str, float]) -> Float[Tensor, "modality segment"]:
    """A number for every cell: its modality's in ``scales``, else ``scale``.

    Raises:
        KeyError: if the layout has no such modality.
    """
    rows = torch.full((layout.M, layout.N), scale, dtype=torch.float64)
    for name, own in scales.items():
        rows[layout.row(name)] = own
    return rows
