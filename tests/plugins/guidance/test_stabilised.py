"""Stabilised context: what the network is shown, what it is told, and what is left as it was."""

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_guidance.stabilised import Stabilised

from mmseqdiff import random
from mmseqdiff.forward import Prediction
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Denoiser
from mmseqdiff.testing.contracts import bits
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc, given_cells, keys, latents, layouts, timesteps
from mmseqdiff.testing.world import WorldDenoiser

SCHEDULE = Arc(8)


@attrs.define(eq=False)
class Recorder(Denoiser):
    """Predicts half of what it is shown, and keeps it."""

    layout: Layout
    schedule: Arc = SCHEDULE
    shown: list = attrs.field(factory=list)

    def __call__(self, z, t, *, given, keys, self_condition=None):
        self.shown.append((z, t, given, keys, self_condition))
        value = {name: x / 2 for name, x in z.items()}
        return Prediction(value=value, kind="x0", z=z, t=t, schedule=self.schedule, layout=self.layout)


@given(data=st.data(), layout=layouts(), keys=keys(), level=st.floats(1, 8), also_given=st.booleans())
def test_finished_cells_are_shown_with_the_noise_of_their_label(data, layout, keys, level, also_given):
    given = data.draw(given_cells(layout))
    t = torch.where(given, 0, data.draw(timesteps(layout, 8, dtype=torch.float64)))
    z, estimate = (data.draw(latents(layout, dtype=torch.float64)) for _ in range(2))
    recorder = Recorder(layout)
    stabilised = Stabilised(level, also_given)(recorder)
    prediction = stabilised(z, t, given=given, keys=keys, self_condition=estimate)
    other = {name: 2 * x for name, x in z.items()}
    stabilised(other, t.clamp(max=1), given=given, keys=keys)
    (shown, told, passed, same_keys, condition), (again, *_) = recorder.shown
    assert torch.equal(passed, given)
    assert torch.equal(same_keys, keys)
    alpha, sigma = SCHEDULE.alpha(torch.tensor(level).double()), SCHEDULE.sigma(torch.tensor(level).double())
    for m, track in enumerate(layout.tracks):
        name = track.modality
        for b in range(len(keys)):
            for n in range(track.segments):
                noisy = t[b, m, n] == 0 and (also_given or not given[m, n])
                assert told[b, m, n] == (level if noisy else t[b, m, n])
                assert torch.equal(condition[name][b, n], 0 * estimate[name][b, n] if noisy else estimate[name][b, n])
                if not noisy:
                    assert torch.equal(bits(shown[name][b, n]), bits(z[name][b, n]))
                    continue
                noise = (shown[name][b, n] - alpha * z[name][b, n]) / sigma
                assert (noise != 0).all()
                torch.testing.assert_close((again[name][b, n] - alpha * other[name][b, n]) / sigma, noise)
                assert torch.equal(bits(prediction.x0[name][b, n]), bits(z[name][b, n])), (
                    "the noisy copy is written back"
                )
    assert (told[:, ~layout.valid] == 0).all()
    assert torch.equal(prediction.t, t)


def test_the_noise_is_standard_normal_and_another_for_every_example_and_cell():
    layout, count = Layout([Track("video", [0, 1, 2], (), 2), Track("audio", [0, 1], (), 1)]), 20_000
    recorder, keys = Recorder(layout), random.example_keys(1, range(count))
    free, clean = torch.zeros(2, 2, dtype=torch.bool), torch.zeros(count, 2, 2, dtype=torch.float64)
    zeros = {track.modality: torch.zeros(count, *track.shape, dtype=torch.float64) for track in layout.tracks}
    Stabilised(3.0)(recorder)(zeros, clean, given=free, keys=keys)
    shown = torch.cat([x.flatten(1) for x in recorder.shown[0][0].values()], 1) / SCHEDULE.sigma(
        torch.tensor(3.0).double()
    )
    assert (shown.mean(0).abs() < 4 / count**0.5).all()
    assert ((shown.T.cov() - torch.eye(5)).abs() < 4 * (2 / count) ** 0.5).all()


