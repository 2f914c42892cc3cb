"""Landscape (arXiv:2212.09478): scenes of nature with their sound.

SOURCE/train/….mp4      clips of ten seconds, in any folders below
SOURCE/test/….mp4
"""

from pathlib import Path

import attrs

from mmseqdiff_datasets.clips import VideoClips, videos

__all__ = ["Landscape"]


@attrs.frozen(kw_only=True)
class Landscape(VideoClips):
    """The scenes of one of the two folders; also for other sets that are published in ``train`` and ``test``.

    Attributes:
        split: ``train`` or ``test``.
    """

    split: str = attrs.field(default="train", validator=attrs.validators.in_(("train", "test")))

    def chosen(self) -> dict[str, Path]:
        """Name → file, of the folder."""
        return videos(self.source / self.split)
