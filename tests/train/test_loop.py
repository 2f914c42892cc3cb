import io
import math
import os
import platform
import signal

import attrs
import pytest
import torch
from rich.console import Console
from torch import nn

from mmseqdiff import random
from mmseqdiff.errors import CheckpointError, RecipeError, RunError
from mmseqdiff.train import checkpoint
from mmseqdiff.train.loop import Trainer
from mmseqdiff.train.optimisation import Optimisation, computes_bfloat16
from mmseqdiff.train.parallel import World
from mmseqdiff.train.table import Table

PLAN = Optimisation(
    steps=10, batch_size=6, learning_rate=0.05, warmup_steps=2, betas=(0.9, 0.99), clip_norm=1.0, ema_decay=0.99, seed=3,
    checkpoint_every=4,
)  # fmt: skip


class Fit(nn.Module):
    """A net with dropout, so that torch's own generator matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))


class Task:
    """A regression on keyed data; remembers which (step, position) it read, and does something at a step."""

    def __init__(self, module: nn.Module, at: int = -1, what=lambda loss: loss) -> None:
        self.module, self.at, self.what, self.read = module, at, what, []

    def __call__(self, step, positions):
        self.read += [(step, position) for position in positions]
        keys = random.fold(random.example_keys(1, positions), step)
        x = random.normal(keys, "x", (3,))
        loss = (self.module.layers(x) - x.sum(-1, keepdim=True)).square().mean()
        loss = self.what(loss) if step == self.at else loss
        return loss, Table.of_means({"mse": loss}, len(positions))


def trainer(folder, plan=PLAN, description=None, **task) -> Trainer:
    module = Fit()
    return Trainer(
        module=module,
        objective=Task(module, **task),
        optimisation=plan,
        folder=folder,
        description=description or {"recipe": {"name": "a"}},
        describe_batch=lambda step: f"clips {step} and {step + 1}",
        console=Console(file=io.StringIO(), width=500),
    )


def state(run: Trainer) -> dict[str, torch.Tensor]:
    path = checkpoint.newest(run.checkpoints)
    groups = ("weights", "ema", "optimizer")
    return {
        f"{group} {name}": tensor for group in groups for name, tensor in checkpoint.load_group(path, group).items()
    }


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_learning_rate_warms_up_and_falls_to_zero():
    plan = attrs.evolve(PLAN, steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (n + 1) for n in range(10)])
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert all(a > b for a, b in zip(rates[10:], rates[11:]))
    assert 0 < rates[-1] < 0.002


def test_first_step_is_adamw_on_the_clipped_gradient(tmp_path):
    plan = attrs.evolve(PLAN, steps=1, clip_norm=0.01, checkpoint_every=1)
    run = trainer(tmp_path, plan)
    before = {name: value.detach().clone() for name, value in run.module.named_parameters()}
    run.run()
    rate = 0.05 / 2  # warm-up of two steps
    moments = state(run)
    norm = math.sqrt(
        sum(float((value / 0.1).square().sum()) for name, value in moments.items() if name.endswith("exp_avg"))
    )
    assert norm == pytest.approx(0.01, rel=1e-4), "the first moment is 1 − 0.9 of the gradient, clipped"
    for name, value in run.module.named_parameters():
        gradient = moments[f"optimizer {name}/exp_avg"] / 0.1
        expected = before[name] - rate * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_a_stopped_and_resumed_run_equals_the_unbroken_one_to_the_last_bit(tmp_path, stop):
    """Stopped by an error right after ``stop`` steps, as a kill would: what was not saved is done again."""
    whole = trainer(tmp_path / "whole")
    assert whole.run()

    def die(loss):
        raise MemoryError

    broken = trainer(tmp_path / "broken", at=stop, what=die)
    with pytest.raises(MemoryError):
        broken.run()
    torch.manual_seed(99)  # whatever else used the generator
    resumed = trainer(tmp_path / "broken")
    assert resumed.run()
    assert equal(state(whole), state(resumed))
    again = resumed.objective.read
    assert again == [(step, position) for step in range(stop // 4 * 4, 10) for position in range(6)]
    assert trainer(tmp_path / "broken").run(), "a finished run is loaded, not repeated"


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_accumulation_equals_the_whole_batch(tmp_path, accumulate):
    whole, parts = (
        trainer(tmp_path / str(count), attrs.evolve(PLAN, accumulate=count, steps=4)) for count in (1, accumulate)
    )
    for run in (whole, parts):
        run.module.layers[2].p = 0.0  # dropout draws per call
        run.run()
    assert parts.objective.read == whole.objective.read
    for a, b in zip(whole.module.parameters(), parts.module.parameters()):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    "what", [lambda loss: loss * math.nan, lambda loss: loss * math.inf, lambda loss: (loss * 0).sqrt()]
)
def test_a_number_that_is_not_finite_stops_with_step_and_batch_and_the_last_good_checkpoint(tmp_path, what):
    run = trainer(tmp_path, at=6, what=what)  # the last has a finite loss and an infinite gradient
    with pytest.raises(
        RunError, match="step 6: .* the batch of clips 6 and 7. Stopped; .*checkpoints/00000004"
    ) as error:
        run.run()
    assert "\n" not in str(error.value)
    assert [path.name for path in run.checkpoints.iterdir()] == ["00000004"]
    assert all(value.isfinite().all() for value in state(run).values())
    assert trainer(tmp_path).run(), "the run can go on from there"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_so(tmp_path, number):
    def interrupt(loss):
        os.kill(os.getpid(), number)
        return loss

    handler = signal.getsignal(number)
    run = trainer(tmp_path, at=5, what=interrupt)
    assert not run.run()
    assert signal.getsignal(number) is handler
    assert "Stopped at step 6 and saved" in run.console.file.getvalue()
    assert checkpoint.newest(run.checkpoints).name == "00000006"
    resumed, whole = trainer(tmp_path), trainer(tmp_path / "whole")
    assert resumed.run()
    assert whole.run()
    assert equal(state(resumed), state(whole))


def test_an_action_that_is_due_when_training_is_stopped_is_done(tmp_path):
    def interrupt(loss):
        os.kill(os.getpid(), signal.SIGINT)
        return loss

    seen = []
    for at in (5, -1):
        run = trainer(tmp_path, at=at, what=interrupt)
        run.actions = [(3, lambda step, average: seen.append(step) or {})]
        run.run()
    assert seen == [3, 6, 9]


def test_another_description_and_uneven_batches_are_refused(tmp_path):
    trainer(tmp_path).run()
    with pytest.raises(CheckpointError, match='another recipe: recipe.name is "a", expected "b"'):
        trainer(tmp_path, description={"recipe": {"name": "b"}}).run()
    with pytest.raises(RecipeError, match="batch_size 6 cannot be shared"):
        trainer(tmp_path, attrs.evolve(PLAN, accumulate=4))
    two = attrs.evolve(duel(tmp_path), world=World(0, 1))
    with pytest.raises(RecipeError, match="an adversary is trained in one process"):
        attrs.evolve(two, world=World(0, 2))


def test_actions_see_the_average_and_scalars_are_written(tmp_path):
    seen = []

    def action(step, average):
        seen.append((step, average.training, average))
        return {"validation/x": float(step)}

    run = trainer(tmp_path)
    run.actions = [(3, action)]
    run.run()
    assert seen == [(step, False, run.average.module) for step in (3, 6, 9)]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("validation/x")] == [(3, 3.0), (6, 6.0), (9, 9.0)]
    assert [event.step for event in events.Scalars("mse")] == [4, 8, 10]


@pytest.mark.parametrize("supported", [True, False])
def test_bfloat16_runs_the_objective_under_autocast_where_the_processor_has_it(tmp_path, monkeypatch, supported):
    """Elsewhere it would take eight times as long as float32, which is used instead."""
    monkeypatch.setattr("mmseqdiff.train.loop.computes_bfloat16", lambda device: supported)
    run = trainer(tmp_path, attrs.evolve(PLAN, steps=1, precision="bfloat16"))
    types = []
    run.module.layers[3].register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    run.run()
    assert types == [torch.bfloat16 if supported else torch.float32]
    assert all(value.dtype == torch.float32 for value in run.module.parameters())


def test_an_estimate_without_gradient_before_the_loss_costs_no_weight_its_gradient(tmp_path, monkeypatch):
    """As self-conditioning makes one: autocast must not keep the weights that it cast for it, as PyTorch 2.9 did."""
    monkeypatch.setattr("mmseqdiff.train.loop.computes_bfloat16", lambda device: True)
    run = trainer(tmp_path, attrs.evolve(PLAN, steps=1, precision="bfloat16"))

    class Twice(Task):
        def __call__(self, step, positions):
            assert not torch.is_autocast_cache_enabled()
            with torch.no_grad():
                self.module.layers(torch.ones(1, 3))
            return super().__call__(step, positions)

    run.objective = Twice(run.module)
    before = {name: value.clone() for name, value in run.module.named_parameters()}
    run.run()
    assert all(not torch.equal(value, before[name]) for name, value in run.module.named_parameters())


def test_a_processor_without_wide_vectors_has_no_bfloat16():
    assert computes_bfloat16(torch.device("cuda"))
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2") and platform.machine() in ("x86_64", "AMD64"):
        assert not computes_bfloat16(torch.device("cpu"))


class Duel(Task):
    """The same regression, and an adversary that learns one of its own, which begins at step 2."""

    def __init__(self, module: nn.Module, adversary: nn.Module, **task) -> None:
        super().__init__(module, **task)
        self.adversary = adversary

    def __call__(self, step, positions):
        loss, table = super().__call__(step, positions)
        if step < 2:
            return loss, table
        x = random.normal(random.fold(random.example_keys(2, positions), step), "x", (3,))
        own = (self.adversary.layers(x) - 1).square().mean()
        return loss + own, table + Table.of_means({"own": own}, len(positions))


def duel(folder, plan=PLAN, dropout=0.2, **task) -> Trainer:
    module, adversary = Fit(), Fit()
    module.layers[2].p = adversary.layers[2].p = dropout
    return Trainer(
        module=module,
        adversary=adversary,
        adversary_rate=0.5,
        objective=Duel(module, adversary, **task),
        optimisation=plan,
        folder=folder,
        description={"recipe": {"name": "a"}},
        describe_batch=lambda step: f"clips {step} and {step + 1}",
        console=Console(file=io.StringIO(), width=500),
    )


def both_states(run: Trainer) -> dict[str, torch.Tensor]:
    return {**state(run), **checkpoint.load_group(checkpoint.newest(run.checkpoints), "adversary")}


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_resumed_duel_equals_the_unbroken_one_to_the_last_bit(tmp_path, stop):
    """Stopped before the adversary has begun, and after: both networks, both optimisers' states."""
    whole = duel(tmp_path / "whole")
    assert whole.run()

    def die(loss):
        raise MemoryError

    with pytest.raises(MemoryError):
        duel(tmp_path / "broken", at=stop, what=die).run()
    resumed = duel(tmp_path / "broken")
    assert resumed.run()
    found = both_states(whole)
    assert equal(found, both_states(resumed))
    assert all(not torch.equal(value, found[name]) for name, value in Fit().state_dict().items()), "it has moved"
    steps = [(name, float(value)) for name, value in found.items() if name.endswith("/step")]
    assert {step for name, step in steps if " adversary/" in name} == {8}, "its own steps, from where it began"
    assert {step for name, step in steps if " adversary/" not in name} == {10}


