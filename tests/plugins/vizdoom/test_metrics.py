"""The metrics against counting by hand."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_vizdoom.actions import ACTIONS
from mmseqdiff_vizdoom.metrics import MAJORITY, Behaviour, InverseDynamics, PredictionError
from mmseqdiff_vizdoom.player import WEIGHTS

from mmseqdiff.protocols import Comparison
from mmseqdiff.testing import MetricContract

RATE = Fraction(35, 4)


def comparison(generated, real, given_video, given_actions, pictures=None, seed=0):
    """A clip of as many pictures as steps, with actions by their indices."""
    generator = torch.Generator().manual_seed(seed)
    videos = [torch.rand(len(real), 2, 2, 3, generator=generator) for _ in range(2)]
    return Comparison(
        generated={"video": videos[0], "actions": torch.eye(6)[generated]},
        real={"video": videos[1], "actions": torch.eye(6)[real]},
        given={"video": torch.tensor(given_video), "actions": torch.tensor(given_actions)},
        rates={"video": RATE, "actions": RATE},
        file=Path("clip.mkv"),
        start=Fraction(0),
    )


@given(data=st.data(), steps=st.integers(1, 8))
def test_accuracies_count_the_right_steps(data, steps):
    def many(values):
        return data.draw(st.lists(values, min_size=steps, max_size=steps))

    generated, real = many(st.integers(0, 5)), many(st.integers(0, 5))
    shown, known = many(st.booleans()), many(st.booleans())
    between = [n for n in range(steps - 1) if shown[n] and shown[n + 1] and not known[n]]
    last = max([n for n in range(steps) if shown[n]], default=None)
    after = [n for n in range(steps) if last is not None and n + 1 > last and not known[n] and not all(shown)]
    clip = comparison(generated, real, shown, known)
    for metric, counted in ((InverseDynamics(), between), (Behaviour(), after)):
        expected = {}
        if counted:
            expected = {
                "accuracy": sum(generated[n] == real[n] for n in counted) / len(counted),
                "majority": sum(ACTIONS[real[n]] == "forward" for n in counted) / len(counted),
                "chance": 1 / 6,
            }
        assert metric(clip) == pytest.approx(expected)
        assert set(expected) <= set(metric.better)


def test_with_pictures_at_half_the_rate_both_ends_of_a_step_must_be_given():
    clip = comparison([0] * 4, [0] * 4, [True, True, False, False], [False] * 4)
    half = Comparison(**{**{f: getattr(clip, f) for f in ("real", "file", "start")},
        "generated": {**clip.generated, "actions": torch.eye(6)[[0, 0, 0, 1, 1, 1, 1, 1]]},
        "given": {**clip.given, "actions": torch.zeros(8, dtype=torch.bool)}, "rates": {"video": RATE, "actions": 2 * RATE}})  # fmt: skip
    half.real["actions"] = torch.eye(6)[[0] * 8]
    assert InverseDynamics()(half)["accuracy"] == 1  # steps 0, 1, 2; step 3 ends at picture 2
    assert Behaviour()(half)["accuracy"] == 0


@given(shown=st.lists(st.booleans(), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_prediction_error_beside_repeating_the_last_given_picture(shown, seed):
    clip = comparison([0] * len(shown), [0] * len(shown), shown, [True] * len(shown), seed=seed)
    errors, repeats = [], []
    for n, is_given in enumerate(shown):
        before = [k for k in range(n) if shown[k]]
        if not is_given and before:
            real = clip.real["video"]
            errors.append(((clip.generated["video"][n] - real[n]) ** 2).mean().item())
            repeats.append(((real[before[-1]] - real[n]) ** 2).mean().item())
    expected = {"error": sum(errors) / len(errors), "repeat": sum(repeats) / len(repeats)} if errors else {}
    assert PredictionError()(clip) == pytest.approx(expected)


def test_clips_without_actions_are_left_alone():
    clip = comparison([0], [0], [True], [False])
    for name in ("given", "real", "generated"):
        getattr(clip, name).pop("actions")
    assert [metric(clip) for metric in (InverseDynamics(), Behaviour(), PredictionError())] == [{}, {}, {}]


def test_the_majority_is_the_players(host):
    assert max(WEIGHTS, key=WEIGHTS.get) == MAJORITY
    for name in ("inverse_dynamics", "behaviour", "prediction_error"):
        assert callable(host.build("metric", name))


class PlayMetric(MetricContract):
    """What the laws of these metrics are tried with."""

    def comparison(self, data):
        steps = data.draw(st.integers(3, 6))
        generated, real = (data.draw(st.lists(st.integers(0, 5), min_size=steps, max_size=steps)) for _ in "ab")
        shown = data.draw(st.integers(1, steps))
        return comparison(
            generated, real, [n < shown for n in range(steps)], [False] * steps, seed=data.draw(st.integers(0, 9))
        )


class TestInverseDynamics(PlayMetric):
    def build(self):
        return InverseDynamics()


class TestBehaviour(PlayMetric):
    def build(self):
        return Behaviour()


class TestPredictionError(PlayMetric):
    def build(self):
        return PredictionError()
