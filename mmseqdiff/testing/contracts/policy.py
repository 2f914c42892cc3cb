"""The laws of timestep policies."""

from collections import Counter
from collections.abc import Mapping, Sequence

import attrs
import torch
from hypothesis import strategies as st
from jaxtyping import Int
from scipy import stats
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Keys, Levels, TimestepPolicy
from mmseqdiff.testing.contracts.contract import Contract, law, not_applicable
from mmseqdiff.testing.strategies import keys, layouts
from mmseqdiff.timesteps import ALWAYS_CLEAN, PADDING

__all__ = ["PolicyContract", "StatedLevels"]

LAYOUTS = layouts(min_modalities=2)
ANY = {"layout": LAYOUTS, "keys": keys(4), "num_levels": st.integers(1, 1000)}
MANY, T = 4000, 16
UNLIKELY = 1e-7  # draws follow from fixed keys, so that what passed once does not begin to fail


@attrs.frozen
class StatedLevels:
    """A worked example of a policy: the distribution of the whole matrix, on a layout of few cells and for few levels.

    Attributes:
        layout: the tracks.
        num_levels: T, at most 9.
        probabilities: matrix → how often it is drawn. A matrix has a digit for the level of every segment, and a ``/``
            between two tracks: ``"21/1"``. Those that are not named are never drawn.
    """

    layout: Layout
    num_levels: int
    probabilities: Mapping[str, float]


class PolicyContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.TimestepPolicy`.

    Layouts have the tracks video and audio, and some have pose. A policy that knows the distribution of one cell's level
    may state it as ``marginal(num_levels)``: ``(T,)`` probabilities of the levels 1 … T, of every cell while it is not
    clean. It is then held to it. ``stated`` takes :class:`StatedLevels`.
    """

    kind = "policy"
    plugin: TimestepPolicy

    def _ties(self, layout: Layout) -> Sequence[Int[Tensor, "modality segment"]]:
        ties = self.plugin.ties(layout)
        if ties is None:
            raise not_applicable("the policy does not say which cells share a level")
        return ties

    def _draw(self, layout: Layout, count: int, num_levels: int) -> tuple[Levels, Keys]:
        """Many matrices, and the component of each."""
        drawn = random.example_keys(0, range(count))
        return self.plugin.sample(layout, drawn, num_levels=num_levels), self.plugin.component(drawn)

    @law(4, **ANY)
    def test_levels_are_whole_numbers_of_1_to_t(self, layout: Layout, keys: Keys, num_levels: int) -> None:
        """Levels are whole numbers of 1 … T, and 0 only where a cell is clean."""
        t = self.plugin.sample(layout, keys, num_levels=num_levels)
        assert t.shape == (len(keys), layout.M, layout.N), f"{len(keys)} keys gave levels of shape {tuple(t.shape)}"
        assert t.is_floating_point(), f"levels are {t.dtype}, expected floating-point numbers"
        wrong = ~((t == t.round()) & (t >= 0) & (t <= num_levels))
        assert not wrong.any(), f"there is a level {t[wrong][:1].tolist()}, expected whole numbers of 0 … {num_levels}"
        ties = self.plugin.ties(layout)
        if ties is None:
            assert (t > 0).flatten(1).any(1).all(), "an example has no cell to denoise: all its levels are 0"
            return
        for levels, k in zip(t, self.plugin.component(keys).tolist()):
            assert (levels[ties[k] >= 0] >= 1).all(), "a cell that is not always clean has level 0, expected 1 … T"
            assert (levels[ties[k] == ALWAYS_CLEAN] == 0).all(), "a cell that is always clean has a level above 0"

    @law(4, **ANY)
    def test_padding_has_level_0(self, layout: Layout, keys: Keys, num_levels: int) -> None:
        """Cells that do not exist have level 0."""
        t = self.plugin.sample(layout, keys, num_levels=num_levels)
        assert (t[:, ~layout.valid] == 0).all(), "a cell of the padding has a level above 0"

    @law(4, layout=LAYOUTS)
    def test_ties_are_partitions_of_the_cells(self, layout: Layout) -> None:
        """ties gives one partition per component, in which −1 marks the padding and nothing else."""
        ties = self._ties(layout)
        names = self.plugin.components
        assert len(ties) == len(names), f"{len(ties)} partitions for the {len(names)} components {names}"
        for partition in ties:
            assert partition.shape == layout.valid.shape, f"a partition has shape {tuple(partition.shape)}"
            assert torch.equal(partition == PADDING, ~layout.valid), "−1 should mark the padding, and only the padding"

    @law(4, **ANY)
    def test_levels_are_equal_within_a_group(self, layout: Layout, keys: Keys, num_levels: int) -> None:
        """Cells that a partition ties share a level."""
        ties, t = self._ties(layout), self.plugin.sample(layout, keys, num_levels=num_levels)
        for levels, k in zip(t, self.plugin.component(keys).tolist()):
            for group in ties[k][ties[k] >= 0].unique():
                found = levels[ties[k] == group].unique().tolist()
                assert len(found) == 1, f"cells of group {int(group)} have the levels {found}"

    @law(4, layout=LAYOUTS, cost=2)
    def test_groups_are_free_of_each_other(self, layout: Layout) -> None:
        """Cells that a partition does not tie have different levels in some example."""
        ties, (t, component) = self._ties(layout), self._draw(layout, 64, 1000)
        for k, partition in enumerate(ties):
            rows = t[component == k]
            firsts = [int((partition.flatten() == group).nonzero()[0]) for group in partition[partition >= 0].unique()]
            if len(rows) < 4 or len(firsts) < 2:  # too few to tell chance from a tie
                continue
            levels = rows.flatten(1)[:, firsts]
            apart = (levels[:, :, None] != levels[:, None]).any(0)
            assert (apart | torch.eye(len(firsts), dtype=torch.bool)).all(), "two groups always have the same level"

    @law(4, **ANY)
    def test_component_is_an_index_of_components(self, layout: Layout, keys: Keys, num_levels: int) -> None:
        """component says for each example which of components it was drawn from."""
        component, names = self.plugin.component(keys), self.plugin.components
        assert component.shape == keys.shape, f"{len(keys)} keys gave components of shape {tuple(component.shape)}"
        assert ((component >= 0) & (component < len(names))).all(), f"{component.tolist()} are no indices of {names}"

    @law(9, **ANY)
    def test_the_batch_does_not_matter(self, layout: Layout, keys: Keys, num_levels: int) -> None:
        """An example's levels and component follow from its own key, whatever else is in the batch."""

        def draw(some: Keys) -> tuple[Tensor, Tensor]:
            return self.plugin.sample(layout, some, num_levels=num_levels), self.plugin.component(some)

        together = draw(keys)
        for way, some, kept in (("alone", keys[-1:], slice(-1, None)), ("in another order", keys.flip(0), slice(None))):
            for what, one, other in zip(("levels", "component"), draw(some), together):
                expected = other[kept].flip(0) if len(some) > 1 else other[kept]
                assert torch.equal(one, expected), f"an example's {what} change when it is drawn {way}"

    @law(9, layout=LAYOUTS, cost=2)
    def test_every_key_draws_anew(self, layout: Layout) -> None:
        """Different keys give different matrices."""
        t = self._draw(layout, 64, 1000)[0].flatten(1)
        t = t[(t > 0).any(1)]
        assert len(t) < 8 or len(t.unique(dim=0)) > len(t) // 2, "different keys mostly give the same matrix"

    @law(4, layout=LAYOUTS, cost=4)
    def test_marginals_are_as_stated(self, layout: Layout) -> None:
        """Each cell's own level has the distribution that the policy states."""
        state = getattr(self.plugin, "marginal", None)
        marginal = state(T) if state else None
        if marginal is None:
            raise not_applicable("the policy states no marginal")
        expected = marginal.double() / marginal.sum()
        for m, n in layout.valid.nonzero().tolist():
            noisy = self._draw(layout, MANY, T)[0][:, m, n]
            noisy = noisy[noisy > 0].long()
            if len(noisy) < 20 * T:  # chi-square needs some in every bin
                continue
            counts = torch.bincount(noisy - 1, minlength=T)
            assert not counts[expected == 0].any(), f"{layout.describe(m, n)} has levels that the marginal excludes"
            likely = expected > 0
            chance = stats.chisquare(counts[likely].numpy(), (expected[likely] * len(noisy)).numpy()).pvalue
            assert chance > UNLIKELY, (
                f"{layout.describe(m, n)} has the levels 1 … {T} {counts.tolist()} times, and p = {chance:.1g} under the "
                "marginal that the policy states"
            )

    @law(4)
    def test_worked_examples_hold(self) -> None:
        """In the worked examples every matrix comes as often as was written down, and no other."""
        for example in self.examples():
            rows = example.layout.split(self._draw(example.layout, MANY, example.num_levels)[0].long()).values()
            texts = [["".join(map(str, levels)) for levels in row.tolist()] for row in rows]
            found, stated = Counter(map("/".join, zip(*texts))), example.probabilities
            assert set(found) <= set(stated), f"drawn, but not stated: {sorted(set(found) - set(stated))}"
            if len(stated) > 1:
                counts, expected = ([at[matrix] for matrix in stated] for at in (found, stated))
                chance = stats.chisquare(counts, [MANY * share / sum(expected) for share in expected]).pvalue
                assert chance > UNLIKELY, (
                    f"of {MANY} matrices {dict(found)} were drawn: p = {chance:.1g} under what is stated"
                )
