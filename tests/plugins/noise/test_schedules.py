"""Noise schedules against the numbers of their papers; that their ends are exact is law 2."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_noise.schedules import TableSchedule, cosine, linear, zero_terminal_snr

WHOLE = torch.arange(1001, dtype=torch.float64)


def test_the_linear_table_is_the_papers():
    schedule = linear()
    alpha_bar = schedule.alpha(WHOLE) ** 2
    expected = np.append(1.0, np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
    np.testing.assert_allclose(alpha_bar.numpy(), expected, rtol=1e-12)
    assert f"{alpha_bar[1000]:.3g}" == "4.04e-05"
    assert f"{schedule.log_snr(WHOLE)[1000] / 2:.3g}" == "-5.06"
    np.testing.assert_allclose(schedule.sigma(WHOLE)[1], 0.01, rtol=1e-12)
    assert schedule.num_levels == 1000


def test_the_cosine_table_is_its_formula_but_for_the_last_betas():
    schedule = cosine()
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    expected = np.array(f) / f[0]
    np.testing.assert_allclose((schedule.alpha(WHOLE) ** 2).numpy()[:1000], expected[:1000], rtol=1e-9)
    assert schedule.alpha(WHOLE[-1:]) ** 2 == pytest.approx(1e-3 * expected[999], rel=1e-6), "beta is at most 0.999"
    assert schedule.alpha(torch.tensor([500.0])) ** 2 == pytest.approx(0.4938, abs=1e-4)


@pytest.mark.parametrize("base", [linear(), cosine(), linear(4, 0.1, 0.5)], ids=["linear", "cosine", "short"])
def test_a_zero_terminal_schedule_keeps_its_first_level_and_ends_in_noise(base):
    schedule = zero_terminal_snr(base)
    t = torch.arange(base.num_levels + 1, dtype=torch.float64)
    alpha, before = schedule.alpha(t), base.alpha(t)
    assert alpha[-1] == 0
    assert schedule.sigma(t)[-1] == 1
    assert schedule.log_snr(t)[-1] == -math.inf
    np.testing.assert_allclose(alpha[1], before[1], rtol=1e-12)
    np.testing.assert_allclose(
        alpha[1:], before[1] * (before[1:] - before[-1]) / (before[1] - before[-1]), rtol=1e-9, atol=1e-15
    )
    halfway = schedule.alpha(t[-1] - 0.5)
    np.testing.assert_allclose(halfway, alpha[-2] / 2, rtol=1e-12), "in the last interval alpha itself is linear"
    again = zero_terminal_snr(schedule)
    np.testing.assert_allclose(again.alpha(t), alpha, rtol=1e-12)


SCHEDULES = {
    "linear": linear(),
    "cosine": cosine(),
    "zero": zero_terminal_snr(),
    "one": linear(1),
    "steep": linear(5, 0.1, 0.9),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@given(part=st.floats(0, 1), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_between_whole_levels_log_alpha_bar_is_linear_and_the_level_is_found_again(schedule, part, dtype):
    t = torch.tensor([part * schedule.num_levels], dtype=dtype)
    below = t.double().floor().clamp(max=schedule.num_levels - 1)
    low, high, now = (2 * schedule.alpha(level.double()).log() for level in (below, below + 1, t))
    if high > -math.inf:
        torch.testing.assert_close(now, low + (t.double() - below) * (high - low), rtol=1e-9, atol=1e-12)
    log_snr = schedule.log_snr(t)
    assert log_snr.dtype == schedule.alpha(t).dtype == schedule.sigma(t).dtype == dtype
    tolerance = 1e-3 if dtype == torch.float32 else 1e-6
    torch.testing.assert_close(schedule.level(log_snr), t, rtol=0, atol=tolerance * schedule.num_levels)
    torch.testing.assert_close(
        schedule.alpha(t.double()) ** 2 + schedule.sigma(t.double()) ** 2, torch.ones(1, dtype=torch.float64)
    )


@given(data=st.data())
def test_any_falling_table_is_a_schedule(data):
    falls = data.draw(st.lists(st.floats(0.01, 3), min_size=1, max_size=6))
    table = torch.cat([torch.zeros(1, dtype=torch.float64), -torch.tensor(falls, dtype=torch.float64).cumsum(0)])
    if data.draw(st.booleans()):
        table = torch.cat([table, torch.tensor([-torch.inf], dtype=torch.float64)])
    schedule = TableSchedule(table)
    t = torch.linspace(0, schedule.num_levels, 41, dtype=torch.float64)
    assert (schedule.alpha(t).diff() < 0).all()
    torch.testing.assert_close(schedule.level(schedule.log_snr(t)), t)


def test_tables_are_built_on_the_cpu_even_where_another_device_is_the_default():
    with torch.device("meta"):
        made = [linear(), cosine(), zero_terminal_snr()]
    assert all(schedule.log_alpha_bar.device.type == "cpu" for schedule in made)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear(0), "num_levels >= 1"),
        (lambda: linear(10, 0.0), "0 < first <= last < 1"),
        (lambda: linear(10, 0.5, 0.1), "0 < first <= last < 1"),
        (lambda: linear(10, 0.5, 1.0), "0 < first <= last < 1"),
        (lambda: cosine(10, -1), "offset >= 0"),
        (lambda: cosine(10, max_beta=1), "0 < max_beta < 1"),
        (lambda: TableSchedule(torch.zeros(3)), "a float64 table"),
        (lambda: TableSchedule(torch.zeros(1, dtype=torch.float64)), "at least two levels"),
        (lambda: TableSchedule(torch.tensor([-1.0, -2.0], dtype=torch.float64)), "must start at 0"),
        (lambda: TableSchedule(torch.tensor([0.0, -1.0, -1.0], dtype=torch.float64)), "fall strictly"),
        (lambda: TableSchedule(torch.tensor([0.0, -torch.inf, -torch.inf], dtype=torch.float64)), "fall strictly"),
        (lambda: zero_terminal_snr(linear(1)), "fall strictly"),
    ],
)
def test_what_is_no_schedule_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
