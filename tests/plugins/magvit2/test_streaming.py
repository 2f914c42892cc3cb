"""A video that comes in chunks is coded as the whole, wherever it is cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_magvit2.codec import Magvit2
from mmseqdiff_magvit2.layers import Upsample

from mmseqdiff.protocols import Codec, StreamingCodec
from mmseqdiff.testing.strategies import chunks
from mmseqdiff.testing.streaming import check_streaming

SEGMENTS = 6


def codec(**parameters):
    torch.manual_seed(0)
    model = Magvit2(**{"channels": 4, "blocks": 1, "multipliers": (1, 2, 2), "latent_channels": 3, **parameters})
    with torch.no_grad():
        for weight in model.parameters():  # so that no gain is one and no bias zero
            weight += 0.1 * torch.randn_like(weight)
    return model.double().requires_grad_(False)


MODELS = {
    "official kernel": codec(temporal_downsample=(True, True)),
    "kernel 3": codec(temporal_downsample=(True, True), kernel=3),
    "late": codec(temporal_downsample=(False, True)),
    "bits": codec(temporal_downsample=(True, True), quantized=True),
    "pictures": codec(temporal_downsample=(True, True), temporal=False),
}


def clip(model, segments=SEGMENTS, batch=2):
    frames = 1 + model.geometry.stride * (segments - 1)
    return torch.rand(batch, frames, 8, 4, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=5)
@given(plan=chunks(SEGMENTS))
def test_any_plan_of_chunks_gives_the_whole(name, plan):
    check_streaming(MODELS[name], clip(MODELS[name]), plan, 1e-10)


@settings(max_examples=4)
@given(plan=chunks(SEGMENTS))
def test_in_float32_too(plan):
    model = codec(temporal_downsample=(True, True)).float()
    check_streaming(model, clip(model).float(), plan, 1e-5)


@pytest.mark.parametrize("broken", ["forgets", "drops"])
def test_without_its_memory_or_with_frames_dropped_in_every_chunk_the_law_fails(broken, monkeypatch):
    model = MODELS["official kernel"]
    if broken == "forgets":
        encode = model.encode_chunk
        monkeypatch.setattr(
            model, "encode_chunk", lambda x, state=None: encode(x, state and tuple(map(torch.zeros_like, state)))
        )
        match = "Tensor-likes are not close"
    else:  # the latent that conditions has as many frames as before
        forward = Upsample.forward
        monkeypatch.setattr(Upsample, "forward", lambda self, x, past: forward(self, x, past)[:, not past.first :])
        match = "must match"
    with pytest.raises((AssertionError, RuntimeError), match=match):
        check_streaming(model, clip(model), (1, 2, 3), 1e-10)


@given(batch=st.permutations(range(3)))
def test_streams_are_batched_split_and_forked_by_their_states(batch):
    model = MODELS["official kernel"]
    x = clip(model, batch=3)
    whole = model.encode(x)
    states = [model.encode_chunk(x[n : n + 1, :9])[1] for n in range(3)]
    joined = tuple(torch.cat([states[n][i] for n in batch]) for i in range(len(states[0])))
    for _ in range(2):
        latents, _ = model.encode_chunk(x[list(batch), 9:], joined)
        torch.testing.assert_close(latents, whole[list(batch), 3:], rtol=0, atol=1e-10)


def test_a_gradient_passes_from_chunk_to_chunk():
    model = MODELS["official kernel"]
    x = clip(model).requires_grad_()
    expected = torch.autograd.grad(model.encode(x)[:, -1].square().sum(), x)[0]
    _, state = model.encode_chunk(x[:, :9])
    found = torch.autograd.grad(model.encode_chunk(x[:, 9:], state)[0][:, -1].square().sum(), x)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_chunks_that_do_not_fit_are_refused():
    model = MODELS["official kernel"]
    x = clip(model)
    with pytest.raises(ValueError, match="nearest are 5 and 9"):
        model.encode_chunk(x[:, :8])
    z, state = model.encode_chunk(x[:, :5])
    for frames in (0, 5):
        with pytest.raises(ValueError, match=rf"a chunk of {frames} frames .* multiples of 4"):
            model.encode_chunk(x[:, :frames], state)
    with pytest.raises(ValueError, match=r"does not go on .* remembers \(2, 2, 8, 4, 3\).* is shown \(1, 4, 8, 4, 3\)"):
        model.encode_chunk(x[:1, 5:9], state)
    with pytest.raises(ValueError, match=r"torch.float64 on cpu, and is shown .*, torch.float32 on cpu"):
        model.encode_chunk(x[:, 5:9].float(), state)
    with pytest.raises(ValueError, match="does not go on"):
        model.decode_chunk(z, state)
    for wrong in (state[:-1], (*state, state[-1])):
        with pytest.raises(ValueError, match="that of another network"):
            model.encode_chunk(x[:, 5:9], wrong)
    with pytest.raises(ValueError, match="needs a latent"):
        model.decode_chunk(z[:, :0])
    with pytest.raises(ValueError, match="stride is longer than its kernel"):
        codec(temporal_downsample=(True, True), kernel=1).encode_chunk(x[:, :5])


def test_it_is_a_streaming_codec():
    assert isinstance(MODELS["official kernel"], StreamingCodec)
    assert isinstance(MODELS["official kernel"], Codec)
