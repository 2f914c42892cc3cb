"""Use a pretrained video autoencoder of diffusers as a codec, without a network.

    python examples/pretrained_codec.py

A tiny Wan autoencoder with random weights stands in for a real one: any folder that ``save_pretrained`` wrote will do, and
``hub:Wan-AI/Wan2.1-T2V-1.3B-Diffusers/vae`` would be fetched from the Hugging Face hub.
"""

import tempfile
from fractions import Fraction

import diffusers
import torch
from mmseqdiff_huggingface.video import DiffusersVideo


def main() -> dict[str, object]:
    """Makes such a folder, encodes and decodes a clip; returns and prints what it found."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        diffusers.AutoencoderKLWan(base_dim=4, z_dim=4, num_res_blocks=1).save_pretrained(folder)
        codec = DiffusersVideo(folder)
    clip = torch.rand(1, 9, 32, 32, 3)
    latents = codec.encode(clip)
    found = {
        "latents": tuple(latents.shape),
        "edges": [float(edge) for edge in codec.track("video", tuple(clip.shape[1:]), Fraction(8)).edges],
        "pictures": tuple(codec.decode(latents).shape),
        "causal": codec.causal,
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    return found


if __name__ == "__main__":
    main()
