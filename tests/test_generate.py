"""The sampling loop; what samplers do in it is in ``tests/laws`` and ``tests/plugins/samplers``."""

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff import random
from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Denoiser, Sampler
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.contracts import bits
from mmseqdiff.testing.strategies import Arc, given_cells, keys, latents, layouts, plans, schedules

LAYOUT = Layout([Track("video", [0, 1, 2]), Track("audio", [0, 2], (), 3)])
KEYS = random.example_keys(0, range(2))


@attrs.define(eq=False)
class Recorder(Denoiser):
    """Predicts x0 = 1, 2, 3 … in turn, and keeps what it was called with."""

    layout: Layout
    schedule: Arc = Arc(4)
    calls: list = attrs.field(factory=list)

    def __call__(self, z, t, *, given, keys, self_condition=None):
        self.calls.append({"z": z, "t": t, "given": given, "keys": keys, "estimate": dict(self_condition)})
        value = {name: torch.full_like(x, float(len(self.calls))) for name, x in z.items()}
        return Prediction(value=value, kind="x0", z=z, t=t, schedule=self.schedule, layout=self.layout)


class ToX0(Sampler):
    """Puts x0 in place of every cell that moves, after two evaluations; counts its steps in its state."""

    evaluations = 2

    def start(self, z, layout):
        return {"steps": torch.zeros(len(z["video"]), layout.N)}

    def step(self, z, t, s, *, denoise, state, noise):
        prediction, _ = denoise(z, t), denoise(z, s)
        moved = prediction.layout.split(t != s)
        z = {name: torch.where(moved[name][..., None], prediction.x0[name], x) for name, x in z.items()}
        return z, {"steps": state["steps"] + 1}


def plan_of(rows, given, **options):
    return SamplingPlan(torch.tensor(rows, dtype=torch.float64), torch.tensor(given), LAYOUT, 4, **options)


def test_the_loop_walks_the_plan_and_keeps_each_cells_own_estimate():
    plan = plan_of(
        [[[4, 0], [4, 0]], [[4, 0], [2, 0]], [[1, 0], [2, 0]], [[0, 0], [0, 0]]], [[False, True], [False, False]]
    )
    clean = {"video": torch.tensor([[[5.0], [7.0]]] * 2)}
    denoiser = Recorder(LAYOUT)
    made = generate(denoiser, ToX0(), plan, KEYS, given=clean)
    calls = denoiser.calls
    assert len(calls) == 2 * plan.steps
    for row, call in enumerate(calls[::2]):
        assert torch.equal(call["t"], plan.levels[row].expand(2, -1, -1))
        assert torch.equal(call["given"], plan.given)
        assert torch.equal(call["keys"], KEYS)
        assert (call["z"]["video"][:, 1] == 7).all()
    start = normal_latents(LAYOUT, KEYS, "start")
    assert torch.equal(calls[0]["z"]["video"][:, 0], start["video"][:, 0])
    assert torch.equal(calls[0]["z"]["audio"], start["audio"])
    # x0 counts the calls, two a step; a cell's estimate is the first one of the last step in which it moved
    video = [call["estimate"]["video"][0, :, 0].tolist() for call in calls]
    audio = [call["estimate"]["audio"][0, 0, 0].item() for call in calls]
    assert video == [[0, 7], [0, 7], [0, 7], [0, 7], [3, 7], [3, 7]]
    assert audio == [0, 0, 1, 1, 1, 1]
    assert (made["video"][:, 0] == 5).all()
    assert (made["audio"] == 5).all()


def test_a_cell_that_rises_starts_anew_and_the_others_go_on():
    """Its self-condition is nothing again, the sampler forgets it, and a row that only rises predicts nothing."""
    given = [[False, True], [False, False]]
    rows = [[[4, 0], [4, 0]], [[2, 0], [2, 0]], [[3, 0], [1, 0]], [[4, 0], [1, 0]], [[0, 0], [0, 0]]]
    forgotten = []

    class Forgetting(ToX0):
        def step(self, z, t, s, **rest):
            assert (s <= t).all(), "a sampler never rises"
            return super().step(z, t, s, **rest)

        def reset(self, state, cells):
            forgotten.append((int(state["steps"][0, 0]), cells[0].tolist()))
            return state

    denoiser = Recorder(LAYOUT)
    clean = {"video": torch.tensor([[[5.0], [7.0]]] * 2)}
    made = generate(denoiser, Forgetting(), plan_of(rows, given, allow_rise=True), KEYS, given=clean)
    first = [[True, False], [False, False]]
    assert forgotten == [(2, first), (2, first)]
    video = [call["estimate"]["video"][0, :, 0].tolist() for call in denoiser.calls[::2]]
    audio = [call["estimate"]["audio"][0, 0, 0].item() for call in denoiser.calls[::2]]
    assert video == [[0, 7], [1, 7], [0, 7]]
    assert audio == [0, 1, 3]
    last = denoiser.calls[-2]["z"]["video"]
    assert (last[:, 1] == 7).all()
    schedule, counts = Arc(4), torch.tensor([[2, 0], [2, 0]])  # the second rise is the cell's third move
    level = torch.tensor([3.0, 4.0])
    (alpha, beta), (sigma, tau) = schedule.alpha(level), schedule.sigma(level)
    noise = [normal_latents(LAYOUT, KEYS, "renoise", counts - back)["video"][:, 0] for back in (1, 0)]
    low = torch.tensor(2.0)
    risen = schedule.alpha(level[0]) / schedule.alpha(low) * 1.0  # the cell was put to its first estimate, 1
    risen = risen + (sigma**2 - (alpha / schedule.alpha(low) * schedule.sigma(low)) ** 2).sqrt() * noise[0]
    risen = beta / alpha * risen + (tau**2 - (beta / alpha * sigma) ** 2).sqrt() * noise[1]
    torch.testing.assert_close(last[:, 0], risen)
    assert (made["video"][:, 0] == 5).all()


