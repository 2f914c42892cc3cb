"""A sound that comes in chunks is coded as the whole, wherever it is cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_soundstream.codec import SoundStream

from mmseqdiff import random
from mmseqdiff.protocols import StreamingCodec
from mmseqdiff.testing.strategies import chunks
from mmseqdiff.testing.streaming import check_streaming

STRIDES = [(2, 4, 5, 8), (2, 3), (1, 2)]


def codec(strides=(2, 3)):
    torch.manual_seed(0)
    model = SoundStream(2, 3, strides).double()
    with torch.no_grad():
        for weight in model.parameters():  # biases start at zero, which would hide what stands before the first chunk
            weight += 0.1 * torch.randn_like(weight)
    return model.requires_grad_(False)


def sound(samples, batch=2):
    return random.uniform(random.example_keys(1, range(batch)), "sound", (samples,)) - 0.5


@pytest.mark.parametrize("strides", STRIDES)
@settings(max_examples=6)
@given(data=st.data(), segments=st.integers(1, 20))
def test_any_plan_of_chunks_gives_the_whole(strides, data, segments):
    made = codec(strides)
    check_streaming(made, sound(segments * made.geometry.hop), data.draw(chunks(segments)), 1e-10)


@settings(max_examples=3)
@given(plan=chunks(12))
def test_in_float32_too(plan):
    made = codec((2, 4, 5, 8)).float()
    check_streaming(made, sound(12 * 320).float(), plan, 1e-5)


def test_without_its_memory_the_law_fails(monkeypatch):
    for name in ("encode_chunk", "decode_chunk"):
        made = codec()
        step = getattr(made, name)
        setattr(made, name, lambda x, state=None, step=step: step(x, state and tuple(map(torch.zeros_like, state))))
        with pytest.raises(AssertionError, match="Tensor-likes are not close"):
            check_streaming(made, sound(12 * 6), (4, 8), 1e-10)


def test_chunks_that_do_not_fit_are_refused():
    made, x = codec(), sound(24)
    for samples in (0, 5, 7):
        with pytest.raises(ValueError, match=f"a chunk of {samples} samples .* multiples of 6"):
            made.encode_chunk(x[:, :samples])
    z, state = made.encode_chunk(x[:, :12])
    with pytest.raises(ValueError, match="does not go on"):
        made.encode_chunk(x[:1, 12:], state)
    with pytest.raises(ValueError, match="does not go on"):
        made.decode_chunk(z, state)
    with pytest.raises(ValueError, match="needs a latent"):
        made.decode_chunk(z[:, :0])


def test_it_is_a_streaming_codec():
    assert isinstance(codec(), StreamingCodec)
