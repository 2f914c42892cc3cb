"""How far training under each policy gets from the optimum: the paper's Table 1 where the optimum is known.

The same small network is trained on an exact world (:mod:`mmseqdiff.testing.audiovisual`) under each policy, from the same
weights, on the same examples. For a task with given cells g, at level l, with f the trained network, f* the exact denoiser,
and means over each modality's cells that are not given, summed over modalities as in the loss:

    (1) risk(g, l)   = E |epsilon − f*(z_t, t)|²            in closed form
    (2) excess(g, l) = E |f(z_t, t) − f*(z_t, t)|²          what the loss is above the risk; its cross term vanishes
    (3) relative(g)  = Σ_l excess(g, l) / Σ_l risk(g, l)     over the levels (k − ½) T / 10,  k = 1 … 10

(2) needs no draw of the noise beyond z_t, so that a small excess is measured as well as a large one. A ratio of sums and
not a mean of ratios: near T the risk of epsilon is 1e-4, and a mean of ratios would say nothing of the other levels.
"""

import json
from pathlib import Path
from typing import Any

import attrs
import torch
from rich.console import Console
from torch import nn

from mmseqdiff import random
from mmseqdiff.bench.policies_report import Excess, Report
from mmseqdiff.bench.samples import SampleErrors, exact_errors, sample_errors
from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.forward import ForwardProcess, normal_latents
from mmseqdiff.host import Host
from mmseqdiff.protocols import NoiseSchedule
from mmseqdiff.recipe import Component
from mmseqdiff.testing.audiovisual import audiovisual_world
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.world import task_levels
from mmseqdiff.timesteps import BUCKETS
from mmseqdiff.train.checkpoint import write_json
from mmseqdiff.train.loop import Trainer
from mmseqdiff.train.objective import DenoisingObjective, cell_errors, step_keys
from mmseqdiff.train.optimisation import Optimisation

__all__ = ["BASELINES", "PER_TASK", "POLICIES", "TASKS", "PolicyBench"]

POLICIES = ("vanilla", "per_modality", "per_segment", "per_segment_modality", "pt_pm_ptm", "monl")
"""The paper's strategies and its two mixtures (arXiv:2405.13762 Table 1)."""
TASKS = ("joint", "a2v", "v2a", "continue", "inpaint")
"""What every model is measured on."""
PER_TASK = "one model per task"
"""The row of the task-specific baselines."""
BASELINES = ("replacement", "reconstruction")
"""Guidance schemes that make a jointly trained model conditional; measured on samples, where they are installed."""

EXAMPLES = 1024
"""Draws that the excess is a mean over."""


def _name(policy: Component) -> str:
    """A policy with its parameters, as part of a folder's name."""
    return "-".join([policy.name, *map(str, policy.parameters.values())])


