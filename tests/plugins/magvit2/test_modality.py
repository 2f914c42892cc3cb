"""The plugin as the host sees it."""

from fractions import Fraction

SMALL = {"name": "magvit2", "channels": 8, "blocks": 1, "multipliers": [1, 2, 2, 4]}


def test_the_host_builds_a_video_modality_from_plain_values(host):
    video = host.build("modality", "video", codec=SMALL, frame_rate="8", height=16, width=24)
    track = video.track("video", Fraction(17, 8))
    assert track.shape == (5, 2, 3, 8)
    assert track.edges[-1] == Fraction(17, 8)
