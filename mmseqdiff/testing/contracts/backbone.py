"""The laws of networks."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Latents
from mmseqdiff.testing.contracts.contract import Contract, bits, law
from mmseqdiff.testing.strategies import latents, layouts, timesteps

__all__ = ["BackboneContract"]

T = 1000
ANY = {"data": st.data(), "layout": layouts()}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


class BackboneContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.Backbone`, in evaluation mode and without gradients.

    ``build(layout)`` makes the network for a layout. Noise is added to all weights, as many networks return zeros before
    they are trained. Levels are those of T = 1000.
    """

    kind = "backbone"

    def build(self, layout: Layout) -> nn.Module:
        """The network for a layout."""
        raise NotImplementedError(f"{type(self).__name__} should say how the network is built: def build(self, layout)")

    def network(self, layout: Layout) -> nn.Module:
        """The network, none of whose weights is zero."""
        torch.manual_seed(0)
        network = self.build(layout).eval().requires_grad_(False)
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
        return network

    @law(2, cost=2, **ANY)
    def test_predictions_are_shaped_as_the_latents_and_finite(self, data: Any, layout: Layout) -> None:
        """There is one finite tensor per modality, of the shape and dtype of its latents, at all levels from 0 to T."""
        z, t = data.draw(latents(layout)), data.draw(timesteps(layout, T))
        made = self.network(layout)(z, t)
        assert set(made) == set(z), f"the network predicts {sorted(made)}, expected {sorted(z)}"
        for name, value in z.items():
            assert made[name].shape == value.shape, f"{name!r} is {tuple(made[name].shape)}, not {tuple(value.shape)}"
            assert made[name].dtype == value.dtype, f"{name!r} is {made[name].dtype}, expected {value.dtype}"
            assert made[name].isfinite().all(), f"the prediction of {name!r} is not finite"

    @law(9, cost=2, **ANY)
    def test_the_batch_does_not_matter(self, data: Any, layout: Layout) -> None:
        """An example's prediction is the same whatever else is in the batch, to 1e-5, and what is passed in is left alone."""
        network, z, t = self.network(layout), data.draw(latents(layout)), data.draw(timesteps(layout, T))
        before = {name: value.clone() for name, value in z.items()}
        together = network(z, t)
        assert all(torch.equal(bits(z[name]), bits(before[name])) for name in z), "the network changed its input"
        for b in range(len(t)):
            alone = network({name: value[b : b + 1] for name, value in z.items()}, t[b : b + 1])
            self._close(alone, {name: value[b : b + 1] for name, value in together.items()}, "the batch")

    @law(5, cost=2, **ANY)
    def test_every_level_is_read(self, data: Any, layout: Layout) -> None:
        """A cell's prediction depends on its own level, and not only on whole ones."""
        network, z = self.network(layout), data.draw(latents(layout, 1))
        m, n = data.draw(st.sampled_from(layout.valid.nonzero().tolist()))
        made = []
        for level in (300.25, 300.75, 700.0):
            t = torch.where(layout.valid, 300.25, 0.0)[None].clone()
            t[0, m, n] = level
            made.append(network(z, t)[layout.modalities[m]][:, n])
        where = layout.describe(m, n)
        assert not torch.equal(made[0], made[2]), f"the prediction of {where} does not depend on its level"
        assert not torch.equal(made[0], made[1]), f"the prediction of {where} is the same at levels 300.25 and 300.75"

    @law(5, cost=2, **ANY)
    def test_latents_are_read(self, data: Any, layout: Layout) -> None:
        """A cell's prediction depends on its own latents."""
        network, z, t = self.network(layout), data.draw(latents(layout, 1)), torch.where(layout.valid, 300.0, 0.0)[None]
        m, n = data.draw(st.sampled_from(layout.valid.nonzero().tolist()))
        name = layout.modalities[m]
        other = {key: value.clone() for key, value in z.items()}
        other[name][:, n] += torch.linspace(1, 2, other[name][0, n].numel()).reshape(other[name][:, n].shape)
        same = torch.equal(network(z, t)[name][:, n], network(other, t)[name][:, n])
        assert not same, f"the prediction of {layout.describe(m, n)} does not depend on its latents"

    @law(5, cost=2, **ANY)
    def test_no_self_condition_is_one_of_zeros(self, data: Any, layout: Layout) -> None:
        """A self-condition may be passed, and where there is none it is the same as zeros."""
        network, z, t = self.network(layout), data.draw(latents(layout)), data.draw(timesteps(layout, T))
        zeros = {name: torch.zeros_like(value) for name, value in z.items()}
        self._close(network(z, t, self_condition=zeros), network(z, t), "a self-condition of zeros")
        network(z, t, self_condition=z)

    @law(8, cost=2, **{**ANY, "layout": layouts(min_modalities=2)})
    def test_the_order_of_the_tracks_does_not_matter(self, data: Any, layout: Layout) -> None:
        """The weights fit a layout with the tracks in another order, and predict the same there, to 1e-5."""
        network, z, t = self.network(layout), data.draw(latents(layout)), data.draw(timesteps(layout, T))
        order = list(data.draw(st.permutations(range(layout.M))))
        permuted = Layout([layout.tracks[m] for m in order])
        other = self.network(permuted)
        other.load_state_dict(network.state_dict())
        made = other({name: z[name] for name in permuted.modalities}, t[:, order])
        self._close(made, network(z, t), "the order of the tracks")

    @staticmethod
    def _close(made: Latents, expected: Latents, what: str) -> None:
        scale = max(float(value.abs().max()) for value in expected.values()) or 1
        for name, value in expected.items():
            torch.testing.assert_close(
                made[name] / scale, value / scale, **CLOSE, msg=lambda why: f"{what} changes the prediction: {why}"
            )
