"""Lookup-free quantisation (arXiv:2310.05737 §3.1): a latent of d numbers becomes d bits.

    (1) q = sign z ∈ {−1, 1}^d                            the nearest of 2^d codes; sign 0 is 1
    (2) forward q, backward z                             straight-through: z + sg(q − z)
    (3) commitment  mean (sg(q) − z)²
    (4) p(c | z) = softmax_c(−|z − c|² / τ)               a product over bits: bit i is 1 with probability σ(4 z_i / τ)
    (5) entropy     E H(p(· | z)) − H(E p(· | z))         sure of every latent's code, and using all codes alike
    (6) its weight at update n is  w · (1 + 2 max(0, 1 − n / 2,000)): three times w at first

H(E p) needs the joint distribution of the bits. Of 18 bits it would have 262,144 entries for every latent, so that Eq. (5)
is the sum over groups of at most 9 bits, each with its joint distribution; their first part is then exact.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["LookupFreeQuantizer"]

TEMPERATURE = 0.01
ANNEALING = 2_000
_TINY = 1e-30


class LookupFreeQuantizer(nn.Module):
    """Eq. (1) to (6).

    Args:
        entropy_weight: w of Eq. (6).
        commitment_weight: of Eq. (3).
        group: the most bits whose joint distribution is formed.
    """

    updates: Int[Tensor, ""]

    def __init__(self, entropy_weight: float = 0.1, commitment_weight: float = 0.25, group: int = 9) -> None:
        super().__init__()
        self.entropy_weight, self.commitment_weight, self.group = entropy_weight, commitment_weight, group
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def quantise(self, z: Float[Tensor, "*shape bit"]) -> Float[Tensor, "*shape bit"]:
        """Eq. (1)."""
        return torch.where(z >= 0, 1.0, -1.0).to(z.dtype)

    def indices(self, q: Float[Tensor, "*shape bit"]) -> Int[Tensor, "*shape"]:
        """The number of every code in 0 … 2^d − 1; the first bit counts 1."""
        powers = 2 ** torch.arange(q.shape[-1], device=q.device)
        return ((q > 0) * powers).sum(-1)

    def codes(self, indices: Int[Tensor, "*shape"], bits: int) -> Float[Tensor, "*shape bit"]:
        """The code of every number, in −1 and 1."""
        powers = 2 ** torch.arange(bits, device=indices.device)
        return 2.0 * ((indices[..., None] & powers) > 0) - 1.0

    def forward(self, z: Float[Tensor, "*shape bit"]) -> tuple[Float[Tensor, "*shape bit"], dict[str, Tensor]]:
        """Quantised latents, straight-through, Eq. (2), and the weighted terms ``commitment`` and ``entropy``."""
        q = self.quantise(z)
        terms = {"commitment": self.commitment_weight * (q.detach() - z).square().mean()}
        if self.entropy_weight:
            terms["entropy"] = self.weight() * self.entropy(z.flatten(0, -2))
        if self.training:
            self.updates += 1
        return z + (q - z).detach(), terms

    def weight(self) -> Float[Tensor, ""]:
        """The entropy's weight now, Eq. (6); in training mode every call of :meth:`forward` is an update."""
        return self.entropy_weight * (1 + 2 * (1 - self.updates.to(torch.float32) / ANNEALING).clamp(min=0))

    def entropy(self, z: Float[Tensor, "latent bit"]) -> Float[Tensor, ""]:
        """Eq. (5), in nats; in float32 also within autocast."""
        with torch.autocast(z.device.type, enabled=False):
            total = z.new_zeros((), dtype=torch.promote_types(z.dtype, torch.float32))
            for bits in z.to(total.dtype).split(self.group, dim=-1):
                yes, no = F.logsigmoid(4 * bits / TEMPERATURE), F.logsigmoid(-4 * bits / TEMPERATURE)
                total = total - (yes.exp() * yes + no.exp() * no).sum(-1).mean()
                joint = torch.ones_like(bits[:, :1])
                for bit in range(bits.shape[-1]):
                    pair = torch.stack([no[:, bit], yes[:, bit]], dim=-1).exp()
                    joint = (joint[:, :, None] * pair[:, None]).flatten(1)
                mean = joint.mean(0)
                total = total + (mean * mean.clamp(min=_TINY).log()).sum()
        return total