def test_along_a_plan_only_what_is_generated_and_finished_is_stabilised_and_it_stays_as_it_was(host):
    layout = Layout([Track("video", [0, 1, 2, 3]), Track("audio", [0, 1, 2, 3])])
    world, keys = GaussianWorld.random(layout, seed=5), random.example_keys(0, range(3))
    given = torch.tensor([[True, False, False]] * 2)
    plan: SamplingPlan = host.build("plan", "autoregressive", steps=2)(layout, given, num_levels=8)
    clean, seen = world.sample(keys), []

    class Watched(WorldDenoiser):
        def __call__(self, z, t, **rest):
            seen.append((z, t))
            return super().__call__(z, t, **rest)

    def run(guide):
        seen.clear()
        made = generate(
            guide(Watched(world, SCHEDULE)), host.build("sampler", "ddim"), plan, keys, given=clean, dtype=torch.float64
        )
        return made, list(seen)

    plain, _ = run(lambda denoiser: denoiser)
    made, shown = run(host.build("guidance", "stabilise", level=1))
    labels = [[(t[0, 0]).tolist(), (t[0, 1]).tolist()] for _, t in shown]
    assert labels == [[row, row] for row in ([0, 8, 8], [0, 4, 8], [0, 1, 8], [0, 1, 4])]
    for name in made:
        assert torch.equal(made[name][:, 0], clean[name][:, 0])
        assert all(torch.equal(z[name][:, 0], clean[name][:, 0]) for z, _ in shown), "a given cell was noised"
        assert torch.equal(shown[2][0][name][:, 1], shown[3][0][name][:, 1]), "another noise in every row"
        assert torch.equal(made[name][:, 1], plain[name][:, 1]), "nothing was finished before"
        assert (made[name][:, 2] != plain[name][:, 2]).all()
        assert (shown[2][0][name][:, 1] != made[name][:, 1]).all()
    same, _ = run(host.build("guidance", "stabilise", level=0))
    assert all(torch.equal(same[name], plain[name]) for name in plain)


def test_it_wraps_another_guidance_and_refuses_levels_that_are_not_there(host):
    both = host.build("guidance", "stabilise", level=2, guidance={"name": "cfg", "scale": 2.0})
    recorder = Recorder(Layout([Track("video", [0, 1, 2, 3])]))
    first = torch.tensor([[True, False, False]])
    assert (both.evaluations(recorder.layout, first), Stabilised().evaluations(recorder.layout, first)) == (2, 1)
    z, t = {"video": torch.ones(1, 3, 1)}, torch.tensor([[[0.0, 0.0, 5.0]]])
    both(recorder)(z, t, given=torch.tensor([[True, False, False]]), keys=random.example_keys(0, [0]))
    assert recorder.shown[0][1].tolist() == [[[0, 2, 5]], [[8, 2, 5]]]
    with pytest.raises(ValueError, match="cannot be shown at level 20: levels end at T = 8"):
        Stabilised()(recorder)
    with pytest.raises(ValueError, match="level counts levels"):
        Stabilised(level=0.02)


@pytest.mark.parametrize("level", [0, 2])
def test_cells_that_are_shown_as_they_are_keep_their_self_condition(level):
    recorder = Recorder(Layout([Track("video", [0, 1, 2, 3])]))
    denoiser = Stabilised(level=level)(recorder)
    z, t = {"video": torch.ones(1, 3, 1)}, torch.tensor([[[0.0, 0.0, 5.0]]])
    denoiser(z, t, given=torch.tensor([[True, False, False]]), keys=random.example_keys(0, [0]), self_condition=z)
    assert recorder.shown[0][4]["video"].flatten().tolist() == ([1, 1, 1] if level == 0 else [1, 0, 1])
