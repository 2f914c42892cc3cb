"""A task of one's own, and the properties that make it a condition.

    pytest examples/given_cells.py

``EveryOther`` gives every other segment of one modality. Hypothesis draws layouts and worlds; what is asserted is what
any user of the task relies on: the given cells come out as they went in, what is not given has no influence on the
result, and something is left to generate.
"""

import attrs
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jaxtyping import Bool
from torch import Tensor

import mmseqdiff
from mmseqdiff import random
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Task
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import layouts

HOST = mmseqdiff.load_plugins()


@attrs.frozen
class EveryOther(Task):
    """Segments 0, 2, 4 … of one modality are given."""

    modality: str

    def given(self, layout: Layout) -> Bool[Tensor, "modality segment"]:
        """True for them."""
        rows = {track.modality: torch.zeros(track.segments, dtype=torch.bool) for track in layout.tracks}
        rows[self.modality][::2] = True
        return layout.stack(rows)


@settings(max_examples=10, deadline=None)
@given(layout=layouts(), data=st.data())
def test_the_condition_is_kept_and_nothing_else_gets_through(layout, data):
    """Two clips that agree where they are given make the same result, and hold the given cells bit for bit."""
    task = EveryOther(data.draw(st.sampled_from(layout.modalities)))
    cells = task.given(layout)
    assume((layout.valid & ~cells).any())
    world, schedule = GaussianWorld.random(layout), HOST.build("schedule", "linear", num_levels=10)
    plan = HOST.build("plan", "full", steps=3)(layout, cells, num_levels=10)
    keys = random.example_keys(0, range(2))
    clip = world.sample(keys)
    given_rows = layout.split(cells)

    def where_given(name: str, value: Tensor) -> Tensor:
        return given_rows[name].view(1, -1, *[1] * (value.dim() - 2)).expand_as(value)

    other = {name: torch.where(where_given(name, value), value, value + 9) for name, value in clip.items()}
    made, again = (
        generate(world.denoiser(schedule), HOST.build("sampler", "ddim"), plan, keys, given=source, dtype=torch.float64)
        for source in (clip, other)
    )
    for name, value in made.items():
        assert torch.equal(value, again[name])
        kept = where_given(name, value)
        assert torch.equal(value[kept], clip[name][kept])
