"""For plugin authors: the laws of every kind of plugin as contracts, Hypothesis strategies, and worlds that are exact.

    from mmseqdiff.testing import PolicyContract

    class TestAlternating(PolicyContract):
        def build(self):
            return Alternating()

Names are imported when they are first used, so that this package costs pytest nothing at start-up.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmseqdiff.testing.causality import look_ahead
    from mmseqdiff.testing.cellwise import CellwiseDenoiser, KnownDenoiser, StraightSampler
    from mmseqdiff.testing.contracts import (
        CONTRACTS,
        BackboneContract,
        CodecContract,
        Contract,
        GuidanceContract,
        MetricContract,
        ModalityContract,
        PlanContract,
        PolicyContract,
        SamplerContract,
        ScheduleContract,
        StatedCells,
        StatedLevels,
        StatedRows,
        StatedRun,
        TaskContract,
    )
    from mmseqdiff.testing.gaussian import GaussianWorld
    from mmseqdiff.testing.mixture import GaussianMixtureWorld
    from mmseqdiff.testing.strategies import (
        comparisons,
        given_cells,
        keys,
        latents,
        layouts,
        plans,
        schedules,
        signals,
        steps,
        tasks,
        timesteps,
    )

__all__ = [
    "CONTRACTS", "BackboneContract", "CellwiseDenoiser", "CodecContract", "Contract", "GaussianMixtureWorld",
    "GaussianWorld", "GuidanceContract", "KnownDenoiser", "MetricContract", "ModalityContract", "PlanContract",
    "PolicyContract", "SamplerContract", "ScheduleContract", "StatedCells", "StatedLevels", "StatedRows", "StatedRun", "StraightSampler",
    "TaskContract", "comparisons", "given_cells", "keys", "latents", "layouts", "look_ahead", "plans", "schedules", "signals",
    "steps", "tasks", "timesteps",
]  # fmt: skip

_HOMES = {
    "CellwiseDenoiser": "cellwise",
    "GaussianMixtureWorld": "mixture",
    "GaussianWorld": "gaussian",
    "KnownDenoiser": "cellwise",
    "StraightSampler": "cellwise",
    "look_ahead": "causality",
    **{
        name: "contracts"
        for name in __all__
        if name.endswith("Contract") or name.startswith("Stated") or name == "CONTRACTS"
    },
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"mmseqdiff.testing.{_HOMES.get(name, 'strategies')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
