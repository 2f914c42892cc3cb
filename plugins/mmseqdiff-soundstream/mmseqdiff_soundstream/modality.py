"""The audio modality: mono sound at one sample rate, through an audio codec."""

from fractions import Fraction

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import Codec

__all__ = ["audio"]


def audio(codec: Codec, sample_rate: int = 16000) -> Modality:
    """The modality of mono sound at ``sample_rate`` samples a second.

    Args:
        codec: takes ``(B, samples)`` in [−1, 1].
        sample_rate: of the codec's signal; files at other rates are resampled.
    """
    return Modality(codec=codec, format=AudioFormat(rate=Fraction(sample_rate)))
