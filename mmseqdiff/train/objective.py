"""The denoiser's loss (arXiv:2405.13762 Algorithm 2), with what the paper leaves open settled.

For an example b with clean latents z_0, cells (m, n) of d_m numbers, T levels and B examples in the global batch:

    (1) t ~ policy,   eps ~ N(0, I),   z_t = alpha_t z_0 + sigma_t eps
    (2) c = coin_b · x0(z_t, t, 0)                    self-condition: a first pass without gradient, a coin per example
    (3) y = network(z_t, t, c)                        in the recipe's prediction kind, whose truth is
        y* = eps                                       epsilon
             z_0                                       x0
             alpha eps − sigma z_0                     v
             eps − z_0                                 velocity
    (4) e_bmn = (1 / d_m) |y − y*|²                   the cell's mean squared error
    (5) l_bmn = 1 where the cell exists and t > 0     loss cells
    (6) L_bm = Σ_n l e / max(1, Σ_n l)                mean per modality; an empty one counts 0
    (7) L = (1 / B) Σ_b Σ_m w_m L_bm                  ``mean``
        L = (1 / B) Σ_b (Σ_mn w_m d_m l e) / max(1, Σ_mn d_m l)        ``element``

In (2) the first pass always runs, so that no process waits for another. All random numbers follow from the run's seed,
the step and the example's position in the global batch, so that the loss depends neither on micro-batches nor on the
number of processes.
"""

from collections.abc import Mapping

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.layout import Layout
from mmseqdiff.origin import check_shape
from mmseqdiff.protocols import Denoiser, Latents, NoiseSchedule, TimestepPolicy
from mmseqdiff.timesteps import BUCKETS, buckets, expand
from mmseqdiff.train.table import Table

__all__ = ["DenoisingObjective", "cell_errors", "conditional_loss", "step_keys"]


def step_keys(seed: int, step: int, positions: range, device: torch.device | str = "cpu") -> Int[Tensor, " batch"]:
    """One key for every position in the global batch of a step."""
    return random.fold(random.example_keys(seed, positions, str(device)), "train", step)


