"""The video autoencoders of diffusers: true edges, causality as it is stated, sizes, and values as the library has them."""

import copy
from fractions import Fraction

import attrs
import pytest
import torch

from mmseqdiff.data.video import VideoFormat
from mmseqdiff.modality import Modality
from mmseqdiff.testing import look_ahead

pytest.importorskip("mmseqdiff_huggingface")
pytest.importorskip("diffusers")

from mmseqdiff_huggingface.video import MODELS, DiffusersVideo

AHEAD = {
    "magvit": (False, False),
    "magvit-norms-over-windows": (False, False),
    "ltx": (False, True),
    "ltx-causal": (False, False),
    "ltx-noisy": (False, True),
    "cogvideox": (True, True),
    "wan": (False, False),
    "wan-patches": (False, False),
    "hunyuan": (True, True),
}
"""Whether encoder and decoder look ahead."""


SHAPE = (9, 16, 16, 3)


def pictures(frames=9, batch=2, size=16):
    return torch.rand(batch, frames, size, size, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def codec(saved):
    """Name → the codec, loaded when it is first asked for."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = DiffusersVideo(str(saved(name)))
        return built[name]

    return get


@pytest.mark.parametrize("name", AHEAD)
def test_the_laws_hold_and_the_stated_causality_is_the_measured_one(codec, failures, name):
    model, clip = codec(name), pictures()
    assert failures(model, shapes=(clip.shape[1:],)) == []
    encoder, decoder = look_ahead(model, clip, Fraction(8))
    assert ((encoder > 1e-4).any().item(), (decoder > 1e-4).any().item()) == AHEAD[name]
    assert model.causal == (AHEAD[name] == (False, False))


@pytest.mark.parametrize("name", ["cogvideox", "hunyuan"])
def test_without_the_norms_that_look_ahead_the_same_edges_are_those_of_a_causal_network(codec, failures, name):
    model = copy.deepcopy(codec(name))
    model.geometry = attrs.evolve(model.geometry, ahead="")
    assert any("changes with frames after its segment" in why for why in failures(model, shapes=(SHAPE,)))
    for module in model.modules():
        for child, norm in module.named_children():
            if isinstance(norm, torch.nn.GroupNorm):
                setattr(module, child, torch.nn.Identity())
    assert failures(model, shapes=(SHAPE,)) == []


def test_other_edges_would_not_pass(codec, failures, monkeypatch):
    model = codec("wan")
    track = model.track("video", SHAPE, Fraction(24))
    laws = ("test_causal_codecs_do_not_look_ahead", "test_a_causal_codecs_segments_end_where_the_track_says")
    assert failures(model, examples=8, laws=laws, shapes=(SHAPE,)) == []
    for edges in ((0, 3, 6, 9), (0, 4, 8, 9)):
        wrong = attrs.evolve(track, edges=tuple(Fraction(edge, 24) for edge in edges))
        monkeypatch.setattr(model, "track", lambda *_, wrong=wrong: wrong)
        assert failures(model, examples=8, laws=laws, shapes=(SHAPE,))


def test_every_class_is_tried_and_tracks_start_with_one_frame(codec):
    assert {type(codec(name).model).__name__ for name in AHEAD} == set(MODELS)
    for name in AHEAD:
        track = codec(name).track("video", (17, 32, 16, 3), Fraction(8))
        assert track.edges == tuple(Fraction(end, 8) for end in (0, 1, 5, 9, 13, 17))
        stride = 4 if name.startswith("ltx") else 16 if name == "wan-patches" else 8
        assert track.grid == (32 // stride, 16 // stride)
        assert track.channels == 4


@pytest.mark.parametrize("name", ["ltx", "cogvideox", "hunyuan"])
def test_latents_are_the_librarys_own_modes_and_are_not_scaled(codec, saved, name):
    import diffusers

    model, clip = codec(name), pictures(17, batch=1)
    there = getattr(diffusers, type(model.model).__name__).from_pretrained(saved(name)).eval()
    with torch.no_grad():
        posterior = there.encode(clip.permute(0, 4, 1, 2, 3) * 2 - 1).latent_dist
        back = there.decode(posterior.mean).sample.permute(0, 2, 3, 4, 1) / 2 + 0.5
    latents = model.encode(clip)
    torch.testing.assert_close(latents, posterior.mean.permute(0, 2, 3, 4, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(model.decode(latents), back.clamp(0, 1), rtol=0, atol=1e-6)


def test_law_12_what_is_hidden_changes_no_bit_though_the_codec_sees_the_whole_clip(codec, failures):
    modality = Modality(codec("hunyuan"), VideoFormat(rate=8, height=16, width=16))
    assert failures(modality, laws=("test_what_is_hidden_changes_no_bit",), lengths=(Fraction(9, 8),)) == []


@pytest.mark.parametrize(("name", "step"), [("wan", 4), ("cogvideox", 8), ("hunyuan", 4)])
def test_lengths_and_sizes_that_do_not_fit_are_refused_and_those_allowed_named(codec, name, step):
    model = codec(name)
    assert model.segments(1) == 1
    assert model.segments(1 + 2 * step) == 1 + 2 * step // 4
    assert model.decode(model.encode(pictures(1 + step, batch=1))).shape[1] == 1 + step
    with pytest.raises(
        ValueError, match=rf"takes 1 \+ {step} n of them: the nearest are {1 + step} and {1 + 2 * step}"
    ):
        model.encode(pictures(2 + step))
    with pytest.raises(ValueError, match="20 x 20 do not fit this codec: both must be multiples of 8"):
        model.encode(pictures(size=20))


def test_an_even_number_of_cogvideox_latents_would_not_decode_to_the_frames_that_they_are_of(codec):
    network = codec("cogvideox").model
    latents = network.encode(torch.zeros(1, 3, 5, 16, 16)).latent_dist.mode()
    assert latents.shape[2] == 2
    assert network.decode(latents).sample.shape[2] == 8, "else the codec could take 1 + 4 n frames"


def test_noise_in_a_decoder_is_always_the_same_and_leaves_the_generators_alone(codec):
    model = codec("ltx-noisy")
    latents = model.encode(pictures())
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    decoded = model.decode(latents)
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(model.decode(latents), decoded)
    with torch.random.fork_rng():
        free = model.model.decode(latents.movedim(-1, 1), temb=torch.zeros(2)).sample
    assert (free.movedim(1, -1) / 2 + 0.5 - decoded).abs().max() > 1e-3, "there is noise in this one"


def test_what_looks_ahead_is_said_when_a_codec_is_loaded(saved, caplog):
    DiffusersVideo(str(saved("wan")))
    assert caplog.messages == []
    DiffusersVideo(str(saved("hunyuan")))
    (said,) = caplog.messages
    assert said == "AutoencoderKLHunyuanVideo is not causal: group norms over the whole clip look ahead"
