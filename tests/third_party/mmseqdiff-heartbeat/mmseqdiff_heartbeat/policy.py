"""A policy: even and odd reference segments have levels of their own."""

import attrs

from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff.timesteps import canonical, tied_levels


@attrs.frozen
class Alternating(TimestepPolicy):
    def ties(self, layout):
        reference = layout.correspondence()
        return (canonical(reference.where(reference < 0, reference % 2)),)

    def sample(self, layout, keys, *, num_levels):
        return tied_levels(self.ties(layout)[0], keys, num_levels)
