"""The audio codecs of transformers: one latent per hop, causality as it is stated, and values as the library has them."""

from fractions import Fraction

import pytest
import torch

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.modality import Modality
from mmseqdiff.testing import look_ahead

pytest.importorskip("mmseqdiff_huggingface")
pytest.importorskip("transformers")

from mmseqdiff_huggingface.audio import MODELS, TransformersAudio

HOPS = {"encodec": 8, "encodec-zeros": 8, "encodec-48k": 8, "dac": 8, "dac-odd": 10, "mimi": 16}
HIDES = ("test_what_is_hidden_changes_no_bit",)
CAUSAL = ("encodec-zeros", "mimi")


def sound(samples, batch=2):
    return 2 * torch.rand(batch, samples, generator=torch.Generator().manual_seed(0)) - 1


@pytest.fixture(scope="module")
def codec(saved):
    return lambda name, **parameters: TransformersAudio(str(saved(name)), **parameters)


@pytest.mark.parametrize("name", HOPS)
def test_the_laws_hold_and_the_stated_causality_is_the_measured_one(codec, failures, name):
    model = codec(name)
    rate, signal = Fraction(model.geometry.sample_rate), sound(10 * HOPS[name] + 3)
    assert failures(model, shapes=(signal.shape[1:],), rates=(rate,)) == []
    encoder, decoder = look_ahead(model, signal, rate)
    assert model.causal == (name in CAUSAL)
    assert (encoder.max() > 1e-4, decoder.max() > 1e-4) == (not model.causal, not model.causal)
    assert model.track("audio", (34 * HOPS[name] + 3,), rate).edges[7] == 7 * Fraction(HOPS[name]) / rate
    assert model.segments(34 * HOPS[name] + 3) == 34


def test_law_12_what_is_hidden_changes_no_bit_though_the_codec_looks_ahead(codec, failures):
    model = codec("encodec-48k")
    modality = Modality(model, AudioFormat(rate=Fraction(model.geometry.sample_rate)))
    assert failures(modality, laws=HIDES, lengths=(Fraction(160, model.geometry.sample_rate),)) == []


def test_every_class_is_tried(codec):
    assert {codec(name).configuration["model_type"] for name in HOPS} == set(MODELS)


def test_a_mirrored_border_lets_only_the_first_latents_see_ahead(codec):
    for reach in look_ahead(codec("encodec"), sound(160), Fraction(24000)):
        assert (reach[:6] > 1e-4).all()
        assert (reach[6:] == 0).all(), "a convolution over 7 latents mirrors the 6 after the first"


@pytest.mark.parametrize("name", ["dac", "encodec-48k"])
def test_where_a_codec_looks_to_both_sides_a_hop_moves_the_latents_around_its_own_most(codec, name):
    model, segments = codec(name), 24
    signal, offsets = sound(segments * model.geometry.hop), []
    latents = model.encode(signal)
    for n in range(8, 16):
        changed = signal.clone()
        changed[:, n * model.geometry.hop : (n + 1) * model.geometry.hop] *= -1
        moved = (model.encode(changed) - latents).square().sum((0, 2))
        offsets.append(((moved * torch.arange(segments)).sum() / moved.sum()).item() - n)
    assert abs(sum(offsets) / len(offsets)) < 0.5, "latents lie elsewhere than their track says"


@pytest.mark.parametrize("name", ["encodec-zeros", "encodec-48k", "dac", "mimi"])
def test_through_the_whole_quantiser_it_decodes_what_the_library_decodes(codec, saved, name):
    import transformers

    stages = {"encodec-zeros": None, "encodec-48k": None, "dac": 3, "mimi": 4}[name]
    stages = stages or len(codec(name).model.quantizer.layers)
    model, signal = codec(name, quantizers=stages), sound(20 * HOPS[name])
    there = getattr(transformers, type(model.model).__name__).from_pretrained(saved(name)).eval()
    with torch.no_grad():
        if name == "dac":
            expected = there.decode(there.encode(signal[:, None]).quantized_representation).audio_values
        elif name == "mimi":
            expected = there.decode(there.encode(signal[:, None]).audio_codes).audio_values[:, 0]
        else:
            sides = signal[:, None].repeat(1, there.config.audio_channels, 1)
            coded = there.encode(sides, bandwidth=there.config.target_bandwidths[-1])
            expected = there.decode(coded.audio_codes, coded.audio_scales).audio_values.mean(1)
    torch.testing.assert_close(model.decode(model.encode(signal)), expected.clamp(-1, 1), rtol=0, atol=1e-5)
    free = codec(name)
    assert torch.equal(free.encode(signal), model.encode(signal)), "what is encoded is continuous either way"
    assert not torch.equal(free.decode(free.encode(signal)), model.decode(model.encode(signal)))


def test_loudness_is_a_channel_of_the_latents_and_comes_back(codec):
    model, signal = codec("encodec-48k"), 0.1 * sound(80)
    quiet, loud = model.encode(signal), model.encode(4 * signal)
    torch.testing.assert_close(quiet[..., :-1], loud[..., :-1], rtol=0, atol=1e-5)
    torch.testing.assert_close(loud[..., -1] - quiet[..., -1], torch.full_like(quiet[..., -1], 4).log())
    silent = model.encode(torch.zeros(1, 80))
    assert silent.isfinite().all()
    assert model.decode(silent).abs().max() < 1e-6


def test_rates_lengths_and_stages_that_do_not_fit_are_refused_and_those_allowed_named(codec):
    with pytest.raises(
        ValueError, match="takes 1600 samples a second, not 16000: set the modality's sample_rate to 1600"
    ):
        codec("mimi").track("audio", (1000,), Fraction(16000))
    with pytest.raises(ValueError, match="needs 16 samples or more"):
        codec("mimi").segments(15)
    with pytest.raises(ValueError, match="or lie in 1 … 4 for MimiModel, got 5"):
        codec("mimi", quantizers=5)
