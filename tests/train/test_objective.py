"""The denoiser's loss against a straight-line computation, cell by cell in float64."""

import math

import attrs
import pytest
import torch
import train_fakes as fakes

from mmseqdiff import random
from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.forward import PREDICTION_KINDS, normal_latents
from mmseqdiff.protocols import TimestepPolicy
from mmseqdiff.train.objective import DenoisingObjective, conditional_loss, step_keys

LAYOUT = fakes.LAYOUT


def denoiser(kind: str = "epsilon") -> NetworkDenoiser:
    torch.manual_seed(1)
    return NetworkDenoiser(fakes.LinearBackbone(LAYOUT), fakes.LineSchedule(), LAYOUT, kind)


def latents(batch: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {t.modality: 1 + torch.randn(batch, *t.shape, generator=generator) for t in LAYOUT.tracks}


def one(z: dict, b: int) -> dict:
    return {name: value[b : b + 1] for name, value in z.items()}


def straight_line(objective: DenoisingObjective, z0: dict, key: torch.Tensor) -> float:
    """The loss of one example, from the docstring's equations and nothing of the code under test."""
    net, kind, depth, levels = objective.denoiser.backbone, objective.denoiser.kind, 0.99, 8
    t = objective.policy.sample(LAYOUT, random.fold(key, "policy"), num_levels=levels)
    noise = normal_latents(LAYOUT, key, "noise")
    noisy, scales = {}, {}
    for m, track in enumerate(LAYOUT.tracks):
        name, cells = track.modality, []
        for n in range(track.segments):
            a = math.sqrt(1 - depth * float(t[0, m, n]) / levels)
            s = math.sqrt(depth * float(t[0, m, n]) / levels)
            scales[name, n] = a, s
            cells.append(a * z0[name][0, n].double() + s * noise[name][0, n].double())
        noisy[name] = torch.stack(cells)[None].float()
    with torch.no_grad():
        first = net(noisy, t)
        hint = {}
        for name, value in first.items():
            rows = []
            for n in range(value.shape[1]):
                (a, s), y, z = scales[name, n], value[0, n].double(), noisy[name][0, n].double()
                x0 = {
                    "epsilon": lambda a, s, y, z: (z - s * y) / a,
                    "x0": lambda a, s, y, z: y,
                    "v": lambda a, s, y, z: a * z - s * y,
                    "velocity": lambda a, s, y, z: (z - s * y) / (a + s),
                }[kind](a, s, y, z)
                rows.append(z if s == 0 else x0)
            hint[name] = torch.stack(rows)[None].float()
        heads = float(random.uniform(key, "self-condition")) < objective.self_condition_rate
        output = net(noisy, t, self_condition=hint if heads else {name: 0 * value for name, value in hint.items()})
    total, numbers = 0.0, 0
    weighted = 0.0
    for m, track in enumerate(LAYOUT.tracks):
        name, errors = track.modality, []
        weight = objective.loss_weights.get(name, 1.0)
        for n in range(track.segments):
            if t[0, m, n] == 0:
                continue
            (a, s), x0, eps = scales[name, n], z0[name][0, n].double(), noise[name][0, n].double()
            truth = {"epsilon": eps, "x0": x0, "v": a * eps - s * x0, "velocity": eps - x0}[kind]
            squares = ((output[name][0, n].double() - truth) ** 2).flatten().tolist()
            errors.append(sum(squares) / len(squares))
            weighted += weight * sum(squares)
            numbers += len(squares)
        total += weight * (sum(errors) / len(errors) if errors else 0.0)
    return total if objective.reduction == "mean" else weighted / max(numbers, 1)


@pytest.mark.parametrize("kind", PREDICTION_KINDS)
@pytest.mark.parametrize(
    ("reduction", "weights"), [("mean", {}), ("mean", {"fast": 3.0}), ("element", {}), ("element", {"slow": 0.5})]
)
def test_loss_equals_the_equations_computed_one_cell_at_a_time(kind, reduction, weights):
    objective = DenoisingObjective(denoiser(kind), fakes.HalfPolicy(), 0.5, weights, reduction)
    z0, keys = latents(12), step_keys(7, 3, range(12))
    expected = [straight_line(objective, one(z0, b), keys[b : b + 1]) for b in range(12)]
    assert float(objective(z0, keys)[0].detach()) == pytest.approx(sum(expected) / 12, rel=1e-5)
    assert set(fakes.HalfPolicy().component(random.fold(keys, "policy")).tolist()) == {0, 1}, "both kinds of matrix"


def test_default_weights_do_not_favour_the_modality_with_more_numbers():
    ones = {t.modality: torch.ones(2, LAYOUT.M, LAYOUT.N)[:, m, : t.segments] for m, t in enumerate(LAYOUT.tracks)}
    errors, cells = LAYOUT.stack(ones), LAYOUT.valid.expand(2, -1, -1)
    errors[:, 0] *= 10
    mean = DenoisingObjective(denoiser(), fakes.HalfPolicy())
    assert float(mean._reduce(errors, cells)) == 10 + 1
    element = attrs.evolve(mean, reduction="element")
    # Two slow cells of 3 x 2 numbers, five fast ones of 3.
    assert float(element._reduce(errors, cells)) == pytest.approx((12 * 10 + 15 * 1) / 27)


@attrs.frozen
class Clean(TimestepPolicy):
    """Everything is clean."""

    def sample(self, layout, keys, *, num_levels):
        return torch.zeros(len(keys), layout.M, layout.N)


def test_an_example_without_loss_cells_counts_zero_and_has_finite_gradients():
    objective = DenoisingObjective(denoiser(), Clean())
    loss, table = objective(latents(), step_keys(0, 0, range(5)))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(value.grad.isfinite().all() for value in objective.denoiser.backbone.parameters())
    assert table.means() == {}


class Listening(torch.nn.Module):
    """A backbone that remembers what it was shown."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.shown = inner, []

    def forward(self, z, t, *, self_condition=None):
        self.shown.append((z, t, self_condition, torch.is_grad_enabled()))
        return self.inner(z, t, self_condition=self_condition)


def test_the_self_condition_is_the_first_estimate_times_a_coin_per_example():
    net = denoiser()
    ear = Listening(net.backbone)
    objective = DenoisingObjective(attrs.evolve(net, backbone=ear), fakes.HalfPolicy(), 0.5)
    z0, keys = latents(16), step_keys(0, 0, range(16))
    loss, _ = objective(z0, keys)
    (z1, t1, none, grad1), (z2, t2, hint, grad2) = ear.shown
    assert none is None
    assert (grad1, grad2) == (False, True)
    assert torch.equal(t1, t2)
    assert all(torch.equal(z1[name], z2[name]) for name in z1)
    estimate = net(z1, t1).x0
    heads = random.uniform(keys, "self-condition") < 0.5
    assert 0 < heads.sum() < 16
    for name, value in hint.items():
        assert not value.requires_grad
        assert torch.equal(value[heads], estimate[name][heads].detach())
        assert (value[~heads] == 0).all()


def test_without_self_conditioning_the_network_runs_once():
    net = denoiser()
    ear = Listening(net.backbone)
    DenoisingObjective(attrs.evolve(net, backbone=ear), fakes.HalfPolicy(), 0.0)(latents(), step_keys(0, 0, range(5)))
    assert [hint for _, _, hint, _ in ear.shown] == [None]


def test_draws_differ_between_steps_positions_and_seeds():
    keys = torch.cat([step_keys(seed, step, range(4)) for seed in range(3) for step in range(3)])
    assert len(keys.unique()) == len(keys)
    assert torch.equal(step_keys(1, 2, range(2, 4)), step_keys(1, 2, range(4))[2:])


def test_the_table_splits_the_loss_by_modality_level_and_component():
    objective = DenoisingObjective(denoiser(), fakes.HalfPolicy())
    z0, keys = latents(40), step_keys(5, 0, range(40))
    _, table = objective(z0, keys)
    means, counts = table.means(), dict(zip(table.names, table.counts.tolist()))
    t = fakes.HalfPolicy().sample(LAYOUT, random.fold(keys, "policy"), num_levels=8)
    assert counts["loss/slow"] == (t[:, 0, :2] > 0).sum()
    assert counts["loss/fast"] == (t[:, 1] > 0).sum()
    assert counts["loss by level/fast/level 0.4-0.5"] == (t[:, 1] == 4).sum(), "4 of 8 levels: (0.4, 0.5] of T"
    assert counts["loss by level/fast/level 0.9-1.0"] == (t[:, 1] == 8).sum()
    assert counts["loss by component/slow/1 given"] == 0
    assert "loss by component/slow/1 given" not in means
    for level in [name for name in table.names if name.startswith("loss by level/fast/")]:
        cube = [
            (means.get(name, 0), counts[name])
            for name in table.names
            if name.startswith(level.replace("by level/", "by level and component/") + "/")
        ]
        assert len(cube) == 2
        assert sum(mean * count for mean, count in cube) == pytest.approx(means.get(level, 0) * counts[level], abs=1e-4)
    both = table + table
    assert both.means() == pytest.approx(means)
    assert (both.counts == 2 * table.counts).all()


def test_the_table_counts_under_autocast_too():
    """In bfloat16 a count of 300 is 300 and 301 is 300, too."""
    objective = DenoisingObjective(denoiser(), fakes.HalfPolicy())
    z0, keys = latents(301), step_keys(5, 0, range(301))
    with torch.autocast("cpu", torch.bfloat16):
        _, table = objective(z0, keys)
    assert (table.sums.dtype, table.counts.dtype) == (torch.float32, torch.float32)
    assert torch.equal(table.counts, objective(z0, keys)[1].counts)


def test_conditional_loss_shows_the_given_cells_clean_and_measures_the_others():
    net = denoiser("v")
    ear = Listening(net.backbone)
    z0, other, keys = latents(6), one(latents(7), 6), step_keys(0, 0, range(6))
    other = {name: value.expand(6, *value.shape[1:]) for name, value in other.items()}
    given = torch.zeros(LAYOUT.M, LAYOUT.N, dtype=torch.bool)
    given[0, :2] = given[1, 0] = True
    listening = attrs.evolve(net, backbone=ear)
    true, swapped = (conditional_loss(listening, z0, given, 6.0, keys, source) for source in (None, other))
    for (z, t, hint, _), source in zip(ear.shown, (z0, z0, other, other)):
        assert (t == torch.where(given | ~LAYOUT.valid, 0.0, 6.0)).all()
        for name, cells in LAYOUT.split(given).items():
            assert torch.equal(z[name][:, cells], source[name][:, cells])
            assert hint is None or torch.equal(hint[name][:, cells], source[name][:, cells])
    assert torch.equal(ear.shown[0][0]["fast"][:, 1:], ear.shown[2][0]["fast"][:, 1:]), (
        "the same noise for both conditions"
    )
    assert (true[:, 0] == 0).all(), "nothing of the first modality is generated"
    alpha, sigma = math.sqrt(1 - 0.99 * 6 / 8), math.sqrt(0.99 * 6 / 8)
    for losses, (z, t, hint, _) in ((true, ear.shown[1]), (swapped, ear.shown[3])):
        output = net.backbone(z, t, self_condition=hint)["fast"][:, 1:]
        truth = alpha * normal_latents(LAYOUT, keys, "noise")["fast"][:, 1:] - sigma * z0["fast"][:, 1:]
        assert torch.allclose(losses[:, 1], (output - truth).square().mean((1, 2)), rtol=1e-5)
    assert (true[:, 1] != swapped[:, 1]).all()
