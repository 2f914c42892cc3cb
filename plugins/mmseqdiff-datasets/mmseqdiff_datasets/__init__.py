"""Data sets that lie on the disk as they were published, cut into clips. Nothing is fetched."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares what this plugin brings."""
    add("dataset", "folder", "mmseqdiff_datasets.folder:Folder", summary="any folder of video files, in clips")
    add("dataset", "aist", "mmseqdiff_datasets.aist:Aist", summary="AIST++: dances by the published lists, in clips")
    add("dataset", "landscape", "mmseqdiff_datasets.landscape:Landscape", summary="Landscape: train and test, in clips")
