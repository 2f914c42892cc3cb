"""Weighted branches in a world where every branch's prediction is known in closed form."""

import math
from fractions import Fraction

import pytest
import torch
from gaussian_guidance import LAYOUT, PURE, WORLD, absent, situations
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_guidance.branches import Branch, merged
from mmseqdiff_guidance.cfg import FreeGuidance
from mmseqdiff_guidance.cross_modal import CrossModalGuidance
from mmseqdiff_guidance.gradient import Gradient
from mmseqdiff_guidance.history import HistoryGuidance, Window
from mmseqdiff_guidance.reconstruction import Reconstruction
from mmseqdiff_guidance.replacement import Replacement

from mmseqdiff.errors import PluginError, UserError
from mmseqdiff.forward import Prediction, normal_latents
from mmseqdiff.protocols import Denoiser
from mmseqdiff.testing.strategies import given_cells

WEIGHTS = st.floats(-1, 4)
FEW = settings(max_examples=8)


def exact(world, z, t):
    return world.flatten(world.denoiser(PURE)(z, t).x0)


def guided(guidance, situation):
    cells, t, z, keys = situation
    return WORLD.flatten(guidance(WORLD.denoiser(PURE, "v"))(z, t, given=cells, keys=keys).x0)


def agree(made, expected, cells):
    here = WORLD.coordinates(cells.double()).expand_as(made) > 0
    torch.testing.assert_close(made[here], expected[here], rtol=1e-6, atol=1e-6)


@FEW
@given(situation=situations(), scale=WEIGHTS, level=st.floats(0.05, 0.95))
def test_fractional_guidance_compares_the_faint_condition_with_none(situation, scale, level):
    """cond + (w − 1) (faint − uncond), the faint condition at level 8 k of the arc, noised by hand."""
    cells, t, z, keys = situation
    noise = normal_latents(LAYOUT, keys, "guidance", dtype=torch.float64)
    angle, faint = level * math.pi / 2, {name: value.clone() for name, value in z.items()}
    for name, rows in LAYOUT.split(cells).items():
        faint[name][:, rows] = math.cos(angle) * z[name][:, rows] + math.sin(angle) * noise[name][:, rows]
    cond, faint = exact(WORLD, z, t), exact(WORLD, faint, torch.where(cells, 8 * level, t))
    expected = cond + (scale - 1) * (faint - exact(absent(cells), z, t))
    agree(guided(FreeGuidance(scale, level=level), situation), expected, ~cells & LAYOUT.valid)


@FEW
@given(situation=situations(), one=WEIGHTS, other=WEIGHTS)
def test_temporal_guidance_weighs_windows(situation, one, other):
    cells, t, z, keys = situation
    windows = (Window(one, stop=Fraction(1)), Window(other, modalities=("audio",)))
    early = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0]]).bool()  # pose lasts two seconds, and is in no window
    sound = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 0]]).bool()
    first, second = (exact(absent(cells & ~shown), z, t) for shown in (early, sound))
    expected = one * first + other * second + (1 - one - other) * exact(absent(cells), z, t)
    agree(guided(HistoryGuidance(windows), situation), expected, ~cells & LAYOUT.valid)


@FEW
@given(situation=situations(), video=WEIGHTS, rest=WEIGHTS, joint=st.booleans())
def test_cross_modal_guidance_compares_each_modality_with_itself_alone(situation, video, rest, joint):
    cells, t, z, keys = situation
    if joint:
        cells, t = torch.zeros_like(cells), torch.where(cells, 3.0, t)
    made = guided(CrossModalGuidance(rest, {"video": video}), (cells, t, z, keys))
    for m, w in enumerate((video, rest, rest)):
        own = (torch.arange(3) == m)[:, None] & LAYOUT.valid
        alone = exact(absent(LAYOUT.valid & ~own), z, t)
        agree(made, w * exact(WORLD, z, t) + (1 - w) * alone, own & ~cells)


