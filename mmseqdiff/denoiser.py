"""The network with its schedule, prediction kind and self-conditioning; and what wraps a denoiser."""

from collections.abc import Mapping
from typing import Any

import attrs

from mmseqdiff.forward import Prediction, check_prediction_kind
from mmseqdiff.layout import Layout
from mmseqdiff.origin import check_latents
from mmseqdiff.protocols import Backbone, Cells, Denoiser, Keys, Latents, Levels, NoiseSchedule

__all__ = ["NetworkDenoiser", "WrappedDenoiser"]


@attrs.frozen(eq=False)
class NetworkDenoiser:
    """A backbone as a :class:`~mmseqdiff.protocols.Denoiser`.

    Attributes:
        backbone: the network, built for ``layout``.
        schedule: the noise schedule.
        layout: the layout.
        kind: what the network predicts: ``epsilon``, ``x0``, ``v`` or ``velocity``.
        self_condition_limit: estimates are clamped to ± this before the network sees them, in training as in sampling.
            An x0 that was computed from epsilon has its error amplified by sigma / alpha, 157 times at level T of the
            paper's schedule; latents have unit variance, so a few standard deviations lose nothing.
        self_conditions: whether the network was trained with estimates; if not, none reaches it.
        latents: what the latents mean that it was trained on, the codecs' hashes and the statistics, in plain values; None
            where nobody said.

    Raises:
        ValueError: if the kind does not fit the schedule.
    """

    backbone: Backbone
    schedule: NoiseSchedule
    layout: Layout
    kind: str = "epsilon"
    self_condition_limit: float = float("inf")
    self_conditions: bool = True
    latents: Mapping[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        check_prediction_kind(self.kind, self.schedule)

    def __call__(
        self,
        z: Latents,
        t: Levels,
        *,
        given: Cells | None = None,
        keys: Keys | None = None,
        self_condition: Latents | None = None,
    ) -> Prediction:
        """The network's prediction at ``(z, t)``; it needs neither ``given`` nor ``keys``.

        Raises:
            PluginError: if the network's modalities or shapes are not those of ``z``.
        """
        if not self.self_conditions:
            self_condition = None
        if self_condition is not None:
            limit = self.self_condition_limit
            self_condition = {name: x0.clamp(-limit, limit) for name, x0 in self_condition.items()}
        value = self.backbone(z, t, self_condition=self_condition)
        check_latents(self.backbone, "a prediction", value, z)
        return Prediction(value=value, kind=self.kind, z=z, t=t, schedule=self.schedule, layout=self.layout)


class WrappedDenoiser(Denoiser):
    """A denoiser made of another, ``denoiser``, over the same layout and schedule; a subclass says how it predicts."""

    denoiser: Denoiser

    @property
    def layout(self) -> Layout:
        """The denoiser's."""
        return self.denoiser.layout

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's."""
        return self.denoiser.schedule
