"""How near a reconstruction is to the signal that it is of.

    (1) PSNR    −10 log10 mean (x − x̂)²                                      video, in decibels
    (2) SSIM    structural similarity, mean over frames (Wang et al. 2004)    video, 1 where nothing is lost
    (3) SI-SDR  10 log10 ( |a x|² / |a x − x̂|² ),  a = ⟨x, x̂⟩ / |x|²        sound, in decibels (arXiv:1811.02508)
    (4) MSE     mean (x − x̂)²                                                what is neither

(1) to (3) are torchmetrics'.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from mmseqdiff.protocols import Codec, MediaFormat

__all__ = ["fidelity"]

SMALLEST = 6
"""Rows, and columns, that a picture needs for the window of Eq. (2)."""


def fidelity(
    codec: Codec, format: MediaFormat, signal: Float[Tensor, "time ..."], reconstruction: Float[Tensor, "time ..."]
) -> dict[str, float]:
    """Eq. (1) to (4) of one clip by name, and what the codec reports itself (``reconstruction_quality``), such as
    SoundStream's multi-scale mel distance.

    Args:
        codec: whose reconstruction it is.
        format: of both.
        signal: on the codec's device.
        reconstruction: of the same shape.

    Returns:
        ``psnr`` and, of pictures of 6 × 6 and more, ``ssim``; ``si_sdr``; or ``mse``; and the codec's own before them.
    """
    own = getattr(codec, "reconstruction_quality", lambda signal, reconstruction: {})
    found = {**own(signal[None], reconstruction[None]), **_of_format(format, signal, reconstruction)}
    return {name: float(value.mean()) for name, value in found.items()}


def _of_format(format: MediaFormat, signal: Tensor, reconstruction: Tensor) -> dict[str, Any]:
    from torchmetrics.functional import audio, image  # slow to import

    if format.stream == "video":
        pictures = reconstruction.movedim(-1, 1), signal.movedim(-1, 1)
        found = {"psnr": image.peak_signal_noise_ratio(*pictures, data_range=1.0)}
        if min(signal.shape[1:3]) >= SMALLEST:
            found["ssim"] = image.structural_similarity_index_measure(*pictures, data_range=1.0)
        return found
    if format.stream == "audio":
        return {"si_sdr": audio.scale_invariant_signal_distortion_ratio(reconstruction, signal, zero_mean=True)}
    return {"mse": (signal - reconstruction).square().mean()}
