"""Continue two tracks for longer than the model was trained on, window by window, and write them while they come.

    python examples/sample_long.py [SECONDS] [OUT]

Every window is a clip of the trained length whose start is the end of the one before. The memory is that of one window,
however long the clip becomes.
"""

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import mmseqdiff
from mmseqdiff.data.media import clip_writer
from mmseqdiff.long import generate_long


def main(seconds: float = 4, out: str = "long.mp4", steps: int = 10) -> Mapping[str, int]:
    """Writes the clip; returns modality → frames or samples written."""
    model = mmseqdiff.load()  # the first model that an installed plugin ships; or the folder of your own run
    with tempfile.TemporaryDirectory() as folder:
        start = model.assembly.host.build("dataset", "demo-clips").prepare(Path(folder))[0]
        clip = generate_long(model, "continue", seconds, steps=steps, seed=1, video=start, audio=start)
        written = dict.fromkeys(clip.formats, 0)
        with clip_writer(Path(out), clip.formats) as writer:
            for n, piece in enumerate(clip):
                writer.write(piece)
                written = {name: count + len(piece[name]) for name, count in written.items()}
                print(f"window {n + 1} of {clip.windows}: {float(written['video'] / clip.formats['video'].rate):.1f} s")
    return written


if __name__ == "__main__":
    main(*[float(text) if n == 0 else text for n, text in enumerate(sys.argv[1:3])])
