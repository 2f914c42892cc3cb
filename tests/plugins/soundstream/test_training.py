"""The training loss: what the decoder sees, what follows from the keys, and that it teaches."""

import pytest
import torch
from mmseqdiff_soundstream.codec import SoundStream

from mmseqdiff import random
from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.fidelity import fidelity

KEYS = random.example_keys(3, range(4))


def codec(**parameters) -> SoundStream:
    torch.manual_seed(0)
    return SoundStream(**{"channels": 2, "latent_channels": 3, **parameters})


@pytest.fixture
def sound():
    return 0.1 * random.normal(KEYS, "sound", (6400,))


def decoded(made, sound, keys=KEYS):
    """The latents that the decoder got in training."""
    seen = []
    handle = made.decoder.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach().transpose(1, 2))
    )
    terms = made.training_loss(sound, keys)
    handle.remove()
    return seen[0], terms


def test_terms_are_weighted(sound):
    once = codec(waveform_weight=1).training_loss(sound, KEYS)
    twice = codec(waveform_weight=2, mel_weight=3).training_loss(sound, KEYS)
    assert set(once) == {"mel", "waveform"}
    torch.testing.assert_close(twice["mel"], 3 * once["mel"])
    torch.testing.assert_close(twice["waveform"], 2 * once["waveform"])
    assert "commitment" in codec(quantizers=2, codebook_size=4).training_loss(sound, KEYS)


def test_every_weight_learns(sound):
    made = codec(quantizers=2, codebook_size=4, waveform_weight=1, latent_noise=0.1)
    sum(made.training_loss(sound, KEYS).values()).backward()
    for name, weight in made.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().sum() > 0, name


def test_silence_has_a_finite_gradient():
    made = codec(latent_noise=0.1, waveform_weight=1)
    sum(made.training_loss(torch.zeros(2, 6400), KEYS[:2]).values()).backward()
    assert all(weight.grad.isfinite().all() for weight in made.parameters())


def test_latent_noise_is_relative_to_each_channels_spread(sound):
    made = codec(latent_noise=0.3, channels=1)
    made.encoder[-1].weight.data *= torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    long = sound.repeat(1, 6)
    clean = made.encode(long)
    noise = decoded(made, long)[0] - clean
    torch.testing.assert_close(noise.std((0, 1)) / clean.std((0, 1)), torch.full((3,), 0.3), rtol=0.12, atol=0)
    assert torch.equal(decoded(made, long)[0], decoded(made, long)[0])
    assert torch.equal(decoded(codec(), sound)[0], codec().encode(sound))


def test_a_quantised_example_is_quantised_whole_and_which_follows_from_its_key(sound):
    made = codec(quantizers=2, codebook_size=4, quantized_probability=0.5)
    made.training_loss(sound, KEYS)
    made.eval()
    keys, latents = random.example_keys(9, range(64)), made.encode(sound)
    quantized = made.quantizer.decode(made.quantizer.encode(latents))

    def is_continuous(keys):
        seen, _ = decoded(made, sound.repeat(len(keys) // 4, 1), keys)
        near = [
            torch.isclose(seen, choice.repeat(len(keys) // 4, 1, 1), rtol=0, atol=1e-5).all(2).all(1)
            for choice in (latents, quantized)
        ]
        assert torch.equal(near[0], ~near[1])
        return near[0]

    continuous = is_continuous(keys)
    assert 16 < continuous.sum() < 48
    assert torch.equal(is_continuous(keys[[5, 1, 2, 3]]), continuous[[5, 1, 2, 3]])


@torch.no_grad()
def quality(made, sound):
    return fidelity(made, AudioFormat(rate=16000), sound[0], made.decode(made.encode(sound))[0])


@pytest.mark.parametrize("weights", [(1, 0), (0, 1)])
def test_each_term_teaches_its_own_quality(weights):
    made = codec(channels=4, mel_weight=weights[0], waveform_weight=weights[1])
    tone = 0.3 * torch.sin(torch.arange(6400) * 0.1)[None]
    optimiser = torch.optim.Adam(made.parameters(), 3e-3)
    before = quality(made, tone)
    for step in range(30):
        optimiser.zero_grad()
        sum(made.training_loss(tone, random.example_keys(0, [step])).values()).backward()
        optimiser.step()
    after = quality(made, tone)
    if weights[0]:
        assert after["mel"] < 0.7 * before["mel"]
    else:
        assert after["si_sdr"] > before["si_sdr"] + 10
