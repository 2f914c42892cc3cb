"""Plugins that listen are told what happens, and nothing that they do reaches the run."""

import io
import types

import attrs
import pytest
import torch
from rich.console import Console
from torch import nn

from mmseqdiff import random
from mmseqdiff.generate import generate
from mmseqdiff.host import Host, hookimpl, load_plugins
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.testing.audiovisual import audiovisual_world
from mmseqdiff.train import checkpoint
from mmseqdiff.train.loop import LOG_EVERY, Trainer
from mmseqdiff.train.optimisation import Optimisation
from mmseqdiff.train.table import Table

STEPS = 2 * LOG_EVERY + 5


def plugin(**hooks):
    module = types.ModuleType("listens")
    for name, hook in hooks.items():
        setattr(module, name, hookimpl(hook))
    return module


def train(host: Host, folder) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)

    def objective(step, positions):
        x = random.normal(random.fold(random.example_keys(1, positions), step), "x", (3,))
        loss = (module(x) - x.sum(-1, keepdim=True)).square().mean()
        return loss, Table.of_means({"mse": loss}, len(positions))

    plan = Optimisation(
        steps=STEPS, batch_size=4, learning_rate=0.05, warmup_steps=2, betas=(0.9, 0.99), clip_norm=1.0, ema_decay=0.99,
        seed=0, checkpoint_every=40,
    )  # fmt: skip
    trainer = Trainer(
        module=module, objective=objective, optimisation=plan, folder=folder, description={},
        describe_batch=str, console=Console(file=io.StringIO()), listener=host.listener,
    )  # fmt: skip
    assert trainer.run()
    return checkpoint.load_group(checkpoint.newest(trainer.checkpoints), "weights")


def sample(host: Host) -> dict[str, torch.Tensor]:
    world, installed = audiovisual_world(), load_plugins()
    schedule, layout = installed.build("schedule", "linear"), audiovisual_world().layout
    plan: SamplingPlan = installed.build("plan", "full", steps=4)(
        layout, torch.zeros_like(layout.valid), num_levels=schedule.num_levels
    )
    keys = random.example_keys(0, range(2))
    denoiser, sampler = world.denoiser(schedule, "epsilon"), installed.build("sampler", "ddpm")
    return generate(denoiser, sampler, plan, keys, dtype=torch.float64, observe=host.listener("sampling_step"))


def test_listeners_are_told_of_steps_checkpoints_and_samples(tmp_path):
    told = []
    host = Host()
    host.add_plugin(
        plugin(
            training_step=lambda run, step, scalars: told.append(("step", run, step, scalars["loss"] > 0)),
            checkpoint_saved=lambda step, checkpoint: told.append(("saved", step, checkpoint.is_dir())),
            sampling_step=lambda steps, step, latents, levels: told.append(
                ("sample", step, steps, {name: tuple(z.shape) for name, z in latents.items()}, levels)
            ),
        ),
        "listens",
    )
    train(host, tmp_path)
    looks = [LOG_EVERY, 40, 2 * LOG_EVERY, STEPS]
    assert [event[2:] for event in told if event[0] == "step"] == [(step, True) for step in looks]
    assert [event[1:] for event in told if event[0] == "saved"] == [(40, True), (STEPS, True)]
    told.clear()
    sample(host)
    assert [event[:4] for event in told] == [
        ("sample", n, 4, {"video": (2, 5, 8), "audio": (2, 12, 2)}) for n in (1, 2, 3, 4)
    ]
    assert [bool((event[4] > 0).any()) for event in told] == [True, True, True, False]


@pytest.mark.parametrize("error", [ZeroDivisionError("no"), SystemExit(3)])
def test_a_listener_that_raises_is_named_once_and_the_run_is_as_without_it(tmp_path, caplog, error):
    calls = []

    def fail(**arguments):
        calls.append(arguments)
        raise error

    def training_step(run, step, scalars):
        scalars.clear()
        fail()

    def sampling_step(latents, levels):
        for z in latents.values():
            z.fill_(float("nan"))
        levels.zero_()
        fail()

    host, others = Host(), []
    host.add_plugin(plugin(training_step=training_step, sampling_step=sampling_step), "bad", "mmseqdiff-bad", "1.5")
    host.add_plugin(plugin(training_step=lambda step: others.append(step)), "good", "mmseqdiff-good", "1.0")
    trained, sampled = train(host, tmp_path / "with"), sample(host)
    assert len(calls) == 2, "once in the run, and once in the sample: then it is left alone"
    assert len(others) == 4
    messages = [record.message for record in caplog.records]
    expected = f"{type(error).__name__}: {error}; it is not called again"
    assert messages == [
        f"plugin 'bad' of mmseqdiff-bad 1.5: hook {hook!r} raised {expected}"
        for hook in ("training_step", "sampling_step")
    ]
    for found, alone in ((trained, train(Host(), tmp_path / "without")), (sampled, sample(Host()))):
        assert all(torch.equal(found[name], alone[name]) for name in alone)


def test_nobody_listens_where_no_plugin_implements_the_hook():
    host = Host()
    host.add_plugin(plugin(training_step=lambda step: None), "listens")
    assert host.listener("sampling_step") is None
    assert host.listener("training_step") is not None


def test_training_and_generating_ask_the_host(tmp_path):
    """The parts above meet in the commands' own functions."""
    from tiny import tiny_clips, tiny_run

    from mmseqdiff.pipeline import load

    told = set()
    host = load_plugins()
    hooks = {
        "training_step": lambda step: told.add("training_step"),
        "checkpoint_saved": lambda checkpoint: told.add("checkpoint_saved"),
        "sampling_step": lambda step: told.add("sampling_step"),
    }
    host.add_plugin(plugin(**hooks), "listens")
    run = tiny_run(host, tmp_path, tiny_clips(host, tmp_path / "clips"))
    assert told == {"training_step", "checkpoint_saved"}
    load(run, host=host).generate("joint")
    assert told == set(hooks)


def test_a_hook_with_an_argument_that_there_is_not_is_refused():
    from mmseqdiff.errors import PluginError

    with pytest.raises(PluginError, match="(?s)plugin 'bad' of mmseqdiff-bad 1.0: .*training_step.*losses"):
        Host().add_plugin(plugin(training_step=lambda losses: None), "bad", "mmseqdiff-bad", "1.0")


def test_registrations_of_attrs_instances_listen_too():
    @attrs.define(eq=False)
    class Listens:
        told: list = attrs.field(factory=list)

        @hookimpl
        def register(self, add):
            """Nothing."""

        @hookimpl
        def training_step(self, step):
            self.told.append(step)

    host, listens = Host(), Listens()
    host.add_plugin(listens, "listens")
    host.listener("training_step")(run=None, step=3, scalars={})
    assert listens.told == [3]