@attrs.frozen(eq=False, kw_only=True)
class PolicyBench:
    """The bench. Called again with the same folder it goes on, and trains nothing twice.

    Attributes:
        host: builds policies, tasks, schedule and network.
        folder: gets a run's folder per policy and seed.
        policies: names, each a row.
        per_task: add the row of one model per task.
        seeds: of weights and examples; the same for every policy, so that rows can be compared in pairs.
        steps: optimiser steps of every model.
        batch_size: fresh examples a step.
        learning_rate: AdamW's peak; a cosine to 0 follows a warm-up over the first twentieth.
        layers: of the network.
        dimension: of its tokens.
        examples: draws that the excess is a mean over.
        sampling_steps: for the rows measured on samples.
        console: for progress.
    """

    host: Host
    folder: Path
    policies: tuple[str, ...] = POLICIES
    per_task: bool = False
    seeds: tuple[int, ...] = (0,)
    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 2e-3
    layers: int = 2
    dimension: int = 64
    examples: int = EXAMPLES
    sampling_steps: int = 50
    console: Console = attrs.field(factory=Console)
    world: GaussianWorld = attrs.field(init=False, factory=audiovisual_world)
    schedule: NoiseSchedule = attrs.field(init=False)

    @schedule.default
    def _schedule(self) -> NoiseSchedule:
        return self.host.build("schedule", "linear")

    def __call__(self) -> Report | None:
        """Trains what is not trained yet, and measures; None after Ctrl-C."""
        rows = self._rows()
        excess: dict[str, dict[str, list[Excess]]] = {row: {task: [] for task in TASKS} for row in rows}
        for seed in self.seeds:
            for row, models in rows.items():
                for name in dict.fromkeys(map(_name, models.values())):
                    tasks = {task: policy for task, policy in models.items() if _name(policy) == name}
                    found = self._measured(next(iter(tasks.values())), seed, tuple(tasks))
                    if found is None:
                        return None
                    for task in tasks:
                        excess[row][task].append(found[task])
        return Report(self.protocol, excess, self._samples())

    @property
    def protocol(self) -> dict[str, Any]:
        """What the numbers depend on."""
        tracks = {track.modality: track.segments for track in self.world.layout.tracks}
        return {
            "world": {"name": "audiovisual", "numbers": self.world.dimension, "segments": tracks},
            "network": {"name": "avdit", "layers": self.layers, "dimension": self.dimension},
            "training": {
                "steps": self.steps, "batch size": self.batch_size, "learning rate": self.learning_rate,
                "seeds": list(self.seeds),
            },
            "measure": {
                "examples": self.examples, "levels": BUCKETS, "tasks": list(TASKS), "sampling steps": self.sampling_steps,
            },
        }  # fmt: skip

    def _rows(self) -> dict[str, dict[str, Component]]:
        """Row → task → the policy of the model that is measured there."""
        rows = {name: dict.fromkeys(TASKS, Component(name)) for name in self.policies}
        if self.per_task:
            # The joint task's own policy is vanilla, draw for draw.
            models = {task: Component("task", {"task": task}) for task in TASKS}
            rows[PER_TASK] = {**models, "joint": Component("vanilla")}
        return rows

    def _run(self, policy: Component, seed: int) -> Path:
        return self.folder / f"{_name(policy)}-{seed}"

    def train(self, policy: Component, seed: int) -> nn.Module | None:
        """The averaged network of one run, trained as far as it is not; None after Ctrl-C.

        Raises:
            CheckpointError: if the run's folder holds a run with other settings.
        """
        torch.manual_seed(seed)
        network = self.host.build(
            "backbone", "avdit", layout=self.world.layout, layers=self.layers, dimension=self.dimension, heads=4,
            self_condition=False,
        )  # fmt: skip
        built = policy.build(self.host, "policy")
        objective = DenoisingObjective(self._denoiser(network), built, self_condition_rate=0)
        optimisation = Optimisation(
            steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate,
            warmup_steps=self.steps // 20, betas=(0.9, 0.99), clip_norm=1.0, ema_decay=0.9999, seed=seed,
            checkpoint_every=500,
        )  # fmt: skip

        def part_of_batch(step: int, positions: range) -> tuple:
            keys = step_keys(seed, step, positions)
            z0 = self.world.sample(random.fold(keys, "data"))
            return objective({name: value.float() for name, value in z0.items()}, keys)

        trainer = Trainer(
            module=network, objective=part_of_batch, optimisation=optimisation, folder=self._run(policy, seed),
            description={
                "world": self.protocol["world"], "network": self.protocol["network"],
                "policy": {"name": policy.name, **policy.parameters}, "optimisation": attrs.asdict(optimisation),
            },
            describe_batch=lambda step: f"the world's draws of seed {seed}, step {step}",
            console=self.console,
        )  # fmt: skip
        self.console.print(f"{_name(policy)}, seed {seed}")
        return trainer.average.module if trainer.run() else None

    def _denoiser(self, network: nn.Module) -> NetworkDenoiser:
        return NetworkDenoiser(network, self.schedule, self.world.layout, "epsilon")

    def _measured(self, policy: Component, seed: int, tasks: tuple[str, ...]) -> dict[str, Excess] | None:
        """One run's excess on some tasks, kept in the run's folder once it is known; None after Ctrl-C."""
        file, protocol = (
            self._run(policy, seed) / "excess.json",
            {**self.protocol, "policy": _name(policy), "seed": seed},
        )
        protocol["training"] = {key: value for key, value in protocol["training"].items() if key != "seeds"}
        kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        found = kept["tasks"] if kept.get("protocol") == protocol else {}
        missing = [task for task in tasks if task not in found]
        if missing:
            network = self.train(policy, seed)
            if network is None:
                return None
            found |= {task: self.measure(network, task) for task in missing}
            write_json(file, {"protocol": protocol, "tasks": found})
        return found

    @torch.no_grad()
    def measure(self, network: nn.Module, task: str) -> Excess:
        """Eq. (1) and (2) at every level."""
        layout, exact, denoiser = (
            self.world.layout,
            self.world.denoiser(self.schedule, "epsilon"),
            self._denoiser(network),
        )
        given = self.host.build("task", task).given(layout)
        levels = [(k + 0.5) * self.schedule.num_levels / BUCKETS for k in range(BUCKETS)]
        found: dict[str, list[float]] = {"level": levels, "excess": [], "risk": []}
        for level in levels:
            total = torch.zeros((), dtype=torch.float64)
            for start in range(0, self.examples, self.batch_size):
                stop = min(start + self.batch_size, self.examples)
                keys = random.fold(random.example_keys(0, range(start, stop)), "bench")
                z0, noise = self.world.sample(keys), normal_latents(layout, keys, "noise", dtype=torch.float64)
                t = task_levels(layout, given, level).expand(len(keys), -1, -1)
                z = ForwardProcess(self.schedule, layout).corrupt(z0, noise, t)
                prediction = denoiser({name: value.float() for name, value in z.items()}, t.float())
                apart = cell_errors(prediction, z0, exact(z, t).epsilon)  # to what the exact denoiser says is the noise
                total += self.world.modality_means(apart, given).double().sum()
            found["excess"].append(float(total) / self.examples)
            found["risk"].append(float(self.world.task_risk(given, level, self.schedule, "epsilon").sum()))
        return found

    def _samples(self) -> dict[str, dict[str, SampleErrors]]:
        """The baselines on the vanilla model, and what to hold them against, for every task that gives something.

        The exact denoiser's row is what the sampler's steps leave, that of exact draws what so many samples leave.
        """
        baselines = [name for name in BASELINES if name in self.host.names("guidance")]
        if not baselines or not {"vanilla", "monl"} <= set(self.policies):
            return {}
        models = {name: self._denoiser(self.train(Component(name), self.seeds[0])) for name in ("vanilla", "monl")}
        rows = {f"vanilla + {name}": self.host.build("guidance", name)(models["vanilla"]) for name in baselines}
        rows |= {"monl": models["monl"], "exact denoiser": self.world.denoiser(self.schedule, "epsilon")}
        found: dict[str, dict[str, SampleErrors]] = {row: {} for row in (*rows, "exact draws")}
        for task in TASKS:
            given = self.host.build("task", task).given(self.world.layout)
            if not given.any():
                continue
            plan = self.host.build("plan", "full", steps=self.sampling_steps)(
                self.world.layout, given, num_levels=self.schedule.num_levels
            )
            for row, denoiser in rows.items():
                found[row][task] = sample_errors(denoiser, self.host.build("sampler", "ddim"), plan, self.world)
            found["exact draws"][task] = exact_errors(given, self.world)
        return found