def test_progress_wraps_the_steps():
    seen = []
    plan = plan_of([[[4, 4], [4, 0]], [[2, 2], [2, 0]], [[0, 0], [0, 0]]], [[False, False], [False, False]])
    generate(Recorder(LAYOUT), ToX0(), plan, KEYS, progress=lambda steps: (seen.append(k) or k for k in steps))
    assert seen == [0, 1]


@given(data=st.data(), layout=layouts(), schedule=schedules(), keys=keys())
def test_what_is_not_given_is_never_read(host, data, layout, schedule, keys):
    given = data.draw(given_cells(layout))
    plan = data.draw(plans(layout, given, schedule.num_levels, max_steps=2))
    clean = data.draw(latents(layout))
    hidden = {
        name: torch.where(cells.reshape(1, -1, *(1,) * (clean[name].ndim - 2)), clean[name], torch.nan)
        for name, cells in layout.split(given).items()
    }
    needed = {name: x for name, x in hidden.items() if layout.split(given)[name].any()}
    denoiser = CellwiseDenoiser(layout, schedule)
    sampler = host.build("sampler", "ddpm")
    made = [generate(denoiser, sampler, plan, keys, given=latents) for latents in (clean, hidden, needed)]
    for other in made[1:]:
        assert all(torch.equal(bits(other[name]), bits(made[0][name])) for name in clean)


def test_cells_that_start_below_t_start_from_the_supplied_latents():
    rows, given = [[[4, 0], [1, 0]], [[0, 0], [0, 0]]], [[False, True], [False, False]]
    clean = {"video": torch.full((2, 2, 1), 7.0), "audio": torch.full((2, 1, 3), 3.0)}
    denoiser = Recorder(LAYOUT)
    generate(denoiser, ToX0(), plan_of(rows, given, start_below=True), KEYS, given=clean)
    start = normal_latents(LAYOUT, KEYS, "start")
    t = torch.tensor(rows[:1], dtype=torch.float64).expand(2, -1, -1)
    expected = ForwardProcess(Arc(4), LAYOUT).corrupt(clean, start, t)
    shown = denoiser.calls[0]["z"]
    assert torch.equal(shown["audio"], expected["audio"])
    assert torch.equal(shown["video"], torch.stack([start["video"][:, 0], clean["video"][:, 1]], dim=1))
    assert (denoiser.calls[0]["estimate"]["audio"] == 0).all(), "there is no estimate of what is not given"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "takes cells of 'video' as given, but no latents were given for it"),
        ({"audio": torch.zeros(2, 1, 3)}, "takes cells of 'video' as given"),
        ({"video": torch.zeros(2, 3, 1)}, r"given latents of 'video' are \(2, 3, 1\), expected \(2, 2, 1\)"),
        ({"video": torch.zeros(1, 2, 1)}, r"given latents of 'video' are \(1, 2, 1\), expected \(2, 2, 1\)"),
    ],
)
def test_missing_and_wrong_latents_are_refused(given, message):
    plan = plan_of([[[4, 0], [4, 0]], [[0, 0], [0, 0]]], [[False, True], [False, False]])
    with pytest.raises(ValueError, match=message):
        generate(Recorder(LAYOUT), ToX0(), plan, KEYS, given=given)


def test_a_plan_for_another_schedule_or_layout_is_refused():
    """Beyond the schedule's levels it would extrapolate; below its T, noise would be taken for signal."""
    nothing = torch.zeros_like(LAYOUT.valid)
    plan = SamplingPlan(torch.tensor([[8.0], [0.0]])[..., None] * LAYOUT.valid, nothing, LAYOUT, 8)
    with pytest.raises(ValueError, match="the plan is for 8 levels"):
        generate(Recorder(LAYOUT), ToX0(), plan, KEYS)
    other = Layout([Track("video", [0, 1, 3]), Track("audio", [0, 3], (), 3)])
    with pytest.raises(ValueError, match="the denoiser for 8 of"):
        generate(Recorder(other, Arc(8)), ToX0(), plan, KEYS)
