"""The network with its schedule, prediction kind and self-conditioning."""

import attrs
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff.forward import Prediction, check_prediction_kind
from mmseqdiff.layout import Layout
from mmseqdiff.protocols import Backbone, Latents, NoiseSchedule

__all__ = ["NetworkDenoiser"]


@attrs.frozen(eq=False)
class NetworkDenoiser:
    """A backbone as a :class:`~mmseqdiff.protocols.Denoiser`.

    Attributes:
        backbone: the network, built for ``layout``.
        schedule: the noise schedule.
        layout: the layout.
        kind: what the network predicts: ``epsilon``, ``x0``, ``v`` or ``velocity``.

    Raises:
        ValueError: if the kind does not fit the schedule.
    """

    backbone: Backbone
    schedule: NoiseSchedule
    layout: Layout
    kind: str = "epsilon"

    def __attrs_post_init__(self) -> None:
        check_prediction_kind(self.kind, self.schedule)

    def __call__(
        self,
        z: Latents,
        t: Float[Tensor, "batch modality segment"],
        *,
        given: Bool[Tensor, "modality segment"] | None = None,
        keys: Int[Tensor, " batch"] | None = None,
        self_condition: Latents | None = None,
    ) -> Prediction:
        """The network's prediction at ``(z, t)``; it needs neither ``given`` nor ``keys``."""
        value = self.backbone(z, t, self_condition=self_condition)
        return Prediction(value=value, kind=self.kind, z=z, t=t, schedule=self.schedule, layout=self.layout)