def test_an_adversary_whose_terms_do_not_reach_the_module_changes_no_bit_of_it(tmp_path):
    plan = attrs.evolve(PLAN, clip_norm=0.01)  # clipping, too, is each network's own
    alone, opposed = trainer(tmp_path / "alone", plan), duel(tmp_path / "duel", plan, dropout=0.0)
    alone.module.layers[2].p = 0.0
    for run in (alone, opposed):
        assert run.run()
    assert equal(alone.module.state_dict(), opposed.module.state_dict())
    assert equal(alone.average.module.state_dict(), opposed.average.module.state_dict())
    with pytest.raises(CheckpointError, match=r"has no adversary\.safetensors"):
        duel(tmp_path / "alone", plan).run()


def test_accumulation_equals_the_whole_batch_for_both_networks(tmp_path):
    whole, parts = (
        duel(tmp_path / str(count), attrs.evolve(PLAN, accumulate=count, steps=5), dropout=0.0) for count in (1, 3)
    )
    for run in (whole, parts):
        run.run()
    for a, b in zip(both_states(whole).values(), both_states(parts).values()):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_term_that_is_not_finite_stops_the_duel(tmp_path):
    run = duel(tmp_path, at=6, what=lambda loss: loss + (run.adversary.layers(torch.zeros(1, 3)).sum() * 0).sqrt())
    with pytest.raises(RunError, match=r"step 6: .* gradient's norm [\d.]+ and the adversary's nan"):
        run.run()


def test_a_term_that_begins_later_is_the_mean_of_what_was_measured():
    early = Table.of_means({"a": torch.tensor(1.0)}, 2)
    late = Table.of_means({"b": torch.tensor(5.0), "a": torch.tensor(4.0)}, 4)
    assert (early + late).means() == {"a": 3.0, "b": 5.0} == (late + early).means()


def test_the_adversary_has_its_own_rate(tmp_path):
    """Adam's first step is the rate itself, whatever the gradient; it begins at step 2, the warm-up's end."""
    run = duel(tmp_path, attrs.evolve(PLAN, steps=3), dropout=0.0)
    run.run()
    moves = [(a - b).abs().max().item() for a, b in zip(run.adversary.parameters(), Fit().parameters())]
    assert moves == pytest.approx([0.5 * 0.05] * len(moves), rel=1e-3)
