"""Random numbers that follow from a key, and from nothing else.

There is no generator state. A key is one 64-bit integer per example; folding in a stream name, a modality, a segment
or a counter gives an independent key, and a key with a shape gives the same numbers in every batch, on every device
and in every order of calls. This makes a sample a function of its seed, and a killed run equal to an unbroken one.

The bit mixer is Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
written in int64 tensor operations, because PyTorch has no unsigned arithmetic on all devices:

    (1) x_0, x_1  ←  counter + key                               (mod 2^32)
    (2) 20 times: x_0 ← x_0 + x_1;  x_1 ← rotate(x_1, R_i) ⊕ x_0, with the key added in after every fourth
    (3) uniform   u = (x + 1/2) / 2^32                            in (0, 1)
    (4) normal    sqrt(−2 ln u_0) · (cos 2π u_1, sin 2π u_1)      (Box and Muller 1958)

(4) is computed in float64 and then rounded, so that float32 results do not depend on how a device vectorises ``log``.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmseqdiff.errors import UserError

__all__ = ["example_keys", "fold", "integers", "normal", "uniform"]

_MASK = 0xFFFFFFFF
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


Word = Int[Tensor, "..."] | int
"""32 bits, held in int64: of many keys, or a number that all have in common."""


def threefry(
    key: tuple[Int[Tensor, "..."], Int[Tensor, "..."]], counter: tuple[Word, Word]
) -> tuple[Int[Tensor, "..."], Int[Tensor, "..."]]:
    """Threefry-2x32-20: mixes two words with a key of two words, Eq. (1) and (2)."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    x0, x1 = (counter[0] + schedule[0]) & _MASK, (counter[1] + schedule[1]) & _MASK
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = (x0 + x1) & _MASK
            x1 = (((x1 << rotation) | (x1 >> (32 - rotation))) & _MASK) ^ x0
        x0 = (x0 + schedule[(group + 1) % 3]) & _MASK
        x1 = (x1 + schedule[(group + 2) % 3] + group + 1) & _MASK
    return x0, x1


def _words(keys: Word) -> tuple[Word, Word]:
    return (keys >> 32) & _MASK, keys & _MASK


def _join(high: Int[Tensor, "..."], low: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    return (high << 32) | low


def _number(word: str | int) -> int:
    """A signed 64-bit integer for a name or a number."""
    if isinstance(word, str):
        return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big", signed=True)
    return word


def fold(keys: Int[Tensor, "*shape"], *words: str | int | Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Independent keys, one for every (key, words).

    Args:
        keys: int64 keys of any shape.
        words: names, integers, or integer tensors that broadcast against ``keys``.

    Returns:
        int64 keys of the broadcast shape.
    """
    for word in words:
        # Plain numbers stay on the host: made into tensors, each would be a copy that a GPU waits for.
        data = word.to(torch.int64) if isinstance(word, Tensor) else _number(word)
        keys = _join(*threefry(_words(keys), _words(data)))
    return keys


def example_keys(
    seed: int, samples: Sequence[int] | Int[Tensor, " batch"], device: str = "cpu"
) -> Int[Tensor, " batch"]:
    """One key per example: sample ``samples[i]`` of the run with this seed.

    Raises:
        UserError: if the seed is no signed integer of 64 bits.
    """
    if not -(2**63) <= seed < 2**63:
        raise UserError(f"a seed is a whole number of 64 bits with its sign, and {seed} is not")
    samples = torch.as_tensor(samples, dtype=torch.int64, device=device)
    return fold(torch.full_like(samples, _number(seed)), "example", samples)


def _bits(keys: Int[Tensor, "*batch"], stream: str, count: int) -> tuple[Int[Tensor, "..."], Int[Tensor, "..."]]:
    """Two words for each of ``count`` counters under every key: a pair of ``(*batch, count)``."""
    high, low = _words(fold(keys, stream)[..., None])
    counter = torch.arange(count, device=keys.device)
    return threefry((high, low), (torch.zeros_like(counter), counter))


def _unit(bits: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    return (bits.to(torch.float64) + 0.5) / 2.0**32  # Eq. (3): never 0 or 1


def uniform(
    keys: Int[Tensor, "*batch"], stream: str, shape: Sequence[int] = (), dtype: torch.dtype = torch.float64
) -> Float[Tensor, "..."]:
    """Uniform numbers in (0, 1).

    Args:
        keys: int64 keys of any shape.
        stream: a name; different streams under one key are independent.
        shape: the shape drawn under each key.
        dtype: of the result. In float32 the largest numbers round to 1.

    Returns:
        A tensor of shape ``(*keys.shape, *shape)``.
    """
    count = math.prod(shape)
    return _unit(_bits(keys, stream, count)[0]).to(dtype).reshape((*keys.shape, *shape))


def integers(
    keys: Int[Tensor, "*batch"], stream: str, low: int, high: int, shape: Sequence[int] = ()
) -> Int[Tensor, "..."]:
    """Whole numbers, uniform on ``low … high`` (both included), of shape ``(*keys.shape, *shape)``.

    The bias of taking a 32-bit fraction is below (high − low + 1) / 2^32.
    """
    span = high - low + 1
    return low + (uniform(keys, stream, shape) * span).floor().to(torch.int64).clamp(max=span - 1)


def normal(
    keys: Int[Tensor, "*batch"], stream: str, shape: Sequence[int] = (), dtype: torch.dtype = torch.float32
) -> Float[Tensor, "..."]:
    """Standard normal numbers.

    Args:
        keys: int64 keys of any shape.
        stream: a name; different streams under one key are independent.
        shape: the shape drawn under each key.
        dtype: of the result.

    Returns:
        A tensor of shape ``(*keys.shape, *shape)``: the same numbers in every batch (to the last bit in float32) and
        on every device (to 1e-6).
    """
    count = math.prod(shape)
    first, second = _bits(keys, stream, (count + 1) // 2)
    radius, angle = torch.sqrt(-2.0 * torch.log(_unit(first))), 2.0 * math.pi * _unit(second)  # Eq. (4)
    pairs = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)
    return pairs.flatten(-2)[..., :count].to(dtype).reshape((*keys.shape, *shape))
