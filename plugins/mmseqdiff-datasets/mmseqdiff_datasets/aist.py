"""AIST++ (arXiv:2101.08779): street dances, each filmed by several cameras, split by the lists that came with it.

SOURCE/gBR_sBM_c01_d04_mBR0_ch01.mp4 …            the videos, one per camera
ANNOTATIONS/splits/crossmodal_train.txt …         names with cAll in place of the camera
ANNOTATIONS/ignore_list.txt                       names that are not used
"""

from pathlib import Path, PurePosixPath

import attrs

from mmseqdiff_datasets.clips import VideoClips, names_in, videos

__all__ = ["Aist"]


@attrs.frozen(kw_only=True)
class Aist(VideoClips):
    """The dances of one of the published lists, as one camera saw them.

    Attributes:
        annotations: the folder with ``splits/`` and ``ignore_list.txt``.
        split: ``train``, ``val`` or ``test``.
        task: whose lists: ``crossmodal`` (no music or choreography in two splits) or ``pose``.
        camera: ``c01``, which stands in front, to ``c09``.
    """

    annotations: Path = attrs.field(converter=Path)
    split: str = attrs.field(default="train", validator=attrs.validators.in_(("train", "val", "test")))
    task: str = attrs.field(default="crossmodal", validator=attrs.validators.in_(("crossmodal", "pose")))
    camera: str = attrs.field(default="c01", validator=attrs.validators.matches_re(r"c\d\d"))

    def chosen(self) -> dict[str, Path]:
        """Name → file, of the list."""
        files = {PurePosixPath(name).stem: path for name, path in videos(self.source).items()}
        ignored = set(names_in(self.annotations / "ignore_list.txt"))
        listed = names_in(self.annotations / "splits" / f"{self.task}_{self.split}.txt")
        names = [name.replace("_cAll_", f"_{self.camera}_") for name in listed if name not in ignored]
        return {f"{name}.mp4": files.get(name, self.source / f"{name}.mp4") for name in names}
