"""The bench of policies: what it measures against closed forms, and that a run goes on where it stopped."""

import attrs
import pytest
import torch
from rich.console import Console

from mmseqdiff import random
from mmseqdiff.bench.policies import PER_TASK, TASKS, PolicyBench
from mmseqdiff.bench.samples import exact_errors, sample_errors
from mmseqdiff.errors import CheckpointError
from mmseqdiff.forward import Prediction
from mmseqdiff.host import Host
from mmseqdiff.recipe import Component
from mmseqdiff.testing.gaussian import GaussianWorld

TINY = {
    "steps": 2,
    "batch_size": 4,
    "layers": 1,
    "dimension": 16,
    "examples": 8,
    "sampling_steps": 2,
    "console": Console(quiet=True),
}


class Ideal(torch.nn.Module):
    """The exact denoiser as a network of float32, with an error that is known."""

    def __init__(self, bench, error=0.0):
        super().__init__()
        self.exact, self.error = bench.world.denoiser(bench.schedule, "epsilon"), error

    def forward(self, z, t, *, self_condition=None):
        return {name: (value + self.error).float() for name, value in self.exact(z, t).epsilon.items()}


def free(bench, task):
    """The modalities that a task generates at all."""
    given = bench.host.build("task", task).given(bench.world.layout)
    return int((bench.world.layout.valid & ~given).any(1).sum())


@pytest.mark.parametrize("task", TASKS)
def test_the_exact_denoiser_has_no_excess_and_an_error_all_of_its_square(host, tmp_path, task):
    bench = PolicyBench(host=host, folder=tmp_path, **TINY)
    assert max(bench.measure(Ideal(bench), task)["excess"]) < 1e-8
    found = bench.measure(Ideal(bench, 0.1), task)
    assert found["excess"] == pytest.approx([0.01 * free(bench, task)] * 10, rel=1e-3)


def test_a_network_that_says_nothing_leaves_all_the_noise(host, tmp_path):
    """E|f*|² = E|epsilon|² − risk: the exact prediction is a projection. An AVDiT returns zeros before it is trained."""
    bench = attrs.evolve(PolicyBench(host=host, folder=tmp_path, **TINY), examples=1000, batch_size=500)
    network = host.build("backbone", "avdit", layout=bench.world.layout, layers=1, dimension=16, heads=2)
    for task in ("a2v", "inpaint"):
        found = bench.measure(network, task)
        total = [excess + risk for excess, risk in zip(found["excess"], found["risk"])]
        assert total == pytest.approx([free(bench, task)] * 10, rel=0.03)


@pytest.mark.slow
def test_rows_are_paired_and_a_bench_goes_on_where_it_stopped(host, tmp_path):
    bench = PolicyBench(host=host, folder=tmp_path, policies=("vanilla", "monl"), per_task=True, seeds=(0, 1), **TINY)
    report = bench()
    assert list(report.excess) == ["vanilla", "monl", PER_TASK]
    assert all(len(seeds) == 2 for tasks in report.excess.values() for seeds in tasks.values())
    assert report.relative(PER_TASK, "joint") == report.relative("vanilla", "joint")
    assert report.relative("monl", "a2v") != report.relative("vanilla", "a2v")
    assert report.relative("monl") == pytest.approx(
        [sum(report.relative("monl", task)[seed] for task in TASKS) / 5 for seed in range(2)]
    )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = attrs.evolve(bench)()
    assert again.to_dict() == report.to_dict()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    report.write(tmp_path / "made" / "report.json")
    assert (tmp_path / "made" / "report.json").is_file()
    assert len(report.tables()) == 1 + 2 * bool(report.samples)
    with pytest.raises(CheckpointError, match="another optimisation"):
        attrs.evolve(bench, steps=3)()


def test_the_joint_tasks_own_policy_is_vanilla(host):
    keys, layout = random.example_keys(0, range(9)), PolicyBench(host=host, folder=None, **TINY).world.layout
    drawn = [
        component.build(host, "policy").sample(layout, keys, num_levels=1000)
        for component in (Component("task", {"task": "joint"}), Component("vanilla"))
    ]
    assert torch.equal(*drawn)


@attrs.frozen(eq=False)
class Deaf:
    """A denoiser that ignores what is given: each coordinate by itself."""

    inner: object

    layout = property(lambda self: self.inner.layout)
    schedule = property(lambda self: self.inner.schedule)

    def __call__(self, z, t, *, given, keys, self_condition=None):
        world = self.inner.world
        alone = GaussianWorld(world.layout, world.mean, torch.diag(world.covariance.diagonal()))
        return Prediction(alone.posterior_mean(z, t, self.schedule), "x0", z, t, self.schedule, self.layout)


def test_errors_of_samples_are_small_for_the_exact_denoiser_and_large_for_one_that_is_deaf(host, tmp_path):
    bench = PolicyBench(host=host, folder=tmp_path, **TINY)
    world, given = bench.world, host.build("task", "continue").given(bench.world.layout)
    plan = host.build("plan", "full", steps=20)(world.layout, given, num_levels=1000)
    exact, ddim = world.denoiser(bench.schedule), host.build("sampler", "ddim")
    good, bad = (sample_errors(one, ddim, plan, world, dtype=torch.float64) for one in (exact, Deaf(exact)))
    floor = exact_errors(given, world)
    assert good.mean < 0.15
    assert good.covariance < 2 * floor.covariance
    gain = world.conditional(given).gain
    shown = world.covariance[~world.conditional(given).free][:, ~world.conditional(given).free]
    missed = (gain @ shown @ gain.T).trace() / world.conditional(given).covariance.trace()
    assert bad.mean == pytest.approx(float(missed) ** 0.5, rel=0.2)
    assert bad.covariance > 2 * good.covariance


class WithBaseline(Host):
    """A host that has replacement guidance, which here is none."""

    def __init__(self, host):
        self.__dict__.update(host.__dict__)

    def names(self, kind):
        return ["replacement"] if kind == "guidance" else super().names(kind)

    def build(self, kind, name, /, **parameters):
        return (lambda denoiser: denoiser) if kind == "guidance" else super().build(kind, name, **parameters)


def test_baselines_are_measured_on_samples_where_they_are_installed(host, tmp_path):
    bench = PolicyBench(host=WithBaseline(host), folder=tmp_path, policies=("vanilla", "monl"), **TINY)
    report = bench()
    assert list(report.samples) == ["vanilla + replacement", "monl", "exact denoiser", "exact draws"]
    for tasks in report.samples.values():
        assert list(tasks) == ["a2v", "v2a", "continue", "inpaint"]
    assert report.samples["exact draws"]["a2v"].covariance < report.samples["monl"]["a2v"].covariance
    assert report.to_dict()["samples"]["monl"]["a2v"].keys() == {"mean", "covariance"}
    assert len(report.tables()) == 3
