"""What a multi-step sampler remembers: for every cell its own last estimates of x0, and the levels they were made at.

A cell that does not move pushes nothing, and neither does one at alpha = 0: its half log-SNR is −inf, and in the limit
an estimate there has no weight in later steps. Estimates are those that were stepped with (guided, where there is
guidance), in at least float32.
"""

import attrs
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmseqdiff.forward import Prediction
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Latents, Levels, Sampler
from mmseqdiff.timesteps import expand

__all__ = ["History", "MultistepSampler"]


@attrs.frozen(eq=False)
class History:
    """Every cell's own past, the newest entry first.

    Attributes:
        x0: estimates of the clean latents.
        levels: where they were made, float64.
        entries: how many of them are valid.
    """

    x0: tuple[dict[str, Tensor], ...]
    levels: tuple[Levels, ...]
    entries: Int[Tensor, "batch modality segment"]

    @classmethod
    def empty(cls, z: Latents, depth: int) -> dict[str, Tensor]:
        """A state that holds nothing."""
        state = {}
        for name, latents in z.items():
            cells = latents.shape[:2]
            state[f"entries/{name}"] = torch.zeros(cells, dtype=torch.int64, device=latents.device)
            for i in range(depth):
                state[f"level {i}/{name}"] = torch.zeros(cells, dtype=torch.float64, device=latents.device)
                state[f"x0 {i}/{name}"] = torch.zeros_like(
                    latents, dtype=torch.promote_types(latents.dtype, torch.float32)
                )
        return state

    @classmethod
    def read(cls, state: dict[str, Tensor], layout: Layout, depth: int) -> "History":
        """The history that a state holds."""

        def rows(what: str) -> dict[str, Tensor]:
            return {name: state[f"{what}/{name}"] for name in layout.modalities}

        return cls(
            x0=tuple(rows(f"x0 {i}") for i in range(depth)),
            levels=tuple(layout.stack(rows(f"level {i}")) for i in range(depth)),
            entries=layout.stack(rows("entries")),
        )

    def pushed(
        self,
        prediction: Prediction,
        moves: Bool[Tensor, "batch modality segment"],
    ) -> dict[str, Tensor]:
        """The state after cells that move have pushed their estimates."""
        layout, t = prediction.layout, prediction.t.double()
        pushes = moves & (prediction.schedule.alpha(t) > 0)
        entries = torch.where(pushes, (self.entries + 1).clamp(max=len(self.levels)), self.entries)
        levels = [torch.where(pushes, new, old) for new, old in zip((t, *self.levels), self.levels)]
        split, state = [layout.split(level) for level in levels], {}
        for name, cells in layout.split(pushes).items():
            state[f"entries/{name}"] = layout.split(entries)[name]
            for i, (new, old) in enumerate(zip((prediction.x0, *self.x0), self.x0)):
                state[f"level {i}/{name}"] = split[i][name]
                state[f"x0 {i}/{name}"] = torch.where(
                    expand(cells, old[name]), new[name].to(old[name].dtype), old[name]
                )
        return state


class MultistepSampler(Sampler):
    """A sampler whose state is a :class:`History`, with other tensors per cell beside it if need be."""

    evaluations = 1
    depth: int
    """How many past estimates it keeps."""

    def start(self, z: Latents, layout: Layout) -> dict[str, Tensor]:
        """No history; entries are in the order of the layout's rows."""
        return History.empty({name: z[name] for name in layout.modalities}, self.depth)

    def reset(self, state: dict[str, Tensor], cells: Bool[Tensor, "batch modality segment"]) -> dict[str, Tensor]:
        """Forgets everything about ``cells``; their next step is of order 1."""
        rows = {key.partition("/")[2]: m for m, key in enumerate(key for key in state if key.startswith("entries/"))}
        cleared = {}
        for key, value in state.items():
            row = cells[:, rows[key.partition("/")[2]], : value.shape[1]]
            cleared[key] = torch.where(expand(row, value), torch.zeros_like(value), value)
        return cleared
