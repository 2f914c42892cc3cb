"""How well actions and pictures are predicted, each beside what can be had without a model.

With a_n the action of step n, held over [n, n + 1) / rate, and v_n the picture shown when it starts:

    (1) inverse dynamics    steps with v_n and v_{n+1} both given
    (2) behaviour           steps whose v_{n+1} comes after the last given picture
    (3) accuracy            share of right actions over the generated steps of (1) or (2)
    (4) majority            the same for the action that the data set's player takes most often
    (5) chance              1 / number of actions
    (6) error, repeat       mean squared error of generated pictures, and of the last given picture before each
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.protocols import Comparison, Metric
from mmseqdiff_vizdoom.actions import ACTIONS

__all__ = ["MAJORITY", "Behaviour", "InverseDynamics", "PredictionError"]

MAJORITY = "forward"
"""What the player of the data set ``vizdoom`` does most often."""


@attrs.frozen
class ActionAccuracy(Metric):
    """Eq. (3) to (5) over some steps; a subclass says which.

    Attributes:
        video: the modality whose pictures are given.
        actions: the modality that is measured.
        majority: index of the action of Eq. (4).
    """

    video: str = "video"
    actions: str = "actions"
    majority: int = ACTIONS.index(MAJORITY)
    better: ClassVar[Mapping[str, str]] = {"accuracy": "higher", "majority": "higher", "chance": "higher"}

    @abstractmethod
    def steps(self, comparison: Comparison) -> Bool[Tensor, " step"]:
        """The steps that this is about, given or not."""

    def __call__(self, comparison: Comparison) -> dict[str, float]:
        """``accuracy``, ``majority`` and ``chance``."""
        if not {self.video, self.actions} <= comparison.given.keys():
            return {}
        measured = self.steps(comparison) & ~comparison.given[self.actions]
        if not measured.any():
            return {}
        found, true = (signals[self.actions][measured] for signals in (comparison.generated, comparison.real))
        right = found.argmax(-1) == true.argmax(-1)
        return {
            "accuracy": right.float().mean().item(),
            "majority": (true.argmax(-1) == self.majority).float().mean().item(),
            "chance": 1 / true.shape[-1],
        }

    def pictures(self, comparison: Comparison) -> tuple[Tensor, Tensor]:
        """For every step the index of the picture at its start and of the one at its end; the latter may be too large."""
        ratio = comparison.rates[self.video] / comparison.rates[self.actions]
        edges = torch.tensor([math.floor(n * ratio) for n in range(len(comparison.given[self.actions]) + 1)])
        return edges[:-1], edges[1:]


@attrs.frozen
class InverseDynamics(ActionAccuracy):
    """Accuracy of the actions between two given pictures, Eq. (1)."""

    def steps(self, comparison: Comparison) -> Bool[Tensor, " step"]:
        """Those of Eq. (1)."""
        before, after = self.pictures(comparison)
        given = torch.cat([comparison.given[self.video], torch.tensor([False])])
        last = len(given) - 1
        return given[before.clamp(max=last)] & given[after.clamp(max=last)]


@attrs.frozen
class Behaviour(ActionAccuracy):
    """Accuracy of the actions after the last given picture, Eq. (2), where some pictures are given and some are not."""

    def steps(self, comparison: Comparison) -> Bool[Tensor, " step"]:
        """Those of Eq. (2)."""
        given, (_, after) = comparison.given[self.video], self.pictures(comparison)
        if given.all() or not given.any():
            return torch.zeros_like(after, dtype=torch.bool)
        return after > given.nonzero().max()


@attrs.frozen
class PredictionError(Metric):
    """Eq. (6), over the generated pictures of play that have a given one before them.

    Attributes:
        video: the modality that is measured.
        actions: a clip of play has this modality.
    """

    video: str = "video"
    actions: str = "actions"
    better: ClassVar[Mapping[str, str]] = {"error": "lower", "repeat": "lower"}

    def __call__(self, comparison: Comparison) -> dict[str, float]:
        """``error`` and ``repeat``, for pictures in [0, 1]."""
        if not {self.video, self.actions} <= comparison.given.keys():
            return {}
        given = comparison.given[self.video]
        last = torch.where(given, torch.arange(len(given)), -1).cummax(0).values  # the last given picture so far
        measured = ~given & (last >= 0)
        if not measured.any():
            return {}
        real = comparison.real[self.video]
        guesses = {"error": comparison.generated[self.video][measured], "repeat": real[last[measured]]}
        return {name: (guess - real[measured]).square().mean().item() for name, guess in guesses.items()}
