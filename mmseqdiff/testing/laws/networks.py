"""The laws of what predicts: guidance and networks."""

import torch

from mmseqdiff.protocols import (
    Backbone,
    Cells,
    Denoiser,
    Guidance,
    Keys,
    Latents,
    Levels,
)
from mmseqdiff.testing.laws.parts import bits

__all__ = ["check_backbone", "check_guidance"]


def check_guidance(
    guidance: Guidance,
    denoiser: Denoiser,
    z: Latents,
    t: Levels,
    given: Cells,
    keys: Keys,
    self_condition: Latents | None = None,
) -> None:
    """Laws 1, 2 and 9 for guidance: given cells stay clean, the prediction is finite, at the loop's own (z, t), and the
    same in every batch; what was passed in is left alone.
    """
    layout, guided = denoiser.layout, guidance(denoiser)
    before = {name: value.clone() for name, value in z.items()}
    prediction = guided(z, t, given=given, keys=keys, self_condition=self_condition)
    assert guided.layout == layout
    assert guided.schedule is denoiser.schedule
    assert torch.equal(prediction.t, t), "the prediction is at other levels"
    for name, cells in layout.split(given).items():
        assert torch.equal(bits(z[name]), bits(before[name])), "guidance changed its input"
        assert torch.equal(bits(prediction.z[name]), bits(z[name])), "the prediction is at other latents"
        assert prediction.value[name].shape == z[name].shape
        assert prediction.x0[name].isfinite().all()
        assert torch.equal(bits(prediction.x0[name][:, cells]), bits(z[name][:, cells])), "given cells are not clean"
    for b in range(len(keys)):
        one = slice(b, b + 1)
        alone = guided(
            {name: value[one] for name, value in z.items()}, t[one], given=given, keys=keys[one],
            self_condition=self_condition and {name: value[one] for name, value in self_condition.items()},
        )  # fmt: skip
        for name, value in alone.x0.items():
            torch.testing.assert_close(value[0], prediction.x0[name][b], msg="the batch changes the prediction")


def check_backbone(backbone: Backbone, z: Latents, t: Levels) -> None:
    """Laws 2 and 9 for a network: finite at all levels, shaped as its input, the same in every batch to 1e-5."""
    value = backbone(z, t)
    for name, latents in z.items():
        assert value[name].shape == latents.shape
        assert value[name].dtype == latents.dtype
        assert value[name].isfinite().all()
    for b in range(len(t)):
        alone = backbone({name: latents[b : b + 1] for name, latents in z.items()}, t[b : b + 1])
        for name in z:
            torch.testing.assert_close(alone[name][0], value[name][b], rtol=1e-5, atol=1e-5)
