"""Write a sampler, and see how exact it is where everything is known.

    python examples/write_a_sampler.py

A sampler takes every cell from its own level t to its own level s. This one is Euler's method on the probability flow in
the variable x = z / alpha over rho = sigma / alpha, where dx / d rho = epsilon. (In these variables it is DDIM.)
"""

import attrs
import torch

import mmseqdiff
from mmseqdiff.bench.exact import Laboratory, uniform_in_log_snr
from mmseqdiff.protocols import Denoise, Latents, Levels, Noise, Sampler, State
from mmseqdiff.timesteps import expand


@attrs.frozen
class Euler(Sampler):
    """First order, per cell."""

    evaluations = 1

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """z_s = alpha_s (z_t / alpha_t + (rho_s − rho_t) epsilon); cells with s = t are copied."""
        prediction = denoise(z, t)
        layout, schedule = prediction.layout, prediction.schedule
        rho_t, rho_s = (schedule.sigma(level) / schedule.alpha(level) for level in (t, s))
        ratio = layout.split(schedule.alpha(s) / schedule.alpha(t))
        change = layout.split(schedule.alpha(s) * (rho_s - rho_t))
        moved = layout.split(s < t)
        stepped = {
            name: torch.where(
                expand(moved[name], value),
                expand(ratio[name], value) * value + expand(change[name], value) * prediction.epsilon[name],
                value,
            )
            for name, value in z.items()
        }
        return stepped, state


def main() -> list[float]:
    """Prints and returns the error against the exact flow for more and more steps: it halves with every doubling."""
    laboratory = Laboratory.build(mmseqdiff.load_plugins(), "linear", 0)
    errors = []
    for steps in (16, 32, 64):
        levels = uniform_in_log_snr(laboratory.schedule, laboratory.schedule.num_levels, 1, steps)
        errors.append(laboratory.flow_error(Euler(), "a2v", levels, exact_history=False))
        print(f"{steps} steps: error {errors[-1]:.4f}")
    return errors


if __name__ == "__main__":
    main()
