"""Autoguidance (arXiv:2406.02507): away from a weaker model.

    (1) D = D_good + (w − 1) (D_good − D_weak)

Both see the same latents, levels, given cells and self-condition, so what is strengthened is not the condition but what
the good model knows better. It needs no condition. A weak model is one of less training, or smaller.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs
import torch

from mmseqdiff.denoiser import NetworkDenoiser, WrappedDenoiser
from mmseqdiff.errors import UserError
from mmseqdiff.forward import Prediction
from mmseqdiff.host import load_plugins
from mmseqdiff.layout import Layout
from mmseqdiff.pipeline import find_model
from mmseqdiff.protocols import Cells, Denoiser, Keys, Latents, Levels, NoiseSchedule
from mmseqdiff.train import checkpoint
from mmseqdiff.train.run import load_run
from mmseqdiff.values import difference
from mmseqdiff_guidance.compose import Composed

__all__ = ["Autoguidance", "AutoguidedDenoiser"]


@lru_cache(maxsize=1)  # a checkpoint never changes, and a pipeline builds its guidance for every batch
def _load(folder: Path, path: Path | None) -> NetworkDenoiser:
    return load_run(folder, load_plugins(), path=path).denoiser


@attrs.frozen
class Autoguidance(Composed):
    """Guidance away from another run's model; two evaluations a step, one of each network.

    Attributes:
        model: the weak one: a run's folder, or the name of a shipped model. Its parts come from the installed plugins.
        scale: w; 1 is no guidance, and the weak model is then not asked.
        step: which of its checkpoints; the newest where None.
    """

    model: str
    scale: float = 1.5
    step: int | None = None

    def evaluations(self, layout: Layout, given: Cells) -> int:
        """Of both networks together."""
        return 1 if self.scale == 1 else 2

    def __call__(self, denoiser: Denoiser) -> "AutoguidedDenoiser":
        """The guided denoiser.

        Raises:
            UserError: if there is no such model or checkpoint, or it does not predict the same thing for the same latents.
        """
        folder = find_model(load_plugins(), self.model).resolve()
        path = checkpoint.newest(folder / "checkpoints")
        if self.step is not None:
            path = folder / "checkpoints" / f"{self.step:08d}"
            if not path.is_dir():
                raise UserError(f"autoguidance: {folder} has no checkpoint of step {self.step}")
        weak = _load(folder, path)
        try:
            return AutoguidedDenoiser(denoiser, weak, self)
        except ValueError as error:
            raise UserError(f"autoguidance by {self.model!r}: {error}") from error


def _agree(one: NoiseSchedule, other: NoiseSchedule) -> bool:
    if one.num_levels != other.num_levels:
        return False
    levels = torch.arange(one.num_levels + 1, dtype=torch.float64)
    return torch.allclose(one.alpha(levels), other.alpha(levels), rtol=1e-9, atol=1e-12)


@attrs.frozen(eq=False)
class AutoguidedDenoiser(WrappedDenoiser):
    """Eq. (1) with two denoisers.

    Raises:
        ValueError: if their layouts, schedules or latents differ.
    """

    denoiser: Denoiser
    weak: Denoiser
    guidance: Autoguidance

    def __attrs_post_init__(self) -> None:
        if self.weak.layout != self.denoiser.layout:
            raise ValueError(
                f"the weak model's layout is {_shapes(self.weak.layout)}, expected {_shapes(self.denoiser.layout)}"
            )
        if not _agree(self.weak.schedule, self.denoiser.schedule):
            raise ValueError("the weak model was trained with another noise schedule")
        found, expected = _latents(self.weak), _latents(self.denoiser)
        reason = None if None in (found, expected) else difference(found, expected)
        if reason is not None:
            raise ValueError(f"the weak model was trained on other latents: {reason}")

    def __call__(
        self, z: Latents, t: Levels, *, given: Cells, keys: Keys, self_condition: Latents | None = None
    ) -> Prediction:
        """Eq. (1).

        Raises:
            UserError: if the two predict different kinds.
        """
        good = self.denoiser(z, t, given=given, keys=keys, self_condition=self_condition)
        if self.guidance.scale == 1:
            return good
        if isinstance(self.weak, NetworkDenoiser) and isinstance(self.weak.backbone, torch.nn.Module):
            self.weak.backbone.to(keys.device)
        weak = self.weak(z, t, given=given, keys=keys, self_condition=self_condition)
        if weak.kind != good.kind:
            raise UserError(f"autoguidance: the weak model predicts {weak.kind}, the other one {good.kind}")
        weight = torch.full((self.layout.M, self.layout.N), 1 - self.guidance.scale, dtype=torch.float64)
        return self.guidance.compose(good, [(weight, weak.value)])


def _latents(denoiser: Denoiser) -> Mapping[str, Any] | None:
    """What a network's latents mean, whatever wraps it."""
    while isinstance(denoiser, WrappedDenoiser):
        denoiser = denoiser.denoiser
    return getattr(denoiser, "latents", None)


def _shapes(layout: Layout) -> str:
    return ", ".join(f"{track.modality} {track.shape}" for track in layout.tracks)
