"""Pretrained codecs: the video autoencoders of diffusers and the audio codecs of transformers."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares what this plugin brings."""
    add(
        "codec",
        "diffusers_video",
        "mmseqdiff_huggingface.video:DiffusersVideo",
        summary="a pretrained video autoencoder of diffusers: Magvit, LTX, CogVideoX, Wan, Hunyuan",
    )
    add(
        "codec",
        "transformers_audio",
        "mmseqdiff_huggingface.audio:TransformersAudio",
        summary="a pretrained audio codec of transformers: EnCodec, DAC, Mimi",
    )
