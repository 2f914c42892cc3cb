"""Any folder of video files, split by chance or by list."""

from pathlib import Path, PurePosixPath

import attrs
import torch

from mmseqdiff import random
from mmseqdiff.errors import MediaError
from mmseqdiff_datasets.clips import VideoClips, names_in, videos

__all__ = ["Folder"]


@attrs.frozen(kw_only=True)
class Folder(VideoClips):
    """Every video file of a folder and its subfolders.

    A file is held out by chance, drawn from its name and the seed, so that files added later change no other's part; or
    because a list names it.

    Attributes:
        split: ``train`` or ``held_out``; together they are the whole folder.
        share: of the files, held out by chance.
        seed: of that chance.
        held_out: a text file with the names of the files that are held out, one a line, within ``source`` and with or
            without their suffix; None draws them.
    """

    split: str = attrs.field(default="train", validator=attrs.validators.in_(("train", "held_out")))
    share: float = attrs.field(
        default=0.05, validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1))
    )
    seed: int = 0
    held_out: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))

    def chosen(self) -> dict[str, Path]:
        """Name → file, of the split."""
        files = videos(self.source)
        held_out = self._listed(files) if self.held_out else {name for name in files if self._drawn(name)}
        return {name: path for name, path in files.items() if (name in held_out) == (self.split == "held_out")}

    def _drawn(self, name: str) -> bool:
        return random.uniform(random.fold(torch.tensor([self.seed]), "split", name), "share").item() < self.share

    def _listed(self, files: dict[str, Path]) -> set[str]:
        names = {spelt: name for name in files for spelt in (name, str(PurePosixPath(name).with_suffix("")))}
        listed = names_in(self.held_out)
        missing = [line for line in listed if line not in names]
        if missing:  # passed over, a misspelt name would be trained on
            raise MediaError(f"{self.held_out} names {missing[0]!r}, which is not in {self.source}")
        return {names[line] for line in listed}
