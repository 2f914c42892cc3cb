"""Inflating a network of pictures to one of video (arXiv:2310.05737 §3.2).

    (1) convolution   the last slice in time, which sees the newest frame, takes the picture's kernel; the others are zero
    (2) upsampling    every frame that is made takes the picture's kernel

By (1) a video network sees a single frame as the network of pictures does; by (2) it shows a still video as it is. Both
hold to rounding, from the start and at any depth.
"""

import torch
from torch import nn

__all__ = ["inflate"]


@torch.no_grad()
def inflate(image: nn.Module, video: nn.Module) -> None:
    """Fills a video network with the weights of a network of pictures.

    Args:
        image: the source, whose temporal kernels and strides are all 1.
        video: the target, equal but for its temporal kernels and strides.

    Raises:
        ValueError: if the two do not have the same layers and widths.
    """
    sources, targets = dict(image.named_parameters()), dict(video.named_parameters())
    if sources.keys() != targets.keys():
        odd = sorted(sources.keys() ^ targets.keys())[0]
        raise ValueError(
            f"cannot inflate: only one of the two networks has {odd!r}; give both the same blocks and widths"
        )
    for name, target in targets.items():
        source = sources[name]
        # Eq. (2): time is the slowest of an upsampler's output channels, so its frames are copies end to end.
        source = source.repeat(target.shape[0] // source.shape[0], *[1] * (source.ndim - 1))
        newest = target[:, :, -1:] if target.ndim == 5 else target
        if newest.shape != source.shape:
            raise ValueError(
                f"cannot inflate {name!r}: {tuple(sources[name].shape)} does not fit {tuple(target.shape)}"
            )
        target.zero_()
        newest.copy_(source)  # Eq. (1)
    counts = dict(image.named_buffers())
    for name, target in video.named_buffers():
        if name in counts and counts[name].shape == target.shape:
            target.copy_(counts[name])  # how far a quantiser's annealing has come
