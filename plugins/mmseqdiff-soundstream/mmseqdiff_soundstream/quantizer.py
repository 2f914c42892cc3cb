"""The residual vector quantiser (arXiv:2107.03312 §III-C), its codebooks learned by moving averages (arXiv:1906.00446).

Stage q of Q quantises what the stages before it left over, for one frame z of D numbers:

    (1) r_1 = z;   c_q = argmin_k |r_q − e_{q,k}|²;   r_{q+1} = r_q − e_{q,c_q}
    (2) ẑ = Σ_{q ≤ n} e_{q,c_q}                        with n uniform on 1 … Q for each example in training, Q otherwise
    (3) forward ẑ, backward z                          straight-through: z + sg(ẑ − z)
    (4) commitment = mean (z − sg(ẑ))²
    (5) N_k ← γ N_k + (1 − γ) n_k;   m_k ← γ m_k + (1 − γ) Σ_{c = k} r;   e_k = m_k / N_k
    (6) a code with N_k < 2 becomes a random frame of the batch, with N_k = 2

n_k counts the frames of the batch that chose code k. The first batch sets every codebook by k-means.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmseqdiff import random

__all__ = ["ResidualQuantizer"]

_KMEANS_ROUNDS = 10


def _nearest(frames: Float[Tensor, "frame channel"], codebook: Float[Tensor, "code channel"]) -> Int[Tensor, " frame"]:
    """The code of every frame, Eq. (1); |r|² is the same for all codes and left out."""
    return (codebook.square().sum(-1) - 2 * frames @ codebook.T).argmin(-1)


def _totals(
    frames: Float[Tensor, "frame channel"], codes: Int[Tensor, " frame"], size: int, counted: Float[Tensor, " frame"]
) -> tuple[Float[Tensor, " code"], Float[Tensor, "code channel"]]:
    """How many frames chose each code, and their sum, of those that are counted (1) and not left out (0)."""
    counts = frames.new_zeros(size).index_add_(0, codes, counted)
    sums = frames.new_zeros(size, frames.shape[-1]).index_add_(0, codes, frames * counted[:, None])
    return counts, sums


class ResidualQuantizer(nn.Module):
    """Q codebooks, each quantising the residual of those before it.

    Args:
        channels: D, numbers in a frame.
        quantizers: Q.
        codebook_size: codes in one codebook. A code lives on two frames a batch, so that a batch should hold many
            more than ``2 * codebook_size`` frames.
        decay: γ of Eq. (5).
        dead_below: the count below which a code is replaced, Eq. (6).
    """

    codebooks: Float[Tensor, "stage code channel"]
    counts: Float[Tensor, "stage code"]
    sums: Float[Tensor, "stage code channel"]
    started: Bool[Tensor, ""]

    def __init__(
        self, channels: int, quantizers: int = 8, codebook_size: int = 1024, decay: float = 0.99, dead_below: float = 2
    ) -> None:
        super().__init__()
        self.quantizers, self.codebook_size, self.decay, self.dead_below = quantizers, codebook_size, decay, dead_below
        self.register_buffer("codebooks", torch.zeros(quantizers, codebook_size, channels))
        self.register_buffer("counts", torch.zeros(quantizers, codebook_size))
        self.register_buffer("sums", torch.zeros(quantizers, codebook_size, channels))
        self.register_buffer("started", torch.tensor(False))

    def encode(self, z: Float[Tensor, "*batch channel"]) -> Int[Tensor, "*batch stage"]:
        """The codes of every frame, Eq. (1).

        Raises:
            RuntimeError: if no batch has set the codebooks yet.
        """
        if not self.started:
            raise RuntimeError(
                "the quantiser has no codebooks yet: train it on a batch, or load trained weights, first"
            )
        return self._codes(z)

    def _codes(self, z: Float[Tensor, "*batch channel"]) -> Int[Tensor, "*batch stage"]:
        residual, codes = z.flatten(0, -2), []
        for codebook in self.codebooks:
            codes.append(_nearest(residual, codebook))
            residual = residual - codebook[codes[-1]]
        return torch.stack(codes, dim=-1).reshape(*z.shape[:-1], self.quantizers)

    def decode(self, codes: Int[Tensor, "*batch stage"]) -> Float[Tensor, "*batch channel"]:
        """ẑ of the codes of the first n stages, for any n in 1 … Q, Eq. (2)."""
        return sum(self.codebooks[stage][codes[..., stage]] for stage in range(codes.shape[-1]))

    def forward(
        self, z: Float[Tensor, "batch segment channel"], keys: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch segment channel"], Float[Tensor, ""]]:
        """Quantised latents and the commitment loss; in training mode the codebooks learn from the batch.

        Args:
            z: latents.
            keys: one per example; the numbers of stages and every random frame follow from them.

        Returns:
            ẑ of Eq. (2), straight-through, and Eq. (4).
        """
        z = z.to(self.codebooks.dtype)  # moving averages need more than bfloat16 has, and so do distances
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            if self.training and not self.started:
                self._start(z, keys)
            codes = self._codes(z) if self.training else self.encode(z)
            stages = random.integers(keys, "quantizers", 1, self.quantizers)
            used = torch.arange(self.quantizers, device=z.device) < stages[:, None]  # (batch, stage)
            if not self.training:
                used = torch.ones_like(used)
            quantized, residuals = torch.zeros_like(z), []
            for stage, codebook in enumerate(self.codebooks):
                residuals.append(z - quantized)
                quantized = quantized + codebook[codes[..., stage]] * used[:, None, None, stage]
            if self.training:
                for stage, residual in enumerate(residuals):
                    self._learn(stage, residual, codes[..., stage], used[:, stage], keys)
        return z + (quantized - z).detach(), (z - quantized).square().mean()

    def _shuffled(
        self,
        frames: Float[Tensor, "batch segment channel"],
        keys: Int[Tensor, " batch"],
        stream: str,
        last: Bool[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "frame channel"]:
        """The batch's frames in an order that follows from the keys alone; those of ``last`` examples after all others."""
        places = random.uniform(keys, stream, (frames.shape[1],))
        if last is not None:
            places = places + last[:, None]
        return frames.flatten(0, 1)[places.flatten().argsort()]

    def _start(self, z: Float[Tensor, "batch segment channel"], keys: Int[Tensor, " batch"]) -> None:
        """k-means, stage by stage, from random frames; a code that no frame chooses stays where it was."""
        residual, slots = z.flatten(0, 1), torch.arange(self.codebook_size, device=z.device)
        all_count = residual.new_ones(len(residual))
        for stage in range(self.quantizers):
            shuffled = self._shuffled(residual.view_as(z), keys, f"start/{stage}")
            codebook = shuffled[slots % len(shuffled)].to(self.codebooks.dtype)
            for _ in range(_KMEANS_ROUNDS):
                counts, sums = _totals(residual, _nearest(residual, codebook), self.codebook_size, all_count)
                codebook = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], codebook)
            counts = counts.clamp(min=self.dead_below)
            self.codebooks[stage], self.counts[stage], self.sums[stage] = codebook, counts, codebook * counts[:, None]
            residual = residual - codebook[_nearest(residual, codebook)]
        self.started.fill_(True)

    def _learn(
        self,
        stage: int,
        residual: Float[Tensor, "batch segment channel"],
        codes: Int[Tensor, "batch segment"],
        used: Bool[Tensor, " batch"],
        keys: Int[Tensor, " batch"],
    ) -> None:
        """Moves one codebook towards the frames of the examples that used it, Eq. (5), and revives dead codes, Eq. (6)."""
        # Examples that stopped before this stage count as nothing: to pick the others out, a GPU would be waited for.
        counted = used[:, None].expand(codes.shape).flatten()
        counts, sums = _totals(residual.flatten(0, 1), codes.flatten(), self.codebook_size, counted.to(residual.dtype))
        counts = torch.lerp(counts, self.counts[stage], self.decay)
        sums = torch.lerp(sums, self.sums[stage], self.decay)
        frames = self._shuffled(residual, keys, f"revive/{stage}", ~used)
        counts, sums = self._revived(counts, sums, frames, counted.sum())
        learns = used.any()
        self.counts[stage] = torch.where(learns, counts, self.counts[stage])
        self.sums[stage] = torch.where(learns, sums, self.sums[stage])
        codebook = self.sums[stage] / self.counts[stage][:, None]
        self.codebooks[stage] = torch.where(learns, codebook, self.codebooks[stage])

    def _revived(
        self,
        counts: Float[Tensor, " code"],
        sums: Float[Tensor, "code channel"],
        frames: Float[Tensor, "frame channel"],
        usable: Int[Tensor, ""],
    ) -> tuple[Float[Tensor, " code"], Float[Tensor, "code channel"]]:
        """Gives every dead code one of the first ``usable`` frames, in their order; live codes keep every bit."""
        dead = counts < self.dead_below
        chosen = frames[(dead.cumsum(0) - 1).clamp(min=0) % usable.clamp(min=1)]
        counts = torch.where(dead, self.dead_below, counts)
        return counts, torch.where(dead[:, None], self.dead_below * chosen, sums)
