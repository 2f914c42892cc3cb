"""The video modality: pictures of one size at one rate, through a video codec."""

from fractions import Fraction

from mmseqdiff.data.video import VideoFormat
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import Codec

__all__ = ["video"]


def video(codec: Codec, frame_rate: Fraction, height: int, width: int) -> Modality:
    """The modality of video.

    Args:
        codec: takes ``(B, frames, height, width, 3)`` in [0, 1].
        frame_rate: frames a second; files at other rates are resampled.
        height: rows of a picture; files of other sizes are cropped and resized.
        width: columns of a picture.
    """
    return Modality(codec=codec, format=VideoFormat(rate=frame_rate, height=height, width=width))
