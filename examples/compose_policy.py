"""Compose a noise policy, train a small AVDiT with it on an exact world, and hold its loss against the best possible one.

    python examples/compose_policy.py [STEPS]

The world is Gaussian, so the loss that no network can beat is known for every level.
"""

import sys

import torch

import mmseqdiff
from mmseqdiff import random
from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.testing.audiovisual import audiovisual_world
from mmseqdiff.train.objective import DenoisingObjective, conditional_loss, step_keys

POLICY = {
    "policies": ["vanilla", {"name": "with_clean", "policy": "per_modality", "task": "a2v", "probability": 0.5}],
    "weights": [1, 3],
}
"""One example in four shares one level; of the others half show clean audio, as ``a2v`` does in sampling."""


def main(steps: int = 300) -> dict[str, float]:
    """Trains, and prints the a2v loss before, after, and at its best."""
    torch.manual_seed(0)
    host, world = mmseqdiff.load_plugins(), audiovisual_world()
    schedule, policy = host.build("schedule", "linear"), host.build("policy", "mixture", **POLICY)
    network = host.build(
        "backbone", "avdit", layout=world.layout, layers=2, dimension=64, heads=4, self_condition=False
    )
    denoiser = NetworkDenoiser(network, schedule, world.layout, "epsilon")
    objective = DenoisingObjective(denoiser, policy, self_condition_rate=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)

    given, level = host.build("task", "a2v").given(world.layout), 400.0
    test_keys = random.fold(random.example_keys(1, range(256)), "test")

    def a2v_loss() -> float:
        z0 = {name: values.float() for name, values in world.sample(test_keys).items()}
        return float(conditional_loss(denoiser, z0, given, level, test_keys).sum(1).mean())

    found = {"before": a2v_loss()}
    for step in range(steps):
        keys = step_keys(0, step, range(64))
        z0 = {name: values.float() for name, values in world.sample(random.fold(keys, "data")).items()}
        loss, _ = objective(z0, keys)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found["after"] = a2v_loss()
    found["best possible"] = float(world.task_risk(given, level, schedule, "epsilon").sum())
    for name, value in found.items():
        print(f"a2v loss at level {level:g}, {name}: {value:.3f}")
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
