"""The adversary: its layers as the paper has them, what both sides play for, and that it learns."""

import pytest
import torch
from mmseqdiff_soundstream import discriminators
from mmseqdiff_soundstream.codec import SoundStream
from mmseqdiff_soundstream.discriminators import Adversary, StftDiscriminator, WaveDiscriminator
from torch import nn

from mmseqdiff import random

KEYS = random.example_keys(3, range(2))


@pytest.fixture
def sound():
    return 0.1 * random.normal(KEYS, "sound", (3200,))


def tiny(**parameters):
    torch.manual_seed(0)
    made = SoundStream(
        **{
            "channels": 2,
            "latent_channels": 3,
            "wave_channels": 4,
            "stft_channels": 2,
            "waveform_weight": 1,
            **parameters,
        }
    )
    return made, made.adversary((3200,))


def test_the_wave_discriminator_has_the_papers_layers():
    with torch.device("meta"):
        made = WaveDiscriminator()
        outputs = made(torch.empty(2, 8192))
    layers = [
        (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.groups)
        for layer in made.layers
    ]
    assert layers == [
        (1, 16, 15, 1, 1),
        (16, 64, 41, 4, 4),
        (64, 256, 41, 4, 16),
        (256, 1024, 41, 4, 64),
        (1024, 1024, 41, 4, 256),
        (1024, 1024, 5, 1, 1),
        (1024, 1, 3, 1, 1),
    ]
    assert outputs[-1].shape == (2, 1, 8192 // 256)
    with pytest.raises(ValueError, match="groups of four, got 6"):
        WaveDiscriminator(6)


def test_the_stft_discriminator_divides_time_by_eight_and_frequency_by_64():
    torch.manual_seed(0)
    made, x = StftDiscriminator(2), 0.1 * torch.randn(1, 256 * 15)
    outputs = made(x)
    assert [tuple(y.shape[1:]) for y in outputs] == [
        (2, 16, 512), (4, 16, 256), (8, 8, 128), (8, 8, 64), (16, 4, 32), (16, 4, 16), (32, 2, 8), (1, 2, 1),
    ]  # fmt: skip
    with torch.device("meta"):
        wide = StftDiscriminator()
    assert [layer.out_channels for layer in (block.second for block in wide.layers[1:-1])] == [
        64,
        128,
        128,
        256,
        256,
        512,
    ]
    kernels = [(block.second.kernel_size, block.second.stride) for block in wide.layers[1:3]]
    assert kernels == [((3, 4), (1, 2)), ((4, 4), (2, 2))]


def test_it_sees_phase_which_a_magnitude_would_hide():
    torch.manual_seed(0)
    made, x = StftDiscriminator(2), 0.1 * torch.randn(1, 4096)
    assert (made(-x)[-1] - made(x)[-1]).abs().max() > 1e-4
    magnitude = [torch.stft(sign * x, 1024, 256, window=made.window, return_complex=True).abs() for sign in (1, -1)]
    assert torch.equal(*magnitude)


class Fixed(nn.Module):
    """A discriminator with two layers of known outputs: w x and the logits 3 x."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x):
        return [self.w * x, 3 * x]


def test_the_terms_are_the_hinges_and_the_features_written_out():
    adversary = Adversary(4, 2)
    adversary.waves, adversary.stft = nn.ModuleList([Fixed(1.0), Fixed(2.0)]), Fixed(4.0)
    x, y = torch.full((1, 64), 0.2), torch.full((1, 64), 0.7).requires_grad_()
    terms = adversary(x, y)
    torch.testing.assert_close(terms["adversarial"], torch.tensor(0.0), msg="logit 2.1: nothing more to gain")
    torch.testing.assert_close(terms["adversary/hinge"], torch.tensor((1 - 0.6) + (1 + 2.1)))
    torch.testing.assert_close(terms["feature"], torch.tensor(0.5 * (1 + 2 + 4) / 3))
    torch.testing.assert_close(adversary(x, x)["adversarial"], torch.tensor(1 - 0.6))
    (gradient,) = torch.autograd.grad(terms["adversarial"], y)
    assert gradient.abs().max() == 0, "minus the logit would pull on, without a bound"


def test_half_rates_are_averages_of_four():
    adversary, seen = Adversary(4, 2), []
    for wave in adversary.waves:
        wave.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.arange(1792.0)[None]
    adversary.outputs(x)
    assert [y.shape[1] for y in seen] == [1792, 896, 448]
    torch.testing.assert_close(seen[1][0, 3], x[0, 5:9].mean())
    torch.testing.assert_close(seen[1][0, 0], x[0, :3].mean())


def test_each_sides_terms_reach_its_own_weights_alone(sound):
    codec, adversary = tiny(quantizers=2, codebook_size=4)
    terms = codec.training_loss(sound, KEYS, adversary=adversary)
    assert list(terms) == ["commitment", "mel", "waveform", "adversarial", "feature", "adversary/hinge"]

    def reached(term, module):
        found = torch.autograd.grad(term, list(module.parameters()), retain_graph=True, allow_unused=True)
        return [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in found]

    for name in ("adversarial", "feature"):
        assert all(reached(terms[name], codec.decoder))
        assert any(reached(terms[name], codec.encoder))
        assert not any(reached(terms[name], adversary))
    missed = [
        name
        for (name, _), moves in zip(adversary.named_parameters(), reached(terms["adversary/hinge"], adversary))
        if not moves
    ]
    # Where no logit is beyond 1, a bias of all logits pulls as much on one side as on the other.
    assert set(missed) <= {
        "waves.0.layers.6.bias",
        "waves.1.layers.6.bias",
        "waves.2.layers.6.bias",
        "stft.layers.7.bias",
    }
    assert not any(reached(terms["adversary/hinge"], codec))
    assert not any("wave" in name or "stft" in name for name in codec.state_dict())


def test_without_an_adversary_the_loss_is_as_if_there_were_none(sound):
    codec, adversary = tiny()
    plain, opposed = codec.training_loss(sound, KEYS), codec.training_loss(sound, KEYS, adversary=adversary)
    assert list(plain) == ["mel", "waveform"]
    assert all(torch.equal(term, opposed[name]) for name, term in plain.items())


def test_in_bfloat16_both_sides_have_finite_gradients(sound):
    codec, adversary = tiny(quantizers=2, codebook_size=4)
    for _ in range(2):  # the first sets the codebooks
        with torch.autocast("cpu", torch.bfloat16):
            terms = codec.training_loss(sound, KEYS, adversary=adversary)
        sum(terms.values()).backward()
    assert codec.quantizer.codebooks.dtype == torch.float32
    for module in (codec, adversary):
        assert all(weight.grad.isfinite().all() for weight in module.parameters())


def test_in_thirty_steps_the_adversary_tells_and_features_come_closer():
    codec, adversary = tiny(channels=4)
    tone = 0.3 * torch.sin(torch.arange(3200) * 0.1)[None]
    optimisers = [torch.optim.Adam(module.parameters(), 2e-3, betas=(0.5, 0.9)) for module in (codec, adversary)]
    hinge, feature = [], []
    for step in range(30):
        terms = codec.training_loss(tone, KEYS[:1], adversary=adversary)
        (hinge if step < 10 else feature).append(terms["adversary/hinge" if step < 10 else "feature"].item())
        for optimiser in optimisers:
            optimiser.zero_grad()
        sum(terms.values()).backward()
        optimisers[1 if step < 10 else 0].step()  # first the adversary alone, then the codec
    assert hinge[-1] < 0.7 * hinge[0]
    assert feature[-1] < 0.9 * feature[0]


def test_sounds_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="1600 samples are too short for the adversary: it needs 1792"):
        tiny()[0].adversary((1600,))
    assert discriminators.HOP == 256