def _truth(kind: str, z0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """y* of Eq. (3)."""
    match kind:
        case "epsilon":
            return noise
        case "x0":
            return z0
        case "v":
            return alpha * noise - sigma * z0
        case _:
            return noise - z0


def cell_errors(prediction: Prediction, z0: Latents, noise: Latents) -> Float[Tensor, "batch modality segment"]:
    """e of Eq. (4), in float32; 0 in padding."""
    layout, schedule, t = prediction.layout, prediction.schedule, prediction.t
    alphas, sigmas = layout.split(schedule.alpha(t)), layout.split(schedule.sigma(t))
    rows = {}
    for name, clean in z0.items():
        truth = _truth(prediction.kind, clean, noise[name], expand(alphas[name], clean), expand(sigmas[name], clean))
        rows[name] = (prediction.value[name].float() - truth.float()).square().flatten(2).mean(-1)
    return layout.stack(rows)


def _means(
    errors: Float[Tensor, "batch modality segment"], cells: Bool[Tensor, "batch modality segment"]
) -> Float[Tensor, "batch modality"]:
    """L_bm of Eq. (6)."""
    return torch.where(cells, errors, 0).sum(-1) / cells.sum(-1).clamp(min=1)


@attrs.frozen(eq=False)
class DenoisingObjective:
    """The loss of a denoiser, Eq. (1) to (7).

    Attributes:
        denoiser: what is trained.
        policy: where the levels come from.
        self_condition_rate: the coin's probability; 0 leaves the first pass out.
        loss_weights: w_m; 1 where not named.
        reduction: ``mean`` or ``element``, Eq. (7).
    """

    denoiser: NetworkDenoiser
    policy: TimestepPolicy
    self_condition_rate: float = 0.9
    loss_weights: Mapping[str, float] = attrs.field(factory=dict)
    reduction: str = attrs.field(default="mean", validator=attrs.validators.in_(("mean", "element")))

    @property
    def layout(self) -> Layout:
        """The denoiser's."""
        return self.denoiser.layout

    @property
    def schedule(self) -> NoiseSchedule:
        """The denoiser's."""
        return self.denoiser.schedule

    def __call__(self, z0: Latents, keys: Int[Tensor, " batch"]) -> tuple[Float[Tensor, ""], Table]:
        """The mean loss of some examples.

        Args:
            z0: clean normalised latents.
            keys: one per example; see :func:`step_keys`.

        Returns:
            The mean over these examples, and a table of the cells' errors by modality, level and policy component.

        Raises:
            PluginError: if the policy's timesteps have a wrong shape.
        """
        policy_keys = random.fold(keys, "policy")
        t = self.policy.sample(self.layout, policy_keys, num_levels=self.schedule.num_levels)
        check_shape(self.policy, "timesteps", t, (len(keys), self.layout.M, self.layout.N))
        noise = normal_latents(self.layout, keys, "noise")
        z = ForwardProcess(self.schedule, self.layout).corrupt(z0, noise, t)  # Eq. (1)
        prediction = self.denoiser(z, t, self_condition=self._self_condition(z, t, keys))
        errors = cell_errors(prediction, z0, noise)
        cells = self.layout.valid.to(t.device) & (t > 0)  # Eq. (5)
        return self._reduce(errors, cells), self._table(errors, cells, t, self.policy.component(policy_keys))

    def _self_condition(
        self, z: Latents, t: Float[Tensor, "batch modality segment"], keys: Int[Tensor, " batch"]
    ) -> dict[str, Tensor] | None:
        """c of Eq. (2)."""
        if self.self_condition_rate == 0:
            return None
        with torch.no_grad():
            estimate = self.denoiser(z, t, self_condition=None).x0
        coin = (random.uniform(keys, "self-condition") < self.self_condition_rate)[:, None].float()
        return {name: (expand(coin, value) * value).to(z[name].dtype) for name, value in estimate.items()}

    def _weights(self, device: torch.device) -> Float[Tensor, " modality"]:
        return torch.tensor([self.loss_weights.get(name, 1.0) for name in self.layout.modalities], device=device)

    def _reduce(
        self, errors: Float[Tensor, "batch modality segment"], cells: Bool[Tensor, "batch modality segment"]
    ) -> Float[Tensor, ""]:
        """L of Eq. (7)."""
        weights = self._weights(errors.device)
        if self.reduction == "mean":
            return (weights * _means(errors, cells)).sum(-1).mean()
        sizes = [track.tokens * track.channels / track.segments for track in self.layout.tracks]
        numbers = cells * torch.tensor(sizes, device=errors.device)[:, None]  # d_m l
        sums = (weights[:, None] * numbers * torch.where(cells, errors, 0)).sum((1, 2))
        return (sums / numbers.sum((1, 2)).clamp(min=1)).mean()

    def _table(
        self,
        errors: Float[Tensor, "batch modality segment"],
        cells: Bool[Tensor, "batch modality segment"],
        t: Float[Tensor, "batch modality segment"],
        component: Int[Tensor, " batch"],
    ) -> Table:
        """Sums and counts of the loss cells: modality x level bucket x component, and their margins."""
        bucket = torch.nn.functional.one_hot(buckets(t, self.schedule.num_levels), BUCKETS) * cells[..., None]
        components = torch.nn.functional.one_hot(component, len(self.policy.components))
        masked = torch.where(cells, errors.detach(), 0)
        with torch.autocast(errors.device.type, enabled=False):  # in bfloat16 counts stand still from 256 on
            counts = torch.einsum("bmnk,bc->mkc", bucket.float(), components.float())
            sums = torch.einsum("bmn,bmnk,bc->mkc", masked.float(), bucket.float(), components.float())
        margins = [
            torch.cat([cube.sum((1, 2)), cube.sum(2).flatten(), cube.sum(1).flatten(), cube.flatten()])
            for cube in (sums, counts)
        ]
        return Table(self._names, *margins)

    @property
    def _names(self) -> tuple[str, ...]:
        """Of the table's rows: the modality, then with its level, then with its component, then with both."""
        names, components = self.layout.modalities, self.policy.components
        levels = [f"level {k / BUCKETS:.1f}-{(k + 1) / BUCKETS:.1f}" for k in range(BUCKETS)]
        return (
            *(f"loss/{name}" for name in names),
            *(f"loss by level/{name}/{level}" for name in names for level in levels),
            *(f"loss by component/{name}/{k} {part}" for name in names for k, part in enumerate(components)),
            *(
                f"loss by level and component/{name}/{level}/{k} {part}"
                for name in names
                for level in levels
                for k, part in enumerate(components)
            ),
        )


@torch.no_grad()
def conditional_loss(
    denoiser: Denoiser,
    z0: Latents,
    given: Bool[Tensor, "modality segment"],
    level: float,
    keys: Int[Tensor, " batch"],
    z_given: Latents | None = None,
) -> Float[Tensor, "batch modality"]:
    """How well the cells that a task does not give are denoised at one level, given those that it does.

    As in sampling, given cells are clean and the network sees its own first estimate.

    Args:
        denoiser: what is measured.
        z0: clean normalised latents.
        given: the cells that are given.
        level: of all other cells, in (0, T].
        keys: one per example; the noise follows from them, so that two conditions can be compared in pairs.
        z_given: where the given cells are taken from instead: another clip's latents, for example.

    Returns:
        Eq. (6) over the cells that are not given; 0 for a modality that is given whole.
    """
    layout, device = denoiser.layout, keys.device
    given, valid = given.to(device), layout.valid.to(device)
    t = torch.where(given | ~valid, 0.0, level).expand(len(keys), -1, -1)
    noise = normal_latents(layout, keys, "noise")
    source = z0 if z_given is None else z_given
    shown = {
        name: torch.where(expand(cells[None], z0[name]), source[name], z0[name])
        for name, cells in layout.split(given).items()
    }
    z = ForwardProcess(denoiser.schedule, layout).corrupt(shown, noise, t)
    estimate = denoiser(z, t, given=given, keys=keys, self_condition=None).x0
    prediction = denoiser(z, t, given=given, keys=keys, self_condition=estimate)
    return _means(cell_errors(prediction, z0, noise), (valid & ~given).expand(len(keys), -1, -1))
