"""One number per clip, measured twice: with what belongs to the clip, and with another clip's in its place.

    (1) d_i = own_i − other_i                       the difference of clip i
    (2) p = P(W >= w) under a distribution of d that is symmetric about 0, in the direction in which ``own`` should be
        better: Wilcoxon's signed-rank test, one-sided (Wilcoxon 1945); differences of exactly 0 say nothing
    (3) share = the part of the clips whose own value is the better one

Clip i's other is the clip after it, cyclically, so that every clip serves once as itself and once as another.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import attrs
import numpy as np
from scipy.stats import wilcoxon

__all__ = ["PairedTest"]


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@attrs.frozen
class PairedTest:
    """Whether clips do better with their own than with another's.

    Attributes:
        own: per clip the value with what belongs to it.
        other: per clip the value with another clip's.
        better: ``"higher"`` or ``"lower"``.

    Raises:
        ValueError: if there is no clip, the lengths differ, or a number is not finite.
    """

    own: tuple[float, ...] = attrs.field(converter=_floats)
    other: tuple[float, ...] = attrs.field(converter=_floats)
    better: str = attrs.field(validator=attrs.validators.in_(("higher", "lower")))

    def __attrs_post_init__(self) -> None:
        if not self.own or len(self.own) != len(self.other):
            raise ValueError(
                f"a paired test needs as many values of its own as of others, got {len(self.own)} and {len(self.other)}"
            )
        if not np.isfinite([self.own, self.other]).all():
            raise ValueError("a paired test takes finite numbers")

    @property
    def gains(self) -> np.ndarray:
        """Eq. (1), with the sign that makes positive numbers good."""
        difference = np.subtract(self.own, self.other)
        return difference if self.better == "higher" else -difference

    @property
    def difference(self) -> float:
        """The mean of Eq. (1)."""
        return mean(self.own) - mean(self.other)

    @property
    def p_value(self) -> float:
        """Eq. (2); 1 if no clip makes a difference."""
        gains = self.gains
        return float(wilcoxon(gains, alternative="greater").pvalue) if gains.any() else 1.0

    @property
    def share(self) -> float:
        """Eq. (3)."""
        return float((self.gains > 0).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the summary, and the values of every clip."""
        return {
            "clips": len(self.own),
            "better": self.better,
            "own": mean(self.own),
            "another's": mean(self.other),
            "difference": self.difference,
            "p": self.p_value,
            "share of clips whose own is better": self.share,
            "per clip": {"own": list(self.own), "another's": list(self.other)},
        }
