"""SoundStream, the audio codec of AVDiT (arXiv:2405.13762 §4.1), and the audio modality."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add) -> None:
    """Brings the codec ``soundstream`` and the modality ``audio``."""
    add(
        "codec",
        "soundstream",
        "mmseqdiff_soundstream.codec:SoundStream",
        summary="causal convolutional audio codec with continuous latents, one per 320 samples",
    )
    add(
        "modality",
        "audio",
        "mmseqdiff_soundstream.modality:audio",
        summary="mono sound at any sample rate, through an audio codec",
    )
