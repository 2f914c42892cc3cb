"""Every registered plugin is held to the contract of its kind, with all the parameters of ``conftest.py``."""

import pytest

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
    TaskContract,
)


class TestSchedule(ScheduleContract):
    @pytest.fixture(autouse=True)
    def under_test(self, schedule):
        self.plugin = schedule


class TestPolicy(PolicyContract):
    @pytest.fixture(autouse=True)
    def under_test(self, policy):
        self.plugin = policy


class TestTask(TaskContract):
    @pytest.fixture(autouse=True)
    def under_test(self, task):
        self.plugin = task


class TestPlan(PlanContract):
    @pytest.fixture(autouse=True)
    def under_test(self, plan):
        self.plugin = plan


class TestSampler(SamplerContract):
    @pytest.fixture(autouse=True)
    def under_test(self, sampler):
        self.plugin = sampler


class TestGuidance(GuidanceContract):
    @pytest.fixture(autouse=True)
    def under_test(self, guidance):
        self.plugin = guidance


class TestBackbone(BackboneContract):
    @pytest.fixture(autouse=True)
    def under_test(self, backbone):
        self.build = backbone


class TestCodec(CodecContract):
    @pytest.fixture(autouse=True)
    def under_test(self, codec):
        self.plugin = codec


class TestModality(ModalityContract):
    @pytest.fixture(autouse=True)
    def under_test(self, modality):
        self.plugin = modality


class TestMetric(MetricContract):
    @pytest.fixture(autouse=True)
    def under_test(self, metric):
        self.plugin = metric


def test_every_contract_is_run_here():
    run = {made.kind for made in globals().values() if isinstance(made, type) and issubclass(made, Contract) and made.__name__.startswith("Test")}  # fmt: skip
    assert run == set(CONTRACTS)


def test_every_law_says_what_it_is():
    for contract in CONTRACTS.values():
        statements = [law.statement for law in contract.laws()]
        assert len(statements) == len(set(statements)) > 0
        assert all(text.endswith(".") and len(text) < 130 for text in statements)
