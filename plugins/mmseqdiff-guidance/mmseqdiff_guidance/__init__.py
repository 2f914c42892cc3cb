"""Guidance schemes."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares the guidance schemes."""
    add(
        "guidance",
        "cfg",
        "mmseqdiff_guidance.cfg:FreeGuidance",
        summary="classifier-free guidance for free: the condition re-noised at T",
    )
    add(
        "guidance",
        "stabilise",
        "mmseqdiff_guidance.stabilised:Stabilised",
        summary="finished cells shown a little noisy",
    )
