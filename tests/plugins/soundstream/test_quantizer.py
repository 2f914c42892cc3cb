"""Laws of the residual vector quantiser."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_soundstream import quantizer
from mmseqdiff_soundstream.quantizer import ResidualQuantizer

from mmseqdiff import random


def trained(stages=3, size=8, channels=2, **parameters) -> ResidualQuantizer:
    """A quantiser that has seen one batch."""
    made = ResidualQuantizer(channels, stages, size, **parameters).double()
    made(latents(), random.example_keys(0, range(4)))
    return made


def latents(batch=4, segments=50, channels=2, seed=0) -> torch.Tensor:
    return random.normal(random.example_keys(seed, range(batch)), "latents", (segments, channels), torch.float64)


def test_before_the_first_batch_there_are_no_codes():
    with pytest.raises(RuntimeError, match="no codebooks yet"):
        ResidualQuantizer(2).encode(latents().float())


@given(seed=st.integers(0, 99))
def test_partial_sums_are_the_stages_reconstructions(seed):
    made, z = trained().eval(), latents(seed=seed)
    codes, residual = made.encode(z), z
    for stage in range(3):
        distances = torch.cdist(residual.flatten(0, 1), made.codebooks[stage])
        assert torch.equal(distances.argmin(-1), codes[..., stage].flatten())
        residual = residual - made.codebooks[stage][codes[..., stage]]
        torch.testing.assert_close(made.decode(codes[..., : stage + 1]), z - residual)
    assert (made.decode(codes.flip(-1)) - made.decode(codes)).abs().max() > 1e-3, "a code means its own stage's frame"


def test_more_stages_are_closer():
    made, z = trained().eval(), latents(seed=5)
    codes = made.encode(z)
    errors = [(made.decode(codes[..., :n]) - z).square().mean() for n in (1, 2, 3)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_straight_through_is_the_identity_in_backward():
    made, z = trained(), latents(seed=5).requires_grad_()
    quantized, commitment = made(z, random.example_keys(1, range(4)))
    upstream = torch.randn_like(z)
    (gradient,) = torch.autograd.grad(quantized, z, upstream, retain_graph=True)
    assert torch.equal(gradient, upstream)
    assert not made.decode(made.encode(z)).requires_grad, "the choice of a code alone has no gradient"
    (pull,) = torch.autograd.grad(commitment, z)
    torch.testing.assert_close(pull, 2 * (z - quantized).detach() / z.numel())


def test_dropout_is_uniform_over_the_stages_and_follows_each_examples_key():
    made, keys = trained(decay=1.0), random.example_keys(2, range(600))
    z = latents(seed=5)[:1].repeat(600, 1, 1)
    codes = made.encode(z[:1])
    quantized, _ = made(z, keys)
    partial = torch.cat([made.decode(codes[..., :n]) for n in (1, 2, 3)])
    stages = torch.cdist(quantized.flatten(1), partial.flatten(1)).argmin(-1)
    torch.testing.assert_close(quantized, partial[stages])
    assert stages.bincount().min() > 160
    alone, _ = trained(decay=1.0)(z[:1], keys[7:8])
    torch.testing.assert_close(alone, quantized[7:8])
    whole, _ = made.eval()(z[:8], keys[:8])
    torch.testing.assert_close(whole, partial[2:].repeat(8, 1, 1))


def test_the_first_batch_sets_codes_by_k_means(monkeypatch):
    def start(rounds):
        monkeypatch.setattr(quantizer, "_KMEANS_ROUNDS", rounds)
        made, z = ResidualQuantizer(2, 1, 4, decay=1.0).double(), latents()
        made(z, random.example_keys(0, range(4)))
        codes = made.encode(z)
        return made, z, codes[..., 0], (z - made.decode(codes)).square().mean()

    errors = [start(rounds)[3] for rounds in (1, 2, 5, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1.05 * errors[-1]
    made, z, codes, _ = start(100)
    for code in range(4):
        torch.testing.assert_close(made.codebooks[0, code], z[codes == code].mean(0))


def test_codebooks_are_moving_averages():
    made, z = trained(stages=1, decay=0.75, dead_below=0), latents(seed=5)
    made.counts.clamp_(min=1)
    counts, sums = made.counts[0].clone(), made.sums[0].clone()
    codes = made.encode(z)[..., 0]
    made(z, random.example_keys(1, range(4)))
    for code in range(8):
        chosen = z[codes == code]
        count = 0.75 * counts[code] + 0.25 * len(chosen)
        torch.testing.assert_close(made.codebooks[0, code], (0.75 * sums[code] + 0.25 * chosen.sum(0)) / count)
    before = made.codebooks.clone()
    made.eval()(z, random.example_keys(1, range(4)))
    assert torch.equal(made.codebooks, before)


@given(dead=st.sets(st.integers(0, 7)))
def test_reviving_dead_codes_leaves_live_codes_bit_equal(dead):
    made, z = trained(stages=1, decay=1.0), latents(seed=5)
    made.counts[:] = 4
    made.counts[0, list(dead)] = 1.5
    made.sums[:] = made.codebooks * made.counts[..., None]
    before = made.codebooks[0].clone()
    made(z, random.example_keys(1, range(4)))
    live = [code for code in range(8) if code not in dead]
    assert torch.equal(made.codebooks[0, live], before[live])
    distances = torch.cdist(made.codebooks[0, sorted(dead)], z.flatten(0, 1))
    assert (distances.amin(-1) == 0).all()
    assert len(set(distances.argmin(-1).tolist())) == len(dead)
    assert (made.counts >= made.dead_below).all()


def test_were_all_codes_taken_for_dead_live_ones_would_move():
    made, z = trained(stages=1, decay=1.0, dead_below=5), latents(seed=5)
    made.counts[:] = 4
    before = made.codebooks[0].clone()
    made(z, random.example_keys(1, range(4)))
    assert (made.codebooks[0] != before).any(-1).all()


def test_the_same_keys_make_the_same_codebooks():
    first, second = trained(), trained()
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    other = ResidualQuantizer(2, 3, 8).double()
    other(latents(), random.example_keys(1, range(4)))
    assert not torch.equal(other.codebooks, first.codebooks)
