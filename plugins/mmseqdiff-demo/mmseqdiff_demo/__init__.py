"""Small trained weights and held-out clips, so that everything can be tried at once.

Importing this module loads nothing heavy.
"""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add) -> None:
    """Declares the model and the clips."""
    add(
        "model",
        "avdit-demo",
        "mmseqdiff_demo.shipped:avdit_demo",
        summary="a small AVDiT trained on monologues with the mixture of noise levels: 64 px, 2.125 s",
    )
    add(
        "dataset",
        "demo-clips",
        "mmseqdiff_demo.shipped:DemoClips",
        summary="eight held-out monologues with their ground truth",
    )
