"""`mmseqdiff train-codec` with adversaries, for both real codecs at the smallest sizes: resumed bit for bit, and logged."""

import pytest
import tiny
import torch
from rich.console import Console

from mmseqdiff import random
from mmseqdiff.data.media import write_clip
from mmseqdiff.train import checkpoint
from mmseqdiff.train.codec import train_codec
from mmseqdiff.train.codec_folder import load_codec

OVERRIDES = (
    "modalities.video.height=16",
    "modalities.video.width=16",
    "modalities.video.codec.discriminator_channels=4",
    "modalities.video.codec.discriminator_multipliers=[2, 4]",
    "modalities.audio.codec.quantizers=2",
    "modalities.audio.codec.codebook_size=4",
    "modalities.audio.codec.wave_channels=4",
    "modalities.audio.codec.stft_channels=2",
)
TRAINING = {
    "steps": 7, "batch_size": 2, "image_steps": 0, "image_batch_size": 2, "checkpoint_every": 3, "warmup_steps": 1,
    "adversarial_from": 4, "seconds": '"5/8"',
}  # fmt: skip
EXPECTED = {
    "video": {"reconstruction", "edge", "motion", "adversarial", "adversary/logistic", "adversary/gradient", "adversary/lecam"},
    "audio": {"mel", "waveform", "commitment", "adversarial", "feature", "adversary/hinge"},
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe(host):
    settings = [f"codec_training.{name}.{key}={value}" for name in EXPECTED for key, value in TRAINING.items()]
    return tiny.tiny_recipe(host, *OVERRIDES, *settings, "codec_training.video.image_steps=2")


@pytest.fixture(scope="module")
def clips(host, recipe, tmp_path_factory):
    """Twenty, so that one is held out."""
    folder = tmp_path_factory.mktemp("clips")
    formats = {name: part.build(host, "modality").format for name, part in recipe.modalities.items()}
    keys = random.example_keys(0, range(20))
    colours, sounds = random.uniform(keys, "colour", (3,)).float(), 0.1 * random.normal(keys, "sound", (16000,))
    for n, (colour, sound) in enumerate(zip(colours, sounds)):
        video = colour.expand(8, 16, 16, 3) * torch.linspace(0, 1, 16)[:, None]
        write_clip(folder / f"{n:02d}.mkv", {"video": video, "audio": sound}, formats)
    return folder


@pytest.mark.parametrize("modality", list(EXPECTED))
def test_a_duel_is_resumed_bit_for_bit_and_shows_what_it_does(host, recipe, clips, tmp_path, monkeypatch, modality):
    def train(out):
        return train_codec(recipe, host, modality, clips, tmp_path / out, console=Console(quiet=True))

    assert train("whole")
    codec = recipe.modalities[modality].build(host, "modality").codec
    real, count = type(codec).training_loss, []

    def die(*values, **others):
        count.append(1)
        if len(count) == 6:
            raise MemoryError
        return real(*values, **others)

    with monkeypatch.context() as patch:
        patch.setattr(type(codec), "training_loss", die)
        with pytest.raises(MemoryError):
            train("broken")
    assert train("broken")
    paths = [checkpoint.newest(tmp_path / name / "checkpoints") for name in ("whole", "broken")]
    for group in ("weights", "ema", "optimizer", "adversary"):
        assert (paths[0] / f"{group}.safetensors").read_bytes() == (paths[1] / f"{group}.safetensors").read_bytes()
    load_codec(codec, tmp_path / "whole")

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "whole" / "tensorboard"))
    tags = events.Reload().Tags()
    assert {tag.removeprefix("loss/") for tag in tags["scalars"] if tag.startswith("loss/")} == EXPECTED[modality]
    assert {"optimisation/gradient norm", "optimisation/adversary's gradient norm"} < set(tags["scalars"])
    assert tags["images" if modality == "video" else "audio"] == ["reconstruction"]
