"""The plugin as the host sees it."""

from fractions import Fraction

import pytest

from mmseqdiff.errors import PluginError

SMALL = {"name": "magvit2", "channels": 8, "blocks": 1, "multipliers": [1, 2, 2, 4]}


def test_the_host_builds_a_video_modality_from_plain_values(host):
    video = host.build(
        "modality", "video", codec={**SMALL, "height": 16, "width": 24}, frame_rate="8", height=16, width=24
    )
    track = video.track("video", Fraction(17, 8))
    assert track.shape == (5, 2, 3, 8)
    assert track.edges[-1] == Fraction(17, 8)


def test_a_codec_of_another_picture_size_is_refused(host):
    with pytest.raises((PluginError, ValueError), match="16 x 16, but its codec was built for 16 x 24"):
        host.build("modality", "video", codec={**SMALL, "height": 16, "width": 24}, frame_rate="8", height=16, width=16)
