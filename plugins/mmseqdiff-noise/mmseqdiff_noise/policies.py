"""Timestep policies: the paper's four, their mixtures, and ways to compose any policies.

Each of the paper's strategies (arXiv:2405.13762 §3.2, Algorithm 1) is a partition of the cells into groups that share
a level t_ref ~ U{1, …, T}:

    Vanilla   t(m, n) = t_ref(1, 1)
    Pm        t(m, n) = t_ref(m, 1)
    Pt        t(m, n) = t_ref(1, n'), n' the corresponding segment of the reference track
    Ptm       t(m, n) = t_ref(m, n)
    MoNL      one of the four, uniformly, drawn for every example
"""

from abc import abstractmethod
from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Task, TimestepPolicy
from mmseqdiff.timesteps import ALWAYS_CLEAN, PADDING, canonical, tied_levels

__all__ = [
    "Mixture", "PerModality", "PerSegment", "PerSegmentModality", "Restricted", "TaskPolicy", "Vanilla", "WithClean",
    "monl", "pt_pm_ptm",
]  # fmt: skip

Partition = Int[Tensor, "modality segment"]


class TiedPolicy(TimestepPolicy):
    """A policy that is one partition: a level per group, uniform on 1 … T."""

    name: str

    @abstractmethod
    def groups(self, layout: Layout) -> Partition:
        """The group of every cell; what it says of padding is not read."""

    def ties(self, layout: Layout) -> tuple[Partition, ...]:
        """The partition, groups numbered from 0."""
        return (canonical(torch.where(layout.valid, self.groups(layout), PADDING)),)

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        return tied_levels(self.ties(layout)[0], keys, num_levels)

    def marginal(self, num_levels: int) -> Float[Tensor, " level"] | None:
        """P(level = 1 … T) of every cell while it is not clean: uniform."""
        return torch.full((num_levels,), 1 / num_levels)

    @property
    def components(self) -> tuple[str, ...]:
        """The policy's name."""
        return (self.name,)


@attrs.frozen
class Vanilla(TiedPolicy):
    """One level for all cells: ordinary joint diffusion."""

    name = "vanilla"

    def groups(self, layout: Layout) -> Partition:
        """All in one."""
        return torch.zeros(layout.M, layout.N, dtype=torch.int64)


@attrs.frozen
class PerModality(TiedPolicy):
    """Pm: one level per modality (UniDiffuser, arXiv:2303.06555, for sequences)."""

    name = "per_modality"

    def groups(self, layout: Layout) -> Partition:
        """One per row."""
        return torch.arange(layout.M)[:, None].expand(-1, layout.N)


@attrs.frozen
class PerSegment(TiedPolicy):
    """Pt: one level per segment of the reference track; the other tracks follow by their midpoints.

    Attributes:
        reference: a modality; the coarsest where None.
    """

    reference: str | None = None
    name = "per_segment"

    def groups(self, layout: Layout) -> Partition:
        """The corresponding segment of the reference track."""
        return layout.correspondence(self.reference)


@attrs.frozen
class PerSegmentModality(TiedPolicy):
    """Ptm: a level of its own for every cell.

    Attributes:
        granularity: ``latent``: every cell is free. ``segment``: the cells of one modality that correspond to one
            segment of the coarsest track share a level, so that no cell can be copied from an almost clean neighbour.
        floor: every level is at least ceil(floor · c), with c ~ U{1, …, T} an example's own. At 0 cells are free; above,
            a very noisy example has no almost clean cell, while clean examples are still trained. Each cell's own level
            is then P(t <= x) = x / T · min(1, floor(x / floor) / T).
    """

    granularity: str = attrs.field(default="latent", validator=attrs.validators.in_(("latent", "segment")))
    floor: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])
    name = "per_segment_modality"

    def groups(self, layout: Layout) -> Partition:
        """One per cell, or per modality and coarse segment."""
        rows = torch.arange(layout.M)[:, None] * layout.N
        return rows + (torch.arange(layout.N) if self.granularity == "latent" else layout.correspondence())

    def ties(self, layout: Layout) -> tuple[Partition, ...] | None:
        """The partition; None with a floor, which ties cells without making their levels equal."""
        return TiedPolicy.ties(self, layout) if self.floor == 0 else None

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        levels = tied_levels(TiedPolicy.ties(self, layout)[0], keys, num_levels)
        lowest = (self.floor * random.integers(keys, "floor", 1, num_levels).double()).ceil()[:, None, None]
        return torch.where(layout.valid.to(keys.device), torch.maximum(levels, lowest), 0).to(torch.float32)

    def marginal(self, num_levels: int) -> Float[Tensor, " level"]:
        """P(level = 1 … T) of every cell: its own level and the floor's are both below x."""
        x = torch.arange(num_levels + 1, dtype=torch.float64)
        below = (x / self.floor).floor().clamp(max=num_levels) if self.floor else torch.full_like(x, num_levels)
        return (x * below / num_levels**2).diff()


