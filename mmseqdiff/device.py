"""Where tensors live, by name."""

import torch

from mmseqdiff.errors import UserError

__all__ = ["usable_device"]


def usable_device(name: str | torch.device) -> torch.device:
    """A device that this machine has: ``cpu``, ``cuda``, ``cuda:1`` …

    Raises:
        UserError: if PyTorch knows no such device, or cannot use it here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # without CUDA it asserts
        first = str(error).partition("\n")[0]
        raise UserError(f"there is no device {str(name)!r} to be used here: {first}") from error
    return device
