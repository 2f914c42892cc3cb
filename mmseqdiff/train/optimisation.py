"""How the weights move: the numbers of a recipe that the training loop needs, the learning rate they make, and where
bfloat16 is worth its name.

(1) r_n = peak · (n + 1) / warm-up                                       n < warm-up
    r_n = peak · ½ (1 + cos(π (n − warm-up) / (steps − warm-up)))         else
"""

import math

import attrs
import torch

from mmseqdiff.recipe import CodecTraining, Training

__all__ = ["Optimisation", "computes_bfloat16"]


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16. A processor without them takes eight times as long as in float32."""
    if device.type != "cpu":
        return True
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@attrs.frozen(kw_only=True)
class Optimisation:
    """One run of the loop; the fields are those of :class:`mmseqdiff.recipe.Training`."""

    steps: int
    batch_size: int
    accumulate: int = 1
    learning_rate: float
    warmup_steps: int
    betas: tuple[float, float]
    weight_decay: float = 0.0
    clip_norm: float
    ema_decay: float
    precision: str = "float32"
    seed: int
    checkpoint_every: int

    @classmethod
    def of(cls, training: Training | CodecTraining, **others: float) -> "Optimisation":
        """What a recipe says, but for ``others``."""
        found = {
            field.name: getattr(training, field.name) for field in attrs.fields(cls) if hasattr(training, field.name)
        }
        return cls(**{**found, **others})

    def rate(self, step: int) -> float:
        """The learning rate r_n of Eq. (1)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
