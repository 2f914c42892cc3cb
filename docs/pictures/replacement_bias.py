"""Draws docs/pictures/replacement_bias.png: ``python docs/pictures/replacement_bias.py``. Every number in it is exact.

Two numbers, one of sound and one of video, are jointly normal with correlation 0.9. The sound is given. All three runs use
the same optimal denoiser, which knows every timestep matrix; they differ in what it is shown of the sound. A deterministic
run is an affine map of its noise, and so the coefficients of the map, found from eight draws that are known, are its mean
and variance.
"""

import math
from pathlib import Path

import matplotlib
import torch
from mmseqdiff_guidance.reconstruction import Reconstruction
from mmseqdiff_guidance.replacement import Replacement
from mmseqdiff_noise.plans import Full
from mmseqdiff_samplers.ddim import DDIM

from mmseqdiff import random
from mmseqdiff.forward import normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout, Track
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.strategies import Arc

matplotlib.use("agg")
import matplotlib.pyplot as plt

F64 = torch.float64
LAYOUT = Layout([Track("sound", [0, 1]), Track("video", [0, 1])])
WORLD = GaussianWorld(LAYOUT, torch.zeros(2, dtype=F64), torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=F64))
GIVEN = torch.tensor([[True], [False]])
SCHEDULE = Arc(1024, math.pi / 2)
SOUND = 1.5
WAYS = {
    "sound clean, at level 0 (a mixture of noise levels)": (None, "#1b7837"),
    "replacement (a joint model)": (Replacement(), "#c2542d"),
    "replacement + reconstruction guidance": (Reconstruction(), "#7b5aa6"),
}


def sampled(guidance, steps):
    """The mean and standard deviation of the video that a run samples for this sound."""
    keys, denoiser = random.example_keys(0, range(8)), WORLD.denoiser(SCHEDULE, "v")
    known = {"sound": torch.full((8, 1, 1), SOUND, dtype=F64)}
    plan = Full(steps)(LAYOUT, GIVEN, num_levels=SCHEDULE.num_levels)
    known["video"] = torch.zeros(8, 1, 1, dtype=F64)
    made = generate(denoiser if guidance is None else guidance(denoiser), DDIM(), plan, keys, given=known, dtype=F64)
    start = normal_latents(LAYOUT, keys, "start", dtype=F64)["video"].flatten()
    fixed = normal_latents(LAYOUT, keys, "replacement", dtype=F64)["sound"].flatten()
    inputs = torch.stack([torch.ones(8, dtype=F64), start, fixed], dim=1)
    mean, *scales = torch.linalg.lstsq(inputs, made["video"].flatten()[:, None]).solution.flatten().tolist()
    return mean, math.hypot(*scales)


def main():
    """Writes the picture, and prints its numbers."""
    truth = WORLD.conditional(GIVEN)
    mean, deviation = float(truth.gain[0, 0]) * SOUND, float(truth.covariance[0, 0]) ** 0.5
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.4), layout="constrained", gridspec_kw={"width_ratios": [3, 2]}
    )
    x = torch.linspace(-1, 3.2, 400, dtype=F64)

    def density(mean, deviation):
        return torch.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))

    left.fill_between(x, density(mean, deviation), color="0.85", label="exact conditional distribution")
    counts = [2**k for k in range(3, 10)]
    print(f"exact: mean {mean:.3f}, deviation {deviation:.3f}")
    for name, (guidance, colour) in WAYS.items():
        found = [sampled(guidance, steps) for steps in counts]
        print(f"{name}: mean {found[-1][0]:.3f}, deviation {found[-1][1]:.3f}")
        left.plot(x, density(*found[-1]), color=colour, label=name)
        # 2-Wasserstein distance of two normal distributions
        distance = [math.hypot(one - mean, two - deviation) for one, two in found]
        right.loglog(counts, distance, "o-", color=colour, markersize=3)
    left.set(xlabel=f"video, where the sound is {SOUND}", ylabel="density", yticks=[])
    left.set_ylim(0, 1.75)
    left.legend(frameon=False, fontsize=8, loc="upper left")
    right.set(xlabel="steps", ylabel="distance to the exact distribution (W₂)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