@FEW
@given(situation=situations(), scale=WEIGHTS, video=WEIGHTS)
def test_each_generated_modality_has_its_own_scale(situation, scale, video):
    cells, *_ = situation
    made = guided(FreeGuidance(scale, scales={"video": video}), situation)
    for m, w in enumerate((video, scale, scale)):
        own = (torch.arange(3) == m)[:, None] & LAYOUT.valid & ~cells
        agree(made, guided(FreeGuidance(w), situation), own)


@FEW
@given(situation=situations(), scale=WEIGHTS, ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_the_interval_is_of_the_cells_own_level(situation, scale, ends):
    cells, t, z, keys = situation
    denoiser = WORLD.denoiser(PURE, "v")
    plain, always, within = (
        guidance(denoiser)(z, t, given=cells, keys=keys).value
        for guidance in (FreeGuidance(1.0), FreeGuidance(scale), FreeGuidance(scale, interval=tuple(ends)))
    )
    for name, levels in LAYOUT.split(t).items():
        for n in range(levels.shape[1]):
            for b in range(2):
                inside = 8 * ends[0] <= levels[b, n] <= 8 * ends[1]
                torch.testing.assert_close(within[name][b, n], (always if inside else plain)[name][b, n])
                assert inside or torch.equal(within[name][b, n], plain[name][b, n])


@FEW
@given(situation=situations(), scale=WEIGHTS, phi=st.floats(0, 1))
def test_rescaling_gives_the_generated_numbers_the_plain_ones_spread(situation, scale, phi):
    cells, t, z, keys = situation
    denoiser = WORLD.denoiser(PURE, "v")
    plain, full, made = (
        guidance(denoiser)(z, t, given=cells, keys=keys).value
        for guidance in (FreeGuidance(1.0), FreeGuidance(scale), FreeGuidance(scale, rescale=phi))
    )
    for name, levels in LAYOUT.split(t).items():
        for b in range(2):
            moving = levels[b] > 0
            before, after = (x[name][b][moving].flatten() for x in (plain, full))
            spread = [x.std(correction=0) for x in (before, after)] if moving.any() else [0, 0]
            factor = phi * spread[0] / spread[1] + 1 - phi if spread[1] else 1
            torch.testing.assert_close(made[name][b][moving], factor * full[name][b][moving], rtol=1e-5, atol=1e-7)


class Counter(Denoiser):
    """A cellwise prediction, and how many examples it was asked for."""

    layout, schedule, asked = LAYOUT, PURE, 0

    def __call__(self, z, t, *, given, keys, self_condition=None):
        self.asked += len(t)
        return Prediction(value=z, kind="v", z=z, t=t, schedule=PURE, layout=LAYOUT)


GUIDANCES = [
    FreeGuidance(2.0),
    FreeGuidance(2.0, ("video",)),
    FreeGuidance(1.0),
    FreeGuidance(0.0),
    FreeGuidance(0.0, interval=(0.1, 0.5)),
    FreeGuidance(3.0, level=0.5),
    FreeGuidance(3.0, level=1.0),
    HistoryGuidance((Window(2.0, stop=Fraction(1)), Window(-1.0, stop=Fraction(1)))),
    HistoryGuidance((Window(2.0, stop=Fraction(1)), Window(1.0, start=Fraction(1)))),
    CrossModalGuidance(2.0),
    CrossModalGuidance(0.0),
    CrossModalGuidance(1.0),
    Replacement(),
    Reconstruction(),
    Gradient(),
]


@pytest.mark.parametrize("guidance", GUIDANCES, ids=lambda guidance: str(guidance)[:60])
@FEW
@given(data=st.data())
def test_the_network_is_asked_as_often_as_the_guidance_says(guidance, data):
    counter = Counter()
    z = {track.modality: torch.zeros(3, *track.shape) for track in LAYOUT.tracks}
    for cells in (data.draw(given_cells(LAYOUT)), torch.zeros_like(LAYOUT.valid)):
        counter.asked = 0
        t = (LAYOUT.valid & ~cells).double().expand(3, -1, -1) * 4
        if isinstance(guidance, Reconstruction):
            z = {name: value.requires_grad_() for name, value in z.items()}
        guidance(counter)(z, t, given=cells, keys=torch.arange(3))
        assert counter.asked == 3 * guidance.evaluations(LAYOUT, cells)


def test_what_is_equal_is_merged_and_what_counts_for_nothing_dropped():
    none, audio = torch.zeros(3, 3).bool(), torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 0]]).bool()
    counts = [[guidance.evaluations(LAYOUT, cells) for cells in (none, audio)] for guidance in GUIDANCES]
    assert counts == [
        [1, 2], [1, 1], [1, 1], [1, 1], [1, 2], [1, 3], [1, 1], [1, 1], [1, 3], [4, 3], [4, 3], [1, 1], [1, 1], [1, 1],
        [1, 1],
    ]  # fmt: skip


