"""What lies beside this file: ``model/``, a run's folder with averaged weights alone, and ``clips/``.

``build.py`` in the distribution's source makes both.
"""

from collections.abc import Sequence
from pathlib import Path

import attrs

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError

__all__ = ["DemoClips", "avdit_demo"]

HERE = Path(__file__).parent


def avdit_demo() -> Path:
    """The folder of the trained model."""
    return HERE / "model"


@attrs.frozen
class DemoClips:
    """Eight monologues that the model was not trained on, each an mp4 file with its ground truth in JSON."""

    def prepare(self, folder: Path) -> Sequence[Path]:
        """Copies the clips.

        Raises:
            MediaError: if a file cannot be written.
        """
        written = []
        for source in sorted((HERE / "clips").iterdir()):
            with replacing(Path(folder) / source.name, MediaError) as temporary:
                temporary.write_bytes(source.read_bytes())
            written.append(Path(folder) / source.name)
        return [path for path in written if path.suffix == ".mp4"]
