"""The exactness laboratory: orders that theory promises, and moments that are exact."""

import importlib
import json

import pytest
import torch
from typer.testing import CliRunner

from mmseqdiff import random
from mmseqdiff.bench.exact import INSIDE, LOG_SNR, Laboratory, bench_exact, default_samplers, uniform_in_log_snr
from mmseqdiff.bench.exact_report import Convergence, fitted_order
from mmseqdiff.bench.moments import noise_streams, push
from mmseqdiff.cli import app
from mmseqdiff.errors import UserError

generate_module = importlib.import_module("mmseqdiff.generate")

ORDERS = {
    "ddim": (1, 1),
    "heun": (2, 2),
    "dpmpp_2m": (2, 2),
    "dpmpp_3m": (2, 3),
    "unipc:order=1": (2, 2),
    "unipc:order=2": (3, 3),
    "unipc:order=3": (3.2, 3.2),  # 4 but for the first corrector, UniC-1, which leaves h³ of a small constant
}
"""Sampler → order with a first-order start, and given an exact history."""


@pytest.fixture(scope="module")
def laboratory(host):
    return Laboratory.build(host)


def build(laboratory, text):
    name, _, parameters = text.partition(":")
    values = dict(part.split("=") for part in parameters.split(",") if part)
    return laboratory.host.build("sampler", name, **{key: json.loads(value) for key, value in values.items()})


@pytest.mark.parametrize("text", ORDERS)
def test_solvers_have_the_order_that_theory_promises(laboratory, text):
    sampler, steps = build(laboratory, text), (16, 32)
    ends = laboratory.schedule.level(torch.tensor(INSIDE, dtype=torch.float64)).tolist()
    for exact_history, order in zip((False, True), ORDERS[text]):
        errors = [
            laboratory.flow_error(
                sampler, "a2v", uniform_in_log_snr(laboratory.schedule, *ends, count), exact_history=exact_history
            )
            for count in steps
        ]
        assert fitted_order(steps, errors) == pytest.approx(order, abs=0.35), (exact_history, errors)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["joint", "a2v", "inpaint"])
def test_orders_from_t_to_level_1(laboratory, task):
    """A Gaussian world shows order 3 as 4 from T to 1; see the module's text."""
    report = bench_exact(laboratory, list(ORDERS), [], [task], (16, 32, 64, 128, 256), [])
    found = {(entry.sampler, entry.where, entry.exact_history): entry.order for entry in report.convergence}
    for where in ("T to 1", "inside"):
        assert found["ddim", where, False] == pytest.approx(1, abs=0.1)
        assert found["heun", where, False] == pytest.approx(2, abs=0.15)
        assert found["dpmpp_2m", where, False] == pytest.approx(2, abs=0.25)
        for order in (1, 2):
            assert found[f"unipc:order={order}", where, False] >= order + 0.5
    assert found["unipc:order=3", "T to 1", False] >= 3.5
    assert found["unipc:order=3", "inside", False] > 3
    assert found["dpmpp_3m", "inside", True] == pytest.approx(3, abs=0.2)
    assert found["dpmpp_3m", "inside", False] == pytest.approx(2, abs=0.3)
    assert found["dpmpp_3m", "T to 1", True] > 3


@pytest.mark.parametrize("text", ["ddpm", "dpmpp_sde_2m", "ddim:eta=0.5"])
def test_shortened_bases_are_exact(laboratory, text, monkeypatch):
    """Against the whole basis of all noise, pushed through the sampling loop itself."""
    world, schedule, sampler = laboratory.world, laboratory.schedule, build(laboratory, text)
    given = laboratory.given("a2v")
    plan, dimension, draws = laboratory.plan("full", given, 5), len(world.mean), []
    batch = 1 + dimension * (plan.steps + 1)

    def basis(layout, keys, stream, counts=None, dtype=None):
        vectors = torch.zeros(batch, dimension, dtype=torch.float64)
        first = 1 + dimension * len(draws)
        draws.append(stream)
        vectors[first : first + dimension] = torch.eye(dimension, dtype=torch.float64)
        return world.unflatten(vectors)

    monkeypatch.setattr(generate_module, "normal_latents", basis)
    made = world.flatten(
        generate_module.generate(
            world.denoiser(schedule, "v"), sampler, plan, random.example_keys(0, range(batch)),
            given=world.unflatten(laboratory.fact.expand(batch, -1)), dtype=torch.float64,
        )
    )  # fmt: skip
    expected = made[1:] - made[0]
    free = world.conditional(given).free
    start = torch.cat([torch.zeros(1, dimension), torch.eye(dimension)]).double()
    pushed = push(world, schedule, sampler, plan.levels, given, laboratory.whole(start[:, free], given))
    columns = pushed[1:] - pushed[0]
    torch.testing.assert_close(pushed[0], made[0])
    torch.testing.assert_close(columns.T @ columns, expected.T @ expected)


