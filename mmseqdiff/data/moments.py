"""Mean and variance of every channel, gathered piece by piece.

    (1) one piece of n numbers     mean = Σ x / n,   m2 = Σ (x − mean)²
    (2) two pieces a and b         δ = mean_b − mean_a,  mean = mean_a + δ n_b / n,  m2 = m2_a + m2_b + δ² n_a n_b / n

(2) is Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979); all
in float64.
"""

import attrs
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mmseqdiff.modality import Statistics

__all__ = ["Moments"]


@attrs.frozen(eq=False)
class Moments:
    """Per-channel moments of the numbers seen so far.

    Attributes:
        count: how many numbers each channel has seen.
        mean: ``(channels,)``.
        m2: ``(channels,)``, the sum of squared deviations from the mean.
    """

    count: int
    mean: Float64[Tensor, " channels"]
    m2: Float64[Tensor, " channels"]

    @classmethod
    def none(cls, channels: int) -> "Moments":
        """Before anything is seen."""
        return cls(0, torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64))

    @classmethod
    def of(cls, values: Float[Tensor, "*shape channels"]) -> "Moments":
        """Eq. (1)."""
        rows = values.detach().cpu().to(torch.float64).flatten(0, -2)
        mean = rows.mean(0)
        return cls(len(rows), mean, (rows - mean).square().sum(0))

    def merge(self, other: "Moments") -> "Moments":
        """Eq. (2)."""
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        return Moments(count, mean, self.m2 + other.m2 + delta.square() * (self.count * other.count / count))

    def statistics(self) -> Statistics:
        """Mean and standard deviation in float32.

        Raises:
            ValueError: if nothing was seen.
        """
        if self.count == 0:
            raise ValueError("no numbers were seen, so there are no statistics")
        return Statistics(self.mean.to(torch.float32), (self.m2 / self.count).sqrt().to(torch.float32))
