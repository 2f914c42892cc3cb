"""Predictions composed into one, before anything is stepped.

With D_0 the plain prediction and D_j others for the same latents, in any prediction kind (all are affine in one another):

    (1) D = D_0 + Σ_j w_j (D_j − D_0)             = Σ_j w_j D_j over all predictions, w_0 = 1 − Σ_j w_j
    (2) w_j ← 0 in cells whose own level lies outside [low, high]                        arXiv:2404.07724, per cell
    (3) D ← φ D std(D_0) / std(D) + (1 − φ) D                                            arXiv:2305.08891 Eq. 15–16

Composing predictions and then stepping once is not the same as stepping each and composing the steps: with noise in the
step its variance would grow by Σ w², and a multi-step solver would need a history per branch.
"""

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.forward import Prediction
from mmseqdiff.protocols import Guidance, Latents
from mmseqdiff.timesteps import expand

__all__ = ["Composed"]

ALWAYS = (0.0, 1.0)
"""The interval that holds every level."""


def _interval(_: object, attribute: attrs.Attribute, value: tuple[float, float]) -> None:
    low, high = value
    if not 0 <= low <= high <= 1:
        raise ValueError(f"'interval' must be two rising fractions of T, between 0 and 1, got {low:g} and {high:g}")


@attrs.frozen(kw_only=True)
class Composed(Guidance):
    """What guidances that compose predictions have in common.

    Attributes:
        interval: guide a cell only while its own level lies in here; fractions of T, both ends included.
        rescale: φ of Eq. (3), from 0 (off) to 1.

    Raises:
        ValueError: if these are outside their ranges.
    """

    interval: tuple[float, float] = attrs.field(default=ALWAYS, validator=_interval)
    rescale: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])

    def compose(
        self, plain: Prediction, others: Sequence[tuple[Float[Tensor, "modality segment"], Latents]]
    ) -> Prediction:
        """Eq. (1) to (3).

        Args:
            plain: D_0, at the loop's own latents and levels.
            others: for every D_j its weight in each cell, and its value in the kind of ``plain``.
        """
        layout, t = plain.layout, plain.t
        low, high = (end * plain.schedule.num_levels for end in self.interval)
        guided = dict(plain.value)
        for weight, value in others:
            own = weight.to(t).expand_as(t) * ((low <= t) & (t <= high))  # Eq. (2)
            for name, w in layout.split(own).items():
                guided[name] = guided[name] + expand(w, guided[name]) * (value[name] - plain.value[name])  # Eq. (1)
        if self.rescale > 0 and others:
            for name, cells in layout.split(t > 0).items():
                shown = expand(cells, guided[name])
                before, after = (_deviation(x[name], shown) for x in (plain.value, guided))
                factor = torch.where(after > 0, before / torch.where(after > 0, after, 1), 1)
                guided[name] = guided[name] * torch.where(shown, 1 + self.rescale * (factor - 1), 1)  # Eq. (3)
        return plain.with_value(guided)


def _deviation(value: Float[Tensor, "batch segment ..."], cells: Tensor) -> Float[Tensor, "batch 1 ..."]:
    """The standard deviation of each example's numbers in ``cells``; 0 where there are none."""
    over, cells = tuple(range(1, value.ndim)), cells.expand_as(value)
    count = cells.sum(over, keepdim=True).clamp(min=1)
    mean = torch.where(cells, value, 0).sum(over, keepdim=True) / count
    return (torch.where(cells, value - mean, 0).square().sum(over, keepdim=True) / count).sqrt()
