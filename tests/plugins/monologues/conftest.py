from fractions import Fraction

import pytest
from mmseqdiff_monologues.clips import ClipFormat, Monologue
from mmseqdiff_monologues.seeds import clip_seed

FORMAT = ClipFormat(seconds=Fraction(17, 8), size=64, frame_rate=Fraction(8), sample_rate=16000)


@pytest.fixture(scope="session")
def monologues() -> list[Monologue]:
    return [Monologue.make(clip_seed("held_out", 1, index), FORMAT) for index in range(24)]
