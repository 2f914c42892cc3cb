"""Several processes that train one model, started by ``torchrun``.

Every process computes its part of the global batch; gradients of sums are added up, so that W processes take the same
step as one. Which examples a process reads follows from the step alone (:mod:`mmseqdiff.data.order`).
"""

import os
from collections.abc import Iterable
from datetime import timedelta

import attrs
import torch
from torch import Tensor, distributed

from mmseqdiff.device import usable_device

__all__ = ["World", "join_world"]


@attrs.frozen
class World:
    """The processes of a run.

    Attributes:
        rank: of this process.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def share(self, batch_size: int) -> range:
        """This process's positions in the global batch.

        Raises:
            ValueError: if the batch cannot be shared out evenly.
        """
        if batch_size % self.size:
            raise ValueError(f"a batch of {batch_size} cannot be shared evenly among {self.size} processes")
        part = batch_size // self.size
        return range(self.rank * part, (self.rank + 1) * part)

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replaces every tensor by its sum over the processes, in place and in one message."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(total.view_as(tensor))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        count = torch.tensor(float(flag), device=device)
        distributed.all_reduce(count)
        return bool(count)

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.size > 1:
            distributed.barrier()


def join_world(device: str) -> tuple[World, torch.device]:
    """The processes that ``torchrun`` started, or this one alone, and where this one computes.

    ``cuda`` without a number becomes each process's own.

    Raises:
        UserError: if the device cannot be used here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World(), usable_device(device)
    place = usable_device(f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device)
    if place.type == "cuda":
        torch.cuda.set_device(place)  # where NCCL keeps its own buffers
    if not distributed.is_initialized():
        backend = "nccl" if place.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=timedelta(hours=2))  # others wait while one validates
    return World(distributed.get_rank(), distributed.get_world_size()), place
