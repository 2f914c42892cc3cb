"""A scripted player that walks, turns and shoots at random, each for a while, so that what it does can be seen.

Before step n, with w the weights of WEIGHTS and u_n, v_n uniform numbers keyed by the clip and n:

    (1) an action is over when it was held for its duration, or when the player has walked against something: forward for
        RUN_UP steps or more, and in the last hardly at all
    (2) the next action: against something, a turn to the left or the right; else drawn from w without the last one, by u_n
    (3) its duration: SHORTEST … LONGEST steps, uniform, by v_n

So no action follows from a picture alone, but what follows a wall does, and an action mostly goes on.
"""

from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType

import attrs
import torch

from mmseqdiff import random
from mmseqdiff_vizdoom.actions import ACTIONS

__all__ = ["BLOCKED", "LONGEST", "RUN_UP", "SHORTEST", "WEIGHTS", "Player", "choose"]

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"still": 0.08, "forward": 0.42, "backward": 0.1, "left": 0.15, "right": 0.15, "shoot": 0.1}
)
"""Eq. (2)'s w. The most frequent action is ``mmseqdiff_vizdoom.metrics.MAJORITY``."""
SHORTEST = 3
"""Steps that an action is held at least."""
LONGEST = 9
"""Steps that an action is held at most."""
RUN_UP = 2
"""Steps forward after which a player that is not held up has gained speed."""
BLOCKED = 8.0
"""A step forward that takes the player less far than this, in the map's units, ended against something. From standing, free
steps take 7, 16, 22 … and 33 in the end."""


def choose(options: Sequence[str], u: float) -> str:
    """One of ``options`` by their weights, for a uniform number in (0, 1)."""
    edges = list(accumulate(WEIGHTS[name] for name in options))
    return options[min(bisect(edges, u * edges[-1]), len(options) - 1)]


@attrs.define
class Player:
    """The player of one clip.

    Attributes:
        key: what its choices follow from, as an integer.
        steps: how many it can make at most.
    """

    key: int
    steps: int
    _held: str = attrs.field(default="", init=False)
    _left: int = attrs.field(default=0, init=False)
    _since: int = attrs.field(default=0, init=False)
    _step: int = attrs.field(default=0, init=False)
    _draws: list[list[float]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._draws = random.uniform(torch.tensor(self.key), "player", (self.steps, 2)).tolist()

    def act(self, moved: float) -> str:
        """The action of the next step.

        Args:
            moved: how far the player came in the last step, in the map's units.
        """
        u, v = self._draws[self._step]
        blocked = self._held == "forward" and self._since >= RUN_UP and moved < BLOCKED
        if blocked or not self._left:  # Eq. (1)
            options = ("left", "right") if blocked else [name for name in ACTIONS if name != self._held]
            self._held = choose(options, u)  # Eq. (2)
            self._left, self._since = SHORTEST + int(v * (LONGEST - SHORTEST + 1)), 0  # Eq. (3)
        self._step += 1
        self._left -= 1
        self._since += 1
        return self._held
