"""The contracts of all kinds of plugins, one law per method; see :mod:`mmseqdiff.testing.contracts.contract`.

The laws are numbered as in the project's design:

    1   a cell whose level does not change is copied bit for bit; given cells leave as they came
    2   no 0/0: level 0 and level T are exact, forward and backward
    3   segments lie on the timeline where the track says
    4   levels are equal within a tied group and whole numbers of 1 … T
    5   a constant matrix is the ordinary scalar-time model
    7   a plan takes every cell that is not given from T to 0
    8   uncoupled cells on different plans equal separate runs; a pause changes nothing, nor does the order of the tracks
    9   the same key gives the same sample, whatever the batch
    11  saved then loaded is equal
    12  what lies outside the known stretches changes no bit
"""

from mmseqdiff.testing.contracts.backbone import BackboneContract
from mmseqdiff.testing.contracts.codec import CodecContract
from mmseqdiff.testing.contracts.contract import Contract, Law, bits
from mmseqdiff.testing.contracts.guidance import GuidanceContract
from mmseqdiff.testing.contracts.metric import MetricContract
from mmseqdiff.testing.contracts.modality import ModalityContract
from mmseqdiff.testing.contracts.plan import PlanContract, StatedRows
from mmseqdiff.testing.contracts.policy import PolicyContract, StatedLevels
from mmseqdiff.testing.contracts.sampler import SamplerContract, StatedRun
from mmseqdiff.testing.contracts.sampler_runs import kinds_for
from mmseqdiff.testing.contracts.schedule import ScheduleContract
from mmseqdiff.testing.contracts.task import StatedCells, TaskContract

__all__ = [
    "CONTRACTS", "BackboneContract", "CodecContract", "Contract", "GuidanceContract", "Law", "MetricContract",
    "ModalityContract", "PlanContract", "PolicyContract", "SamplerContract", "ScheduleContract", "StatedCells", "StatedLevels",
    "StatedRows", "StatedRun", "TaskContract", "bits", "kinds_for",
]  # fmt: skip

CONTRACTS: dict[str, type[Contract]] = {
    contract.kind: contract
    for contract in (
        ModalityContract, CodecContract, ScheduleContract, PolicyContract, TaskContract, PlanContract, SamplerContract,
        GuidanceContract, BackboneContract, MetricContract,
    )
}  # fmt: skip
"""Kind → its contract."""
