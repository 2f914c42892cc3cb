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
        """z_s = alpha_s (z_t / alpha_t + (rho_s − rho_t) epsilon) = alpha_s x0 + sigma_s epsilon; cells with s = t are copied.

        The second form divides by nothing: alpha(T) may be 0, and rho then infinite.
        """
        prediction = denoise(z, t)
        layout, schedule = prediction.layout, prediction.schedule
        alpha, sigma, moved = layout.split(schedule.alpha(s)), layout.split(schedule.sigma(s)), layout.split(s < t)
        stepped = {}
        for name, old in z.items():
            new = expand(alpha[name], old) * prediction.x0[name] + expand(sigma[name], old) * prediction.epsilon[name]
            stepped[name] = torch.where(expand(moved[name], old), new.to(old.dtype), old)
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
