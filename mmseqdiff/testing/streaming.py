"""Whether a codec that streams gives chunk by chunk what it gives at once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.protocols import StreamingCodec

__all__ = ["check_streaming"]


@torch.no_grad()
def check_streaming(
    codec: StreamingCodec, signal: Float[Tensor, "batch time ..."], plan: Sequence[int], tolerance: float
) -> None:
    """Chunk by chunk a codec encodes and decodes what it does at once, from a state whose size does not grow.

    Args:
        codec: the codec.
        signal: of whole segments.
        plan: the segments of each chunk; they add up to all of ``signal``.
        tolerance: absolute; 1e-5 in float32, 1e-10 in float64.
    """
    first, other = codec.segment_lengths
    lengths = [segments * other for segments in plan]
    lengths[0] += first - other
    assert sum(lengths) == signal.shape[1], "the signal has as many frames or samples as its segments"
    whole = codec.encode(signal)
    latents = _stream(codec.encode_chunk, signal, lengths, plan)
    torch.testing.assert_close(latents, whole, rtol=0, atol=tolerance)
    decoded = _stream(codec.decode_chunk, whole, plan, lengths)
    torch.testing.assert_close(decoded, codec.decode(whole), rtol=0, atol=tolerance)


def _stream(step, x: Tensor, sizes: Sequence[int], expected: Sequence[int]) -> Tensor:
    made, state, shapes = [], None, None
    for chunk, size in zip(x.split(list(sizes), dim=1), expected, strict=True):
        before = [(tensor, tensor.clone()) for tensor in state or ()]
        part, state = step(chunk, state)
        assert part.shape[1] == size, "a chunk gives as many segments, frames or samples as it holds"
        assert all(torch.equal(tensor, copy) for tensor, copy in before), "a state is not changed: it can be used again"
        assert all(len(tensor) == len(x) for tensor in state), "a state has the batch first"
        assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in state), "a state holds no chunk"
        now = [tensor.shape for tensor in state]
        assert shapes in (None, now), "a state does not grow"
        made, shapes = [*made, part], now
    return torch.cat(made, dim=1)
