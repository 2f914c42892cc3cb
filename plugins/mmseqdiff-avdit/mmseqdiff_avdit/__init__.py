"""AVDiT, the audiovisual diffusion transformer (arXiv:2405.13762 §4), and its recipes."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add) -> None:
    """Brings the backbone ``avdit`` and its recipes."""
    add(
        "backbone",
        "avdit",
        "mmseqdiff_avdit.backbone:AVDiT",
        summary="joint transformer over all modalities' tokens, modulated per cell of the timestep matrix",
    )
    add(
        "recipe",
        "avdit-420m",
        "mmseqdiff_avdit.recipes:avdit_420m",
        summary="AVDiT as published: 17 frames at 8 fps and 128 px with 2.125 s of sound",
    )
    add(
        "recipe",
        "avdit-aist",
        "mmseqdiff_avdit.recipes:avdit_aist",
        summary="AVDiT for AIST++: 2 s at 10 fps and 64 px with sound",
    )
    add(
        "recipe",
        "avdit-landscape",
        "mmseqdiff_avdit.recipes:avdit_landscape",
        summary="AVDiT for Landscape: 2 s at 10 fps and 64 px with sound",
    )
    add(
        "recipe",
        "avdit-demo",
        "mmseqdiff_avdit.recipes:avdit_demo",
        summary="a small AVDiT that trains on two CPU cores: 17 frames at 8 fps and 64 px with sound",
    )
