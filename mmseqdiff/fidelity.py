"""How near a reconstruction is to the signal that it is of.

    (1) PSNR    −10 log10 mean (x − x̂)²                                      video, in decibels, at most 150
    (2) SSIM    structural similarity, mean over frames (Wang et al. 2004)    video, 1 where nothing is lost
    (3) SI-SDR  10 log10 ( |a x|² / |a x − x̂|² ),  a = ⟨x, x̂⟩ / |x|²        sound, in decibels (arXiv:1811.02508),
                                                                              of both without their means
    (4) MSE     mean (x − x̂)²                                                what is neither

(1) to (3) are torchmetrics'.
"""

from jaxtyping import Float
from torch import Tensor, nn

from mmseqdiff.protocols import MediaFormat

__all__ = ["fidelity"]

HIGHEST = 150.0
"""Decibels of Eq. (1) where nothing is lost, about those of float32's rounding: a mean over clips stays a number."""
SMALLEST = 6
"""Rows, and columns, that a picture needs for the window of Eq. (2)."""


def fidelity(
    codec: nn.Module, format: MediaFormat, signal: Float[Tensor, "time ..."], reconstruction: Float[Tensor, "time ..."]
) -> dict[str, float]:
    """Of one clip, the numbers for its kind of signal and those that the codec reports itself (``reconstruction_quality``),
    such as SoundStream's multi-scale mel distance.

    Args:
        codec: whose reconstruction it is.
        format: of both.
        signal: on the codec's device.
        reconstruction: of the same shape, likewise.

    Returns:
        Of video ``psnr`` and, where pictures have 6 × 6 pixels or more, ``ssim``; of sound ``si_sdr``; of anything else
        ``mse``. The codec's own come after them, and in the place of one of the same name.
    """
    found = _of_format(format, signal.cpu(), reconstruction.cpu())
    if hasattr(codec, "reconstruction_quality"):
        found |= codec.reconstruction_quality(signal[None], reconstruction[None])
    return {name: float(value.mean()) for name, value in found.items()}


def _of_format(
    format: MediaFormat, signal: Float[Tensor, "time ..."], reconstruction: Float[Tensor, "time ..."]
) -> dict[str, Tensor]:
    if format.stream == "video":
        from torchmetrics.functional import image  # slow to import

        pictures = reconstruction.movedim(-1, 1), signal.movedim(-1, 1)
        found = {"psnr": image.peak_signal_noise_ratio(*pictures, data_range=1.0).clamp(max=HIGHEST)}
        if min(signal.shape[1:3]) >= SMALLEST:
            found["ssim"] = image.structural_similarity_index_measure(*pictures, data_range=1.0)
        return found
    if format.stream == "audio":
        from torchmetrics.functional import audio  # slow to import

        return {"si_sdr": audio.scale_invariant_signal_distortion_ratio(reconstruction, signal, zero_mean=True)}
    return {"mse": (signal - reconstruction).square().mean()}
