"""Samplers, elementwise in the timestep matrix."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares the samplers."""
    add(
        "sampler", "ddpm", "mmseqdiff_samplers.ddpm:DDPM", summary="ancestral sampling (the paper's Algorithms 3 and 4)"
    )
    add("sampler", "ddim", "mmseqdiff_samplers.ddim:DDIM", summary="DDIM(eta); deterministic at eta = 0")
    add("sampler", "heun", "mmseqdiff_samplers.heun:Heun", summary="Heun's method; two evaluations a step")
    add("sampler", "dpmpp_2m", "mmseqdiff_samplers.dpmpp:DPMPP2M", summary="DPM-Solver++(2M), of order 2")
    add("sampler", "dpmpp_3m", "mmseqdiff_samplers.dpmpp:DPMPP3M", summary="DPM-Solver++(3M), of order 3")
    add("sampler", "dpmpp_sde_2m", "mmseqdiff_samplers.dpmpp:DPMPPSDE2M", summary="SDE-DPM-Solver++(2M), stochastic")
    add("sampler", "unipc", "mmseqdiff_samplers.unipc:UniPC", summary="UniPC of order 1 to 3, with its corrector")
    add("sampler", "analytic_dpm", "mmseqdiff_samplers.analytic:AnalyticDPM", summary="DDPM with a calibrated variance")
    add(
        "sampler",
        "analytic_ddim",
        "mmseqdiff_samplers.analytic:AnalyticDDIM",
        summary="DDIM with a calibrated variance",
    )
