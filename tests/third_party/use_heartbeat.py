"""Run where the new modality heartbeat and the new policy alternating are installed: from media files to a generated clip of three tracks."""

import json
import sys
from pathlib import Path

import torch

from mmseqdiff.host import load_plugins
from mmseqdiff.pipeline import load
from mmseqdiff.recipe import Recipe
from mmseqdiff.train.codec import train_codec
from mmseqdiff.train.denoiser import train_denoiser
from mmseqdiff.train.latents import encode_to_store

RECIPE = """
name = "three"
seconds = "5/8"
policy = { name = "mixture", policies = ["monl", "alternating"] }

[modalities.video]
name = "video"
frame_rate = 8
height = 16
width = 16
codec = { name = "magvit2", channels = 4, multipliers = [1, 1, 1, 1], blocks = 1, latent_channels = 4 }

[modalities.audio]
name = "audio"
sample_rate = 16000
codec = { name = "soundstream", channels = 2, latent_channels = 4 }

[modalities.pulse]
name = "heartbeat"
rate = 32
codec = { name = "heartbeat_blocks", block = 4 }

[backbone]
name = "avdit"
layers = 1
dimension = 16
heads = 2

[training]
steps = 2
batch_size = 2
warmup_steps = 0

[codec_training]
video = { steps = 1, batch_size = 1, checkpoint_every = 1 }
audio = { steps = 1, batch_size = 1, checkpoint_every = 1 }
pulse = { steps = 1, batch_size = 1, checkpoint_every = 1 }
"""


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    host = load_plugins()
    assert not host.failures, host.failures
    recipe = Recipe.from_toml(RECIPE)
    data, pulse = folder / "data", host.build("modality", "heartbeat", rate=32).format
    for path in host.build("dataset", "monologues", count=2, size=16, seconds=2).prepare(data):
        pulse.write(path.with_suffix(".heartbeat"), torch.sin(torch.arange(64) / 3))
    for name in recipe.modalities:
        assert train_codec(recipe, host, name, data, folder / "codecs" / name)
    codecs = {name: folder / "codecs" / name for name in recipe.modalities}
    report = encode_to_store(recipe, host, data, codecs, folder / "store")
    assert (report.total, dict(report.left_out)) == (6, {})
    assert train_denoiser(recipe, host, folder / "store", folder / "run")

    pipeline = load(folder / "run", host=host)
    source = str(data / "000000.mp4")
    (clip,) = pipeline.generate("pulse:0-0.625 video:0-0.125", pulse=source, video=source, steps=2)
    assert clip.signals["pulse"].shape == (20,)
    # What is given comes back as the codec makes it of the file: the same curve, scaled there and back.
    truth = torch.sin(torch.arange(20) / 3)
    torch.testing.assert_close(clip.signals["pulse"], truth, atol=1e-5, rtol=0)
    written = clip.save(folder / "out.mp4")
    print(json.dumps([path.name for path in written]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
