"""The adversary: its size, its layers, what both sides play for, and that it learns."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_magvit2.codec import PRESETS, Magvit2
from mmseqdiff_magvit2.discriminator import Adversary, Discriminator, blur
from torch import nn

KEYS = torch.tensor([0, 1])


def clips(batch=2, frames=5, size=8, seed=0):
    return torch.rand(batch, frames, size, size, 3, generator=torch.Generator().manual_seed(seed))


class Linear(nn.Module):
    """D(x) = ⟨w, x⟩: its slope is w everywhere."""

    def __init__(self, example) -> None:
        super().__init__()
        self.w = nn.Parameter(0.1 * torch.randn(example.shape[1:], generator=torch.Generator().manual_seed(5)))

    def forward(self, x):
        return (x * self.w).flatten(1).sum(1)


def tiny():
    torch.manual_seed(0)
    codec = Magvit2(channels=4, blocks=1, latent_channels=3, discriminator_channels=4, discriminator_multipliers=(2, 4))
    return codec, codec.adversary((5, 8, 8, 3))


@pytest.mark.parametrize(("channels", "size", "millions"), [(128, 128, 61.3), (64, 128, 15.3)])
def test_it_has_the_official_number_of_weights(channels, size, millions):
    with torch.device("meta"):
        made = Discriminator((17, size, size), channels)
    assert sum(weight.numel() for weight in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert made.hidden.in_features == 64 * channels  # 1 x 4 x 4 places of 4 channels: 8192 at the base width


@given(sizes=st.tuples(*[st.integers(1, 6)] * 3), seed=st.integers(0, 9))
def test_blur_is_a_strided_depthwise_convolution(sizes, seed):
    x = torch.randn(2, 3, *sizes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    taps = torch.tensor([1, 2, 1], dtype=torch.float64) / 4
    kernel = torch.einsum("i,j,k->ijk", taps, taps, taps).expand(3, 1, 3, 3, 3)
    borders = [side for size in reversed(sizes) for side in ((0, 1) if size % 2 == 0 else (1, 1))]
    expected = F.conv3d(F.pad(x, borders), kernel, stride=2, groups=3)
    assert expected.shape[2:] == tuple(math.ceil(size / 2) for size in sizes)
    torch.testing.assert_close(blur(x), expected, rtol=0, atol=1e-12)


def test_what_alternates_is_gone_and_picking_every_second_would_keep_it():
    stripes = torch.tensor([1.0, -1.0]).repeat(4)[None, None, None, None].expand(1, 1, 8, 8, 8)
    assert blur(stripes)[..., :-1].abs().max() == 0
    assert stripes[..., ::2].abs().min() == 1


def test_the_terms_of_a_linear_adversary_are_its_closed_form():
    real, fake = clips(seed=1), clips(seed=2)
    linear = Linear(real)
    adversary = Adversary(linear)
    slope = float(linear.w.detach().square().sum())
    logits = [(x * linear.w).flatten(1).sum(1).tolist() for x in (real, fake)]
    softplus = lambda values: sum(math.log1p(math.exp(value)) for value in values) / len(values)
    adversary.real.fill_(0.3)
    adversary.fake.fill_(-0.2)
    terms = {name: float(term.detach()) for name, term in adversary(real, fake).items()}
    square = lambda values: sum(max(value, 0) ** 2 for value in values) / len(values)
    expected = {
        "adversary/logistic": softplus([-v for v in logits[0]]) + softplus(logits[1]),
        "adversary/gradient": 10 * slope,  # R1 has a half before it; this has not
        "adversary/lecam": 0.001 * (square([v + 0.2 for v in logits[0]]) + square([0.3 - v for v in logits[1]])),
    }
    assert terms == pytest.approx(expected, rel=1e-4)
    assert float(adversary.deceived(fake)) == pytest.approx(softplus([-v for v in logits[1]]), rel=1e-5)
    after = [0.999 * 0.3 + 0.001 * sum(logits[0]) / 2, 0.999 * -0.2 + 0.001 * sum(logits[1]) / 2]
    assert [float(adversary.real), float(adversary.fake)] == pytest.approx(after, rel=1e-5)
    adversary.eval()(real, fake)
    assert [float(adversary.real), float(adversary.fake)] == pytest.approx(after, rel=1e-5)


def test_each_sides_terms_reach_its_own_weights_alone():
    codec, adversary = tiny()
    terms = codec.training_loss(clips(), KEYS, adversary=adversary)
    own = {name: term for name, term in terms.items() if name.startswith("adversary/")}
    assert set(terms) - set(own) == {"reconstruction", "adversarial"}
    assert set(own) == {"adversary/logistic", "adversary/gradient", "adversary/lecam"}

    def reached(term, module):
        found = torch.autograd.grad(term, list(module.parameters()), retain_graph=True, allow_unused=True)
        return [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in found]

    assert all(reached(terms["adversarial"], codec.decoder))
    assert any(reached(terms["adversarial"], codec.encoder))
    assert not any(reached(terms["adversarial"], adversary))
    assert all(reached(sum(own.values()), adversary))
    for term in own.values():
        assert not any(reached(term, codec))


def test_without_an_adversary_the_loss_is_as_if_there_were_none():
    codec, adversary = tiny()
    plain, opposed = codec.training_loss(clips(), KEYS), codec.training_loss(clips(), KEYS, adversary=adversary)
    assert list(plain) == ["reconstruction"]
    assert torch.equal(plain["reconstruction"], opposed["reconstruction"])
    assert not any("adversary" in name or "discriminator" in name for name in codec.state_dict())


def test_in_thirty_steps_the_adversary_tells_and_is_told_less_and_less():
    codec, adversary = tiny()
    optimisers = [torch.optim.Adam(module.parameters(), 3e-3, betas=(0.0, 0.99)) for module in (codec, adversary)]
    adversary.gradient_weight = 0.1

    def step(terms, moves):
        for optimiser in optimisers:
            optimiser.zero_grad()
        sum(terms.values()).backward()
        optimisers[moves].step()

    logistic, deceived = [], []
    for n in range(30):  # first the adversary alone
        terms = codec.training_loss(clips(seed=n % 3), KEYS, adversary=adversary)
        logistic.append(terms["adversary/logistic"].item())
        step(terms, 1)
    assert logistic[-1] < 0.7 * logistic[0]
    for n in range(15):  # then the codec, against what that has learned
        terms = codec.training_loss(clips(seed=n % 3), KEYS, adversary=adversary)
        deceived.append(terms["adversarial"].item())
        step({"adversarial": terms["adversarial"]}, 0)
    assert deceived[-1] < 0.7 * deceived[0]


def test_presets_are_sizes_and_say_so_when_there_is_none():
    with torch.device("meta"):
        counts = {name: sum(weight.numel() for weight in Magvit2(preset=name).parameters()) / 1e6 for name in PRESETS}
        assert counts["base"] == pytest.approx(375.8, abs=0.05)
        assert counts["medium"] == pytest.approx(57.7, abs=0.05)
        assert list(counts.values()) == sorted(counts.values(), reverse=True)
        tiny, by_hand = Magvit2(preset="tiny"), Magvit2(channels=16, blocks=1)
        assert [(name, value.shape) for name, value in tiny.state_dict().items()] == [
            (name, value.shape) for name, value in by_hand.state_dict().items()
        ]
        with pytest.raises(ValueError, match="no preset 'huge'; known: base, medium, small, tiny"):
            Magvit2(preset="huge")


def test_in_bfloat16_the_adversary_is_the_same_and_all_gradients_are_finite():
    torch.manual_seed(0)
    codec = Magvit2(
        channels=4,
        blocks=1,
        latent_channels=3,
        quantized=True,
        discriminator_channels=4,
        discriminator_multipliers=(2, 4),
    )
    adversary = codec.adversary((5, 16, 16, 3))  # its last convolution sees 2 x 4 x 4 places
    x, y = clips(size=16), clips(size=16, seed=1)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            total = sum(adversary(x, y).values())
        gradients.append(torch.autograd.grad(total, list(adversary.parameters())))
        adversary.real.zero_()
        adversary.fake.zero_()
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)
    with torch.autocast("cpu", torch.bfloat16):
        terms = codec.training_loss(x, KEYS, adversary=adversary)
    sum(terms.values()).backward()
    assert all(weight.grad.isfinite().all() for module in (codec, adversary) for weight in module.parameters())
