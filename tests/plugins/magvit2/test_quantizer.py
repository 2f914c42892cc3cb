"""Laws of the bits: which code, which gradient, how sure, how evenly used."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_magvit2 import quantizer
from mmseqdiff_magvit2.codec import Magvit2
from mmseqdiff_magvit2.quantizer import LookupFreeQuantizer


def latents(count=6, bits=4, seed=0, scale=0.02):
    return scale * torch.randn(count, bits, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def codes(bits):
    return torch.tensor(list(itertools.product([-1.0, 1.0], repeat=bits)), dtype=torch.float64)


@given(bits=st.integers(1, 18), seed=st.integers(0, 99))
def test_every_code_has_its_number_and_back(bits, seed):
    made = LookupFreeQuantizer()
    numbers = torch.randint(2**bits, (3, 5), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(made.indices(made.codes(numbers, bits)), numbers)
    assert torch.equal(made.codes(torch.tensor([1]), 3), torch.tensor([[1.0, -1.0, -1.0]]))


@given(bits=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_code_is_the_nearest_of_all_and_a_code_stays_what_it_is(bits, seed):
    made, z = LookupFreeQuantizer(), latents(bits=bits, seed=seed)
    q = made.quantise(z)
    assert torch.equal(q, codes(bits)[torch.cdist(z, codes(bits)).argmin(-1)])
    assert torch.equal(made.quantise(q), q)
    assert torch.equal(made.quantise(torch.zeros(1, bits)), torch.ones(1, bits))


def test_straight_through_is_the_identity_in_backward_and_the_sign_has_no_gradient():
    made, z = LookupFreeQuantizer(), latents().requires_grad_()
    q, terms = made(z)
    torch.testing.assert_close(q, made.quantise(z).detach())
    upstream = torch.randn_like(z)
    (gradient,) = torch.autograd.grad(q, z, upstream, retain_graph=True)
    assert torch.equal(gradient, upstream)
    assert not made.quantise(z).requires_grad
    (pull,) = torch.autograd.grad(terms["commitment"], z)
    torch.testing.assert_close(pull, 0.25 * 2 * (z - q).detach() / z.numel())


@given(seed=st.integers(0, 99), bits=st.integers(1, 5), scale=st.sampled_from([0.0, 1e-3, 0.02, 1.0]))
def test_the_entropy_is_that_of_all_codes_written_out(seed, bits, scale):
    z = latents(bits=bits, seed=seed, scale=scale)
    p = torch.softmax(-torch.cdist(z, codes(bits)).square() / 0.01, dim=-1)
    entropy = lambda q: -sum(value * math.log(value) for value in q.tolist() if value > 0)
    expected = sum(entropy(row) for row in p) / len(p) - entropy(p.mean(0))
    assert float(LookupFreeQuantizer().entropy(z)) == pytest.approx(expected, abs=1e-6)


def test_all_codes_alike_are_the_minimum_and_bit_by_bit_entropy_would_not_see_it():
    even, twins = (
        codes(4),
        torch.cat([codes(2), codes(2)], dim=1).repeat(4, 1),
    )  # twins' bits are even, but repeat each other
    made, bitwise = LookupFreeQuantizer(), LookupFreeQuantizer(group=1)
    assert float(made.entropy(even)) == pytest.approx(-4 * math.log(2))
    assert float(made.entropy(twins)) == pytest.approx(-2 * math.log(2))
    assert float(bitwise.entropy(twins)) == pytest.approx(float(bitwise.entropy(even)))


def test_groups_are_summed_and_gradients_are_finite_everywhere():
    z = latents(bits=5, seed=3)
    parts = sum(LookupFreeQuantizer().entropy(part) for part in z.split(2, dim=-1))
    assert float(LookupFreeQuantizer(group=2).entropy(z)) == pytest.approx(float(parts))
    for scale in (0.0, 0.01, 1.0, 1e4):
        z = latents(bits=18, scale=scale).float().requires_grad_()
        LookupFreeQuantizer().entropy(z).backward()
        assert z.grad.isfinite().all()


def test_the_weight_falls_from_three_times_to_once_in_two_thousand_updates():
    made = LookupFreeQuantizer(entropy_weight=0.1)
    weights = []
    for n in (0, 1, 1000, 2000, 5000):
        made.updates.fill_(n)
        weights.append(float(made.weight()))
    assert weights == pytest.approx([0.3, 0.2999, 0.2, 0.1, 0.1])
    made(latents())
    made.eval()(latents())
    assert made.updates == 5001
    assert quantizer.ANNEALING == 2000


def test_a_codec_of_bits_has_bits_for_latents_and_decodes_the_nearest():
    torch.manual_seed(0)
    made = Magvit2(channels=4, blocks=1, latent_channels=18, quantized=True)
    x = torch.rand(2, 5, 8, 8, 3)
    z = made.encode(x)
    assert set(z.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(made.decode(0.3 * z), made.decode(z))
    terms = made.training_loss(x, torch.tensor([0, 1]))
    assert list(terms) == ["reconstruction", "commitment", "entropy"]
    sum(terms.values()).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in made.encoder.parameters()), "through the bits"
    with pytest.raises(ValueError, match="latent_noise is for continuous latents"):
        Magvit2(channels=4, blocks=1, quantized=True, latent_noise=0.1)
    made.inflate_from(made.image_codec())