@attrs.frozen
class TaskPolicy(TiedPolicy):
    """One task's conditional distribution: given cells are clean, all others share a level.

    The paper's task-specific baseline (arXiv:2405.13762 Table 1, "Conditional").

    Attributes:
        task: says which cells are given.
    """

    task: Task
    name = "task"

    def groups(self, layout: Layout) -> Partition:
        """Given cells are marked always clean."""
        return torch.where(self.task.given(layout), ALWAYS_CLEAN, 0)


def _choose(drawn: Sequence[Tensor], which: Int[Tensor, " batch"]) -> Tensor:
    """``drawn[which[b]][b]`` for every example b."""
    return torch.stack(list(drawn))[which, torch.arange(len(which), device=which.device)]


@attrs.frozen
class Mixture(TimestepPolicy):
    """Any policies, one drawn for every example.

    Attributes:
        policies: what is mixed; may be mixtures themselves.
        weights: their probabilities, up to a common factor; equal where None.

    Raises:
        ValueError: if there is no policy, or the weights are not one positive number for each.
    """

    policies: tuple[TimestepPolicy, ...]
    weights: tuple[float, ...] | None = None

    def __attrs_post_init__(self) -> None:
        if not self.policies:
            raise ValueError("a mixture needs at least one policy")
        if self.weights is not None and (len(self.weights) != len(self.policies) or min(self.weights) <= 0):
            raise ValueError(
                f"a mixture of {len(self.policies)} policies needs as many positive weights, got {self.weights}"
            )

    def _which(self, keys: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        weights = torch.tensor(self.weights or [1.0] * len(self.policies), dtype=torch.float64, device=keys.device)
        edges = (weights.cumsum(0) / weights.sum())[:-1]
        return torch.searchsorted(edges, random.uniform(keys, "mixture").contiguous(), right=True)

    def _inner(self, keys: Int[Tensor, " batch"]) -> list[Int[Tensor, " batch"]]:
        return [random.fold(keys, "mixture", k) for k in range(len(self.policies))]

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key, each from one of the policies."""
        drawn = [
            policy.sample(layout, inner, num_levels=num_levels)
            for policy, inner in zip(self.policies, self._inner(keys))
        ]
        return _choose(drawn, self._which(keys))

    def ties(self, layout: Layout) -> tuple[Partition, ...] | None:
        """The partitions of all components."""
        ties = [policy.ties(layout) for policy in self.policies]
        return None if any(tie is None for tie in ties) else tuple(partition for tie in ties for partition in tie)

    def marginal(self, num_levels: int) -> Float[Tensor, " level"] | None:
        """That of the policies, if all state the same; else how often a cell is clean in each would matter."""
        stated = [state(num_levels) for policy in self.policies if (state := getattr(policy, "marginal", None))]
        same = len(stated) == len(self.policies) and all(
            one is not None and torch.allclose(one.double(), stated[0].double()) for one in stated
        )
        return stated[0] if same else None

    @property
    def components(self) -> tuple[str, ...]:
        """The components of all policies."""
        return tuple(name for policy in self.policies for name in policy.components)

    def component(self, keys: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The component of each example."""
        found, offset = [], 0
        for policy, inner in zip(self.policies, self._inner(keys)):
            found.append(offset + policy.component(inner))
            offset += len(policy.components)
        return _choose(found, self._which(keys))


def monl(granularity: str = "latent") -> Mixture:
    """The mixture of noise levels: vanilla, Pt, Pm and Ptm with equal weights (arXiv:2405.13762 Algorithm 1).

    Args:
        granularity: Ptm's, see :class:`PerSegmentModality`.
    """
    return Mixture((Vanilla(), PerSegment(), PerModality(), PerSegmentModality(granularity)))


def pt_pm_ptm(granularity: str = "latent") -> Mixture:
    """The mixture without vanilla (arXiv:2405.13762 Table 1, ablations).

    Args:
        granularity: Ptm's, see :class:`PerSegmentModality`.
    """
    return Mixture((PerSegment(), PerModality(), PerSegmentModality(granularity)))


@attrs.frozen
class Restricted(TimestepPolicy):
    """One policy on some modalities, another on the rest, independent of each other.

    Attributes:
        policy: for ``modalities``.
        modalities: the names of the rows that it rules.
        rest: for all other rows.
    """

    policy: TimestepPolicy
    modalities: tuple[str, ...]
    rest: TimestepPolicy = Vanilla()

    def _rows(self, layout: Layout) -> Tensor:
        rows = [layout.row(name) for name in self.modalities]
        return torch.tensor([m in rows for m in range(layout.M)])[:, None]

    def _keys(self, keys: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        return random.fold(keys, "restricted"), random.fold(keys, "rest")

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        inner, outer = self._keys(keys)
        ours = self.policy.sample(layout, inner, num_levels=num_levels)
        return torch.where(
            self._rows(layout).to(keys.device), ours, self.rest.sample(layout, outer, num_levels=num_levels)
        )

    def ties(self, layout: Layout) -> tuple[Partition, ...] | None:
        """Every pair of the two policies' partitions, with no group across the boundary."""
        ours, others, rows = self.policy.ties(layout), self.rest.ties(layout), self._rows(layout)
        if ours is None or others is None:
            return None
        size = layout.M * layout.N
        return tuple(canonical(torch.where(rows, a, torch.where(b >= 0, b + size, b))) for a in ours for b in others)

    @property
    def components(self) -> tuple[str, ...]:
        """Every pair of the two policies' components."""
        return tuple(f"{a}/{b}" for a in self.policy.components for b in self.rest.components)

    def component(self, keys: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The pair of each example."""
        inner, outer = self._keys(keys)
        return self.policy.component(inner) * len(self.rest.components) + self.rest.component(outer)


@attrs.frozen
class WithClean(TimestepPolicy):
    """A policy in which, with some probability, the cells that a task gives are clean (level 0).

    The paper trains levels 1 … T only, and shows level 0 at inference for the first time; this trains level 0 too.

    Attributes:
        policy: the levels of all other cells.
        task: which cells are clean.
        probability: how often, per example.
    """

    policy: TimestepPolicy
    task: Task
    probability: float = attrs.field(default=0.1, validator=[attrs.validators.ge(0), attrs.validators.le(1)])

    def _clean(self, keys: Int[Tensor, " batch"]) -> Tensor:
        return random.uniform(keys, "clean") < self.probability

    def sample(
        self, layout: Layout, keys: Int[Tensor, " batch"], *, num_levels: int
    ) -> Float[Tensor, "batch modality segment"]:
        """One matrix per key."""
        levels = self.policy.sample(layout, random.fold(keys, "with_clean"), num_levels=num_levels)
        clean = self._clean(keys)[:, None, None] & self.task.given(layout).to(keys.device)
        return torch.where(clean, 0.0, levels)

    def ties(self, layout: Layout) -> tuple[Partition, ...] | None:
        """The policy's partitions, and the same with the task's cells clean."""
        ties = self.policy.ties(layout)
        if ties is None:
            return None
        return (*ties, *(canonical(torch.where(self.task.given(layout), ALWAYS_CLEAN, tie)) for tie in ties))

    @property
    def components(self) -> tuple[str, ...]:
        """The policy's components, and the same with clean cells."""
        return (*self.policy.components, *(f"{name}+clean" for name in self.policy.components))

    def component(self, keys: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """The component of each example."""
        return self.policy.component(random.fold(keys, "with_clean")) + self._clean(keys) * len(self.policy.components)
