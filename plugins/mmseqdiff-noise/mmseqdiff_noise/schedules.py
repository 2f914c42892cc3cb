"""Discrete noise schedules, continued to real levels.

A table of T betas defines alpha_bar at whole levels; between them log alpha_bar is linear:

    (1) alpha_bar(t) = prod_{i <= t} (1 − beta_i),  alpha_bar(0) = 1                        arXiv:2405.13762 §2
    (2) alpha = sqrt(alpha_bar),  sigma = sqrt(1 − alpha_bar),  log_snr = log(alpha_bar / (1 − alpha_bar))
    (3) inverse: log alpha_bar = log sigmoid(log_snr), then piecewise linear interpolation

    linear   beta_i = lerp(1e-4, 0.02, (i − 1) / (T − 1))                                   arXiv:2006.11239 §4
    cosine   alpha_bar = cos²(π/2 · (t/T + s) / (1 + s)) / (its value at 0), beta <= 0.999   arXiv:2102.09672 Eq. 17
    zero terminal SNR   alpha' = alpha_1 (alpha − alpha_T) / (alpha_1 − alpha_T)             arXiv:2305.08891 Algorithm 1

A zero-terminal table ends at alpha(T) = 0, where log alpha_bar is −inf; in its last interval alpha itself is linear.
"""

import math

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.protocols import NoiseSchedule

__all__ = ["TableSchedule", "cosine", "linear", "zero_terminal_snr"]


@attrs.frozen(eq=False)
class TableSchedule(NoiseSchedule):
    """A schedule from log alpha_bar at the whole levels 0 … T.

    Attributes:
        log_alpha_bar: float64 ``(T + 1,)``; starts at 0, falls strictly, and may end at −inf.

    Raises:
        ValueError: if the table is anything else.
    """

    log_alpha_bar: Float[Tensor, " levels"]
    _tables: dict[torch.device, Tensor] = attrs.field(init=False, factory=dict, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        table = self.log_alpha_bar
        if table.ndim != 1 or len(table) < 2 or table.dtype != torch.float64:
            raise ValueError(
                f"a schedule needs a float64 table of at least two levels, got {table.dtype} {tuple(table.shape)}"
            )
        if table[0] != 0 or not (table[1:] < table[:-1]).all() or not table[:-1].isfinite().all():
            raise ValueError("log alpha_bar must start at 0, fall strictly, and be finite but for its last entry")

    @property
    def num_levels(self) -> int:
        """T."""
        return len(self.log_alpha_bar) - 1

    def _log_alpha_bar(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        table, t = self._table_on(t.device), t.double()
        below = t.floor().clamp(0, self.num_levels - 1).long()
        low, high, part = table[below], table[below + 1], t - below
        ends = high.isinf()
        value = torch.lerp(low, torch.where(ends, low, high), part)
        return torch.where(ends, low + 2 * torch.log1p(-part.clamp(max=1)), value)

    def _table_on(self, device: torch.device) -> Float[Tensor, " levels"]:
        """The table, copied to a device once: every step of training and sampling asks for it."""
        if device not in self._tables:
            self._tables[device] = self.log_alpha_bar.to(device)
        return self._tables[device]

    def _alpha_sigma_dtype(self, t: Tensor) -> torch.dtype:
        return torch.promote_types(t.dtype, torch.float32)

    def alpha(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The signal scale, Eq. (2)."""
        return torch.exp(self._log_alpha_bar(t) / 2).to(self._alpha_sigma_dtype(t))

    def sigma(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The noise scale, Eq. (2)."""
        return torch.sqrt(torch.expm1(self._log_alpha_bar(t)).neg().abs()).to(self._alpha_sigma_dtype(t))

    def log_snr(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """log(alpha² / sigma²), Eq. (2)."""
        log_alpha_bar = self._log_alpha_bar(t)
        return (log_alpha_bar - torch.log(torch.expm1(log_alpha_bar).neg().abs())).to(self._alpha_sigma_dtype(t))

    def level(self, log_snr: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The level with this log-SNR, Eq. (3); T for anything noisier than the table."""
        table = self._table_on(log_snr.device)
        wanted = torch.nn.functional.logsigmoid(log_snr.double())
        below = (torch.searchsorted(-table, -wanted.contiguous(), right=True) - 1).clamp(0, self.num_levels - 1)
        low, high = table[below], table[below + 1]
        ends = high.isinf()
        part = torch.where(
            ends, -torch.expm1((wanted - low) / 2), (wanted - low) / (torch.where(ends, low - 1, high) - low)
        )
        return (below + part.clamp(0, 1)).to(self._alpha_sigma_dtype(log_snr))


def _from_betas(betas: Float[Tensor, " levels"]) -> TableSchedule:
    return TableSchedule(torch.cat([betas.new_zeros(1), torch.log1p(-betas).cumsum(0)]))  # Eq. (1)


def linear(num_levels: int = 1000, first: float = 1e-4, last: float = 0.02) -> TableSchedule:
    """The linear schedule: betas from ``first`` to ``last``.

    Args:
        num_levels: T.
        first: beta of level 1.
        last: beta of level T.

    Raises:
        ValueError: unless 0 < first <= last < 1 and there is at least one level.
    """
    if num_levels < 1 or not 0 < first <= last < 1:
        raise ValueError(f"expected num_levels >= 1 and 0 < first <= last < 1, got {num_levels}, {first}, {last}")
    return _from_betas(torch.linspace(first, last, num_levels, dtype=torch.float64, device="cpu"))


def cosine(num_levels: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> TableSchedule:
    """The cosine schedule (arXiv:2102.09672).

    Args:
        num_levels: T.
        offset: keeps the first betas from vanishing.
        max_beta: keeps the last ones from being 1.

    Raises:
        ValueError: unless 0 < max_beta < 1, the offset is not negative and there is at least one level.
    """
    if num_levels < 1 or offset < 0 or not 0 < max_beta < 1:
        raise ValueError(
            f"expected num_levels >= 1, offset >= 0, 0 < max_beta < 1, got {num_levels}, {offset}, {max_beta}"
        )
    t = torch.arange(num_levels + 1, dtype=torch.float64, device="cpu") / num_levels
    alpha_bar = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return _from_betas((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta))


def zero_terminal_snr(base: NoiseSchedule | None = None) -> TableSchedule:
    """Another schedule, rescaled so that level T is noise alone; use it with v, velocity or x0 prediction.

    Args:
        base: what is rescaled; linear where None.
    """
    base = linear() if base is None else base
    alpha = base.alpha(torch.arange(base.num_levels + 1, dtype=torch.float64, device="cpu"))
    rescaled = alpha[1] * (alpha - alpha[-1]) / (alpha[1] - alpha[-1])
    return TableSchedule(torch.cat([alpha.new_zeros(1), 2 * torch.log(rescaled[1:])]))