@pytest.mark.parametrize("text", ["ddpm", "dpmpp_sde_2m", "analytic_dpm", "analytic_ddim"])
def test_the_covariance_of_stochastic_samplers_converges_to_the_true_one(laboratory, text):
    sampler, given, found = build(laboratory, text), laboratory.given("a2v"), []
    for steps in (32, 64):
        plan = laboratory.plan(LOG_SNR, given, steps)
        found.append(laboratory.truth_error(laboratory.calibrated(sampler, plan), plan)[1])
    assert found[1] < 0.65 * found[0], found
    assert found[1] < 0.15


def test_an_exact_solver_is_floored_by_its_start_and_its_last_step(laboratory):
    given = laboratory.given("a2v")
    plan = laboratory.plan("full", given, 20)
    floors = laboratory.floors(plan)
    best = build(laboratory, "unipc:order=3")
    assert floors["start"][1] < 1e-3 < floors["last step"][1]
    assert floors["both"][1] == pytest.approx(floors["last step"][1], rel=0.1)
    assert laboratory.truth_error(best, plan)[1] == pytest.approx(floors["both"][1], rel=0.5)


def test_which_samplers_draw_noise_and_which_there_are(laboratory):
    given = laboratory.given("joint")
    levels = laboratory.matrices(torch.tensor([800.0, 400.0], dtype=torch.float64), given)
    names = default_samplers(laboratory.host)
    assert {name.partition(":")[0] for name in names} == set(laboratory.host.names("sampler"))
    for name, drawn in (("ddpm", ["ddpm"]), ("ddim", []), ("heun", [])):
        sampler = build(laboratory, name)
        assert noise_streams(laboratory.world, laboratory.schedule, sampler, levels, given) == drawn


def test_an_order_is_fitted_above_rounding():
    entry = Convergence("a", "joint", "inside", False, (1, 2, 4, 8), (1.0, 0.25, 0.0625, 1e-15))
    assert entry.order == pytest.approx(2)
    assert fitted_order((1, 2), (0.0, 1e-14)) != fitted_order((1, 2), (0.0, 1e-14)), "NaN"


def test_the_command_prints_tables_and_json_and_draws(tmp_path):
    png = tmp_path / "errors.png"
    options = ["--sampler", "ddim", "--task", "a2v", "--steps", "4,8", "--evaluations", "4", "--plan", "log_snr"]
    found = CliRunner().invoke(app, ["bench", "exact", *options, "--json", "--png", str(png)])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert [entry["steps"] for entry in report["convergence"]] == [[4, 8]] * 2
    assert report["truth"][0]["evaluations"] == 4
    assert png.read_bytes().startswith(b"\x89PNG")
    found = CliRunner().invoke(app, ["bench", "exact", *options])
    assert "order" in found.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "4,x"], "--steps is a list of positive whole numbers"),
        (["--evaluations", "0"], "--evaluations is a list of positive whole numbers"),
        (["--schedule", "zero_terminal_snr", "--sampler", "ddim"], "there are no equal steps between"),
        (["--sampler", "dddim"], "did you mean 'ddim'"),
    ],
)
def test_bad_input_is_refused(options, message):
    found = CliRunner().invoke(app, ["bench", "exact", *options])
    assert isinstance(found.exception, UserError)
    assert message in str(found.exception)
