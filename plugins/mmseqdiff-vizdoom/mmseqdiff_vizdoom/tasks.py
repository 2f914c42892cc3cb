"""What can be asked of a model that has actions beside pictures and sound: which stretches of which modality are given."""

from fractions import Fraction

import attrs
from jaxtyping import Bool
from torch import Tensor

from mmseqdiff.layout import Interval, Layout
from mmseqdiff.protocols import Task

__all__ = ["BEGINNING", "PlayTask", "behaviour", "inverse_dynamics", "world_model"]

BEGINNING = Fraction(4, 7)
"""Seconds given where a beginning is: five pictures, or two latents, of the recipe ``avdit-vizdoom``."""


@attrs.frozen
class PlayTask(Task):
    """Some modalities are given as a whole, and some up to one moment.

    Attributes:
        needed: modalities that the layout must have.
        whole: those given as a whole.
        begun: those given up to ``length``; all others where None.
        length: in seconds.
    """

    needed: tuple[str, ...]
    whole: tuple[str, ...] = ()
    begun: tuple[str, ...] | None = ()
    length: Fraction = BEGINNING

    def known(self, layout: Layout) -> dict[str, tuple[Interval, ...]]:
        """The given stretches.

        Raises:
            KeyError: if the layout lacks a modality.
            ValueError: if the clip ends before ``length``.
        """
        for name in self.needed:
            layout.row(name)
        end = max(track.edges[-1] for track in layout.tracks)
        if not 0 < self.length < end:
            raise ValueError(
                f"the given beginning of {float(self.length):g} s must be a part of the clip's {float(end):g} s"
            )
        begun = layout.modalities if self.begun is None else self.begun
        return {
            name: ((Fraction(0), end),)
            if name in self.whole
            else ((Fraction(0), self.length),)
            if name in begun
            else ()
            for name in layout.modalities
        }

    def given(self, layout: Layout) -> Bool[Tensor, "modality segment"]:
        """The cells inside the given stretches."""
        return layout.covered(self.known(layout))


def world_model(actions: str = "actions", length: Fraction = BEGINNING) -> PlayTask:
    """All actions are given, and the first ``length`` seconds of everything else: what is seen and heard from there on?

    Args:
        actions: the modality of the actions.
        length: in seconds.
    """
    return PlayTask(needed=(actions,), whole=(actions,), begun=None, length=length)


def inverse_dynamics(video: str = "video", actions: str = "actions") -> PlayTask:
    """The whole picture is given: which actions were taken? Sound, where there is any, is generated along with them.

    Args:
        video: the modality of the picture.
        actions: that of the actions.
    """
    return PlayTask(needed=(video, actions), whole=(video,))


def behaviour(video: str = "video", actions: str = "actions", length: Fraction = BEGINNING) -> PlayTask:
    """The first ``length`` seconds of the picture are given: what does the player do, then and afterwards?

    Args:
        video: the modality of the picture.
        actions: that of the actions.
        length: in seconds.
    """
    return PlayTask(needed=(video, actions), begun=(video,), length=length)
