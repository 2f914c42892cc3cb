"""How far a codec looks ahead, by trying: what comes later is replaced, and what changes before it is measured."""

from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.protocols import Codec

__all__ = ["look_ahead"]


@torch.no_grad()
def look_ahead(
    codec: Codec, signal: Float[Tensor, "batch time ..."], rate: Fraction
) -> tuple[Float[Tensor, " segment"], Float[Tensor, " segment"]]:
    """How far a codec's latents, and what it decodes, move at most up to segment n when all that comes later is another.

    Args:
        codec: in evaluation mode.
        signal: two or more different examples.
        rate: frames or samples a second.

    Returns:
        For every segment but the last: of latents 0 … n by the signal after their end; of what is decoded up to the end of
        segment n by the latents after it.
    """
    track = codec.track("signal", tuple(signal.shape[1:]), rate)
    ends = [int(edge * rate) for edge in track.edges[1:-1]]
    latents = codec.encode(signal)
    decoded = codec.decode(latents)
    encoder, decoder = torch.zeros(len(ends)), torch.zeros(len(ends))
    for n, end in enumerate(ends):
        others = codec.encode(_replaced(signal, end))[:, : n + 1]
        encoder[n] = (others - latents[:, : n + 1]).abs().max()
        decoder[n] = (codec.decode(_replaced(latents, n + 1))[:, :end] - decoded[:, :end]).abs().max()
    return encoder, decoder


def _replaced(x: Float[Tensor, "batch time ..."], start: int) -> Float[Tensor, "batch time ..."]:
    """What comes from ``start`` on is taken from another example."""
    return torch.cat([x[:, :start], x.roll(1, 0)[:, start:]], dim=1)
