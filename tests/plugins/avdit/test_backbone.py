"""AVDiT against a transformer that was written without it: token by token, with one level, from the same weights."""

import itertools
import math
from fractions import Fraction

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_avdit.backbone import AVDiT
from mmseqdiff_avdit.positions import rotation, time_features

from mmseqdiff.layout import Layout, Track, uniform_edges

SMALL = {"layers": 2, "dimension": 24, "heads": 3, "mlp_ratio": 2.0}
VARIANTS = [{}, {"gates": True}, {"patch": 2}, {"self_condition": False}, {"rotary": True}, {"alibi": True}]

LAYOUT = Layout(
    (
        Track("video", [0, Fraction(1, 8), Fraction(5, 8), Fraction(9, 8)], (4, 2), 3),
        Track("audio", uniform_edges(7, 6), (), 5),
        Track("pose", uniform_edges(4, 3), (3,), 2),
    )
)


def paper_layout(grid=16, audio_channels=1024):
    video_edges = [Fraction(0), *(Fraction(1 + 4 * k, 8) for k in range(5))]
    return Layout(
        (Track("video", video_edges, (grid, grid), 8), Track("audio", uniform_edges(106, 50), (), audio_channels))
    )


def network(layout=LAYOUT, dtype=torch.float32, **parameters):
    """A network none of whose weights is zero."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = AVDiT(layout, **{**SMALL, **parameters})
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn_like(weight)
    return model.eval()


def latents(layout=LAYOUT, batch=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        track.modality: torch.randn(batch, *track.shape, generator=generator, dtype=torch.float64).to(dtype)
        for track in layout.tracks
    }


def levels(layout=LAYOUT, batch=2, seed=0, dtype=torch.float32):
    t = 1000 * torch.rand(batch, layout.M, layout.N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.where(layout.valid, t, 0).to(dtype)


def reference(
    state, layout, z, estimate, level, *,
    layers, heads, patch=1, gates=False, self_condition=True, rotary=False, alibi=False, **_,
):  # fmt: skip
    """One example; every token by itself, with the conditioning of ``level(m, n)`` computed anew for each."""

    def linear(name, x):
        bias = state.get(f"{name}.bias")
        y = x @ state[f"{name}.weight"].T
        return y if bias is None else y + bias

    def norm(x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()

    def silu(x):
        return x / (1 + (-x).exp())

    def waves(value, shortest, longest, count):
        half = count // 2
        periods = [shortest * (longest / shortest) ** (k / (half - 1)) for k in range(half)]
        angles = [2 * math.pi * value / period for period in periods]
        numbers = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
        return torch.tensor(numbers, dtype=next(iter(state.values())).dtype)

    def turn(x):  # pairs of numbers as complex numbers, turned by their token's moment
        half = x.shape[-1] // 2
        periods = torch.tensor(
            [(1 / 25) ** (1 - k / (half - 1)) * 20 ** (k / (half - 1)) for k in range(half)], dtype=torch.float64
        )
        angles = 2 * math.pi * torch.tensor(moments, dtype=torch.float64)[:, None] / periods
        turned = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([turned.real, turned.imag], dim=-1).to(x.dtype)

    tokens, rows, places, moments = [], [], [], []
    for m, track in enumerate(layout.tracks):
        name, side = track.modality, patch if len(track.grid) == 2 else 1
        for n in range(track.segments):
            moment = waves(float((track.edges[n] + track.edges[n + 1]) / 2), 1 / 25, 20, 64)
            for corner in itertools.product(*(range(0, size, side) for size in track.grid)):
                numbers = []
                for offset in itertools.product(range(side), repeat=len(track.grid)):
                    place = (n, *(a + b for a, b in zip(corner, offset)))
                    numbers += [z[name][place], estimate[name][place]] if self_condition else [z[name][place]]
                token = linear(f"inputs.{name}.project", torch.cat(numbers)) + linear("time", moment)
                if track.grid:
                    token = token + linear(
                        f"inputs.{name}.space", torch.cat([waves(a // side, 2, 128, 64) for a in corner])
                    )
                row = linear("cells.level", waves(level(m, n), 2 * math.pi, 2 * math.pi * 10_000, 256))
                row = row + linear("cells.time", moment) + state[f"cells.modality.{name}"]
                tokens.append(token)
                rows.append(silu(linear("cells.mlp.2", silu(linear("cells.mlp.0", row)))))
                places.append((name, n, corner, side))
                moments.append(float((track.edges[n] + track.edges[n + 1]) / 2))
    x, c = torch.stack(tokens), torch.stack(rows)
    d = x.shape[-1]
    for layer in range(layers):
        block = f"blocks.{layer}"
        modulation = linear(f"{block}.modulation", c).split(d, dim=-1)
        one = torch.ones_like(x)
        if gates:
            scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = modulation
        else:
            (scale_1, shift_1, scale_2, shift_2), gate_1, gate_2 = modulation, one, one
        q, k, v = linear(f"{block}.attention.qkv", norm(x) * (1 + scale_1) + shift_1).split(d, dim=-1)
        mixed = []
        for h in range(heads):
            part = slice(h * d // heads, (h + 1) * d // heads)
            query = norm(q[:, part]) * state[f"{block}.attention.query_norm.weight"]
            key = norm(k[:, part]) * state[f"{block}.attention.key_norm.weight"]
            if rotary:
                query, key = turn(query), turn(key)
            steep = 16 * 0.5**h if alibi and h < heads - 1 else 0
            apart = torch.tensor([[abs(a - b) for b in moments] for a in moments], dtype=q.dtype)
            weights = (query @ key.T / math.sqrt(d // heads) - steep * apart).exp()
            mixed.append(weights / weights.sum(-1, keepdim=True) @ v[:, part])
        x = x + gate_1 * linear(f"{block}.attention.project", torch.cat(mixed, dim=-1))
        hidden = linear(f"{block}.mlp.0", norm(x) * (1 + scale_2) + shift_2)
        gelu = hidden / 2 * (1 + (math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)).tanh())
        x = x + gate_2 * linear(f"{block}.mlp.2", gelu)
    result = {name: torch.zeros_like(value) for name, value in z.items()}
    for token, row, (name, n, corner, side) in zip(x, c, places):
        scale, shift = linear(f"outputs.{name}.modulation", row).split(d)
        numbers = linear(f"outputs.{name}.project", norm(token) * (1 + scale) + shift)
        squares = itertools.product(range(side), repeat=len(corner))
        for offset, value in zip(squares, numbers.split(result[name].shape[-1])):
            result[name][(n, *(a + b for a, b in zip(corner, offset)))] = value
    return result


def assert_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("gates", [False, True])
def test_published_size(gates):
    with torch.device("meta"):
        model = AVDiT(paper_layout(), gates=gates)
    count = sum(weight.numel() for weight in model.parameters())
    # A layer has 12 d² + 9 d of its own (and 128 for its two norms), and 4 d² + 4 d or 6 d² + 6 d of modulation.
    layers = 24 * (12 * 1024**2 + 9 * 1024 + 128 + (6 if gates else 4) * (1024**2 + 1024))
    assert layers < count < layers + 17e6
    assert 415e6 < count < 425e6 or gates
    assert model.spans.tokens == (256, 1)
    assert model.spans.segments == (5, 106)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("variant", VARIANTS)
@given(level=st.floats(0, 1000, width=32))
@settings(max_examples=4, deadline=None)
@torch.no_grad()
def test_law_5_a_constant_matrix_is_the_scalar_model(variant, dtype, tolerance, level):
    model, z, estimate = network(dtype=dtype, **variant), latents(dtype=dtype), latents(seed=1, dtype=dtype)
    t = torch.where(LAYOUT.valid, level, 0).to(dtype).expand(2, -1, -1)
    found = model(z, t, self_condition=estimate)
    for b in range(2):
        one, own = ({name: value[b] for name, value in each.items()} for each in (z, estimate))
        expected = reference(model.state_dict(), LAYOUT, one, own, lambda m, n: level, **{**SMALL, **variant})
        scale = max(float(value.abs().max()) for value in expected.values())
        assert_close(
            {name: value[b] / scale for name, value in found.items()},
            {n: v / scale for n, v in expected.items()},
            tolerance,
        )


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_modulation_per_cell_is_modulation_per_token(variant):
    model, z, estimate = (
        network(dtype=torch.float64, **variant),
        latents(batch=1, dtype=torch.float64),
        latents(batch=1, seed=1, dtype=torch.float64),
    )
    t = levels(batch=1, dtype=torch.float64)
    one, own = ({name: value[0] for name, value in each.items()} for each in (z, estimate))
    expected = reference(model.state_dict(), LAYOUT, one, own, lambda m, n: float(t[0, m, n]), **{**SMALL, **variant})
    assert_close({name: value[0] for name, value in model(z, t, self_condition=estimate).items()}, expected, 1e-9)


@torch.no_grad()
def test_rotated_attention_sees_the_time_between_tokens_and_not_when():
    later = Layout([attrs.evolve(t, edges=[edge + Fraction(1, 3) for edge in t.edges]) for t in LAYOUT.tracks])
    stretched = Layout([attrs.evolve(t, edges=[2 * edge for edge in t.edges]) for t in LAYOUT.tracks])
    x = torch.randn(1, 8 * 3 + 7 + 4 * 3, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = network(rotary=True, dtype=torch.float64)
    attention = model.blocks[0].attention
    now, then, slower = (
        attention(x, rotation(layout, model.spans.tokens, 8).double()) for layout in (LAYOUT, later, stretched)
    )
    torch.testing.assert_close(now, then, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(now, slower, rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_no_self_condition_is_zeros_bit_for_bit():
    model, z, t = network(), latents(), levels()
    zeros = {name: torch.zeros_like(value) for name, value in z.items()}
    without, with_zeros, with_estimate = (model(z, t, self_condition=each) for each in (None, zeros, latents(seed=1)))
    assert all(torch.equal(without[name], with_zeros[name]) for name in z)
    assert not any(torch.allclose(without[name], with_estimate[name]) for name in z)


@pytest.mark.parametrize("variant", VARIANTS)
def test_before_training_the_prediction_is_zero(variant):
    found = AVDiT(LAYOUT, **{**SMALL, **variant})(latents(), levels())
    assert all(torch.equal(found[name], torch.zeros_like(value)) for name, value in latents().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_gets_a_gradient(variant):
    model = network(**variant)
    sum(value.pow(2).sum() for value in model(latents(), levels(), self_condition=latents(seed=1)).values()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:])
@torch.no_grad()
def test_the_order_of_tracks_does_not_matter(order):
    model, z, t = network(dtype=torch.float64), latents(dtype=torch.float64), levels(dtype=torch.float64)
    layout = Layout([LAYOUT.tracks[m] for m in order])
    other = network(layout, dtype=torch.float64)
    other.load_state_dict(model.state_dict())
    found = other({name: z[name] for name in layout.modalities}, t[:, order])
    assert list(found) == list(layout.modalities)
    assert_close(found, model(z, t), 1e-10)


@torch.no_grad()
def test_law_9_the_batch_does_not_matter():
    model, z, t, estimate = network(), latents(batch=5), levels(batch=5), latents(batch=5, seed=1)
    together = model(z, t, self_condition=estimate)
    for b in range(5):
        alone, own = ({name: value[b : b + 1] for name, value in each.items()} for each in (z, estimate))
        assert_close(
            model(alone, t[b : b + 1], self_condition=own),
            {name: value[b : b + 1] for name, value in together.items()},
            1e-5,
        )


@torch.no_grad()
def test_every_level_reaches_the_prediction_and_padding_does_not():
    model, z, t = network(), latents(batch=1), levels(batch=1)
    before = model(z, t)
    for m, n in itertools.product(range(LAYOUT.M), range(LAYOUT.N)):
        changed = t.clone()
        changed[:, m, n] = 500 + t[:, m, n] / 2 if LAYOUT.valid[m, n] else math.nan
        after, name = model(z, changed), LAYOUT.modalities[m]
        if LAYOUT.valid[m, n]:
            assert (after[name][:, n] - before[name][:, n]).abs().max() > 1e-4, LAYOUT.describe(m, n)
        else:
            assert all(torch.equal(after[name], before[name]) for name in z)


@torch.no_grad()
def test_weights_fit_a_layout_of_another_length_in_which_moments_look_the_same():
    longer = Layout(
        [attrs.evolve(track, edges=(*track.edges, track.edges[-1] + 1, track.edges[-1] + 2)) for track in LAYOUT.tracks]
    )
    model, other = network(), AVDiT(longer, **SMALL)
    other.load_state_dict(model.state_dict())
    found = other(latents(longer), levels(longer))
    assert [found[track.modality].shape[1] for track in longer.tracks] == [5, 9, 6]
    first = time_features(longer).split([track.segments for track in longer.tracks])
    assert torch.equal(torch.cat([part[:-2] for part in first]), time_features(LAYOUT))
    assert len(set(map(tuple, time_features(paper_layout()).tolist()))) == 111  # no two moments look alike


def test_under_autocast_the_prediction_has_the_dtype_of_the_latents():
    model, z, t = network(), latents(), levels()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(z, t)
    exact = model(z, t)
    for name in z:
        assert found[name].dtype == torch.float32
        assert 0 < (found[name] - exact[name]).norm() < 0.1 * exact[name].norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, t: (z, t[:, :2]), r"shape \(2, 2, 7\).*\(B, 3, 7\)"),
        (lambda z, t: ({"video": z["video"]}, t), r"\['video'\].*\['audio', 'pose', 'video'\]"),
        (lambda z, t: ({**z, "audio": z["audio"][:, :6]}, t), r"'audio' have shape \(2, 6, 5\), expected \(2, 7, 5\)"),
        (lambda z, t: (z, t[:1]), r"expected \(1, 3, 4, 2, 3\): 1 examples"),
    ],
)
def test_wrong_shapes_are_refused(change, message):
    z, t = change(latents(), levels())
    with pytest.raises(ValueError, match=message):
        AVDiT(LAYOUT, **SMALL)(z, t)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"heads": 5}, "heads 5 must divide dimension 24"),
        ({"patch": 4}, r"patch 4 .* \(4, 2\) of 'video'"),
        ({"layers": 0}, "layers must be positive, got 0"),
        ({"heads": 1, "alibi": True}, "alibi needs at least two heads"),
        ({"heads": 8, "rotary": True}, "a rotary head needs an even width: dimension 24 / heads 8 is odd"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        AVDiT(LAYOUT, **{**SMALL, **sizes})