@FEW
@given(situation=situations(), scale=WEIGHTS)
def test_one_window_of_everything_is_classifier_free_guidance(situation, scale):
    cells, *_ = situation
    made = guided(HistoryGuidance((Window(scale),)), situation)
    agree(made, guided(FreeGuidance(scale), situation), ~cells & LAYOUT.valid)


@FEW
@given(situation=situations(), scale=WEIGHTS)
def test_with_nothing_given_or_scale_1_there_is_no_guidance_to_the_last_bit(situation, scale):
    cells, t, z, keys = situation
    denoiser, none = WORLD.denoiser(PURE, "v"), torch.zeros_like(cells)
    plain = denoiser(z, t).value
    for guidance, shown in (
        (FreeGuidance(scale, level=0.2, rescale=0.5), none),
        (HistoryGuidance((Window(scale),)), none),
        (FreeGuidance(1.0, interval=(0.2, 0.4)), cells),
        (CrossModalGuidance(1.0), cells),
    ):
        made = guidance(denoiser)(z, t, given=shown, keys=keys).value
        assert all(torch.equal(made[name], plain[name]) for name in z)


def test_branches_that_are_no_prediction_are_refused():
    one, free = torch.ones(1, 2).double(), torch.tensor([[True, True]])
    with pytest.raises(ValueError, match=r"sum to \[2.0, 2.0\] in the generated cells, expected 1"):
        merged([Branch(2 * one, 0 * one)], free)
    with pytest.raises(ValueError, match="counts for a generated cell that it re-noises"):
        merged([Branch(one / 2, 0 * one), Branch(one / 2, one)], free)


def test_parameters_that_mean_nothing_are_refused(host):
    for name, parameters, message in (
        (
            "cfg",
            {"interval": [0.5, 0.2]},
            "'interval' must be two rising fractions of T, between 0 and 1, got 0.5 and 0.2",
        ),
        ("cfg", {"interval": ["a", 1]}, "interval"),
        ("cfg", {"level": 1.5}, "'level' must be <= 1"),
        ("cross_modal", {"rescale": -1.0}, "'rescale' must be >= 0"),
        ("history", {"windows": []}, "windows"),
        ("history", {"windows": [{"weigth": 1}]}, "weigth"),
        ("mmd_gradient", {"weight": "beta"}, "'weight' must be in"),
    ):
        with pytest.raises(PluginError, match=message):
            host.build("guidance", name, **parameters)
    for guidance in (
        FreeGuidance(start=Fraction(3, 2), stop=Fraction(1)),
        HistoryGuidance((Window(1.0, stop=Fraction(0)),)),
    ):
        with pytest.raises(UserError, match="the guidance does not fit the model: there is nothing between"):
            guidance(WORLD.denoiser(PURE))
    for guidance in (FreeGuidance(modalities=("touch",)), CrossModalGuidance(scales={"touch": 2.0})):
        with pytest.raises(UserError, match="the guidance does not fit the model: the layout has no modality 'touch'"):
            guidance(WORLD.denoiser(PURE))
