"""Samplers, elementwise in the timestep matrix."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares the samplers."""
    add(
        "sampler", "ddpm", "mmseqdiff_samplers.ddpm:DDPM", summary="ancestral sampling (the paper's Algorithms 3 and 4)"
    )
    add("sampler", "ddim", "mmseqdiff_samplers.ddim:DDIM", summary="DDIM(eta); deterministic at eta = 0")
