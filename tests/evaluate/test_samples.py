"""What is measured of generated clips, and what is not."""

from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import attrs
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.errors import PluginError
from mmseqdiff.evaluate.clips import read_folder
from mmseqdiff.evaluate.run import conditional_tasks
from mmseqdiff.evaluate.samples import checked, fitting_metrics, generate_comparisons, given_part, measure_samples
from mmseqdiff.layout import Track
from mmseqdiff.pipeline import build_task, load
from mmseqdiff.protocols import Metric


@pytest.fixture(scope="module")
def pipeline(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    return load(tiny.tiny_run(host, folder, tiny.tiny_clips(host, folder / "clips")), host=host)


@pytest.fixture(scope="module")
def clips(pipeline, tmp_path_factory, host):
    return read_folder(pipeline, tiny.tiny_clips(host, tmp_path_factory.mktemp("clips")))[0]


@given(
    lengths=st.lists(st.fractions("1/50", 2, max_denominator=50), min_size=1, max_size=6),
    rate=st.sampled_from([Fraction(8), Fraction(25, 3), Fraction(100)]),
    extra=st.integers(-3, 3),
    data=st.data(),
)
def test_a_frame_belongs_to_the_cell_that_holds_its_middle(lengths, rate, extra, data):
    edges = [sum(lengths[:n], Fraction(0)) for n in range(len(lengths) + 1)]
    track = Track("video", edges)
    cells = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    length = max(int(edges[-1] * rate) + extra, 0)
    expected = [bool(cells[track.segment_at((n + Fraction(1, 2)) / rate)]) for n in range(length)]
    assert given_part(track, cells, rate, length).tolist() == expected


def test_metrics_are_those_that_say_something_about_the_task(pipeline, clips):
    expected = {"a2v": {"mouth_alignment"}, "continue": {"identity_consistency"}, "joint": set(), "v2a": set()}
    for name, metrics in expected.items():
        plan = pipeline.plan(build_task(pipeline.assembly.host, name))
        assert set(fitting_metrics(pipeline, plan, clips)) == metrics
    elsewhere = [attrs.evolve(clips[0], file=clips[0].file.with_stem("without truth"))]
    assert not fitting_metrics(pipeline, pipeline.plan(build_task(pipeline.assembly.host, "a2v")), elsewhere)


def test_tasks_without_a_condition_or_given_twice_are_left_out(pipeline):
    assert list(conditional_tasks(pipeline)) == ["a2v", "continue", "inpaint", "v2a"]


def test_generated_clips_follow_their_own_condition_whatever_the_batch(pipeline, clips):
    task = build_task(pipeline.assembly.host, "continue")
    plan = pipeline.plan(task)
    whole = generate_comparisons(pipeline, task, plan, clips, seed=5)
    single = generate_comparisons(pipeline, task, plan, clips, seed=5, batch_size=1)
    for n, (one, other) in enumerate(zip(whole, single)):
        for name, signal in one.generated.items():
            torch.testing.assert_close(signal, other.generated[name], atol=1e-3, rtol=0)
            assert torch.equal(one.real[name], clips[n].signals[name][: len(signal)])
            assert one.given[name].sum() == pytest.approx(float(Fraction(5, 8) * one.rates[name]), abs=160)
    assert whole[0].given["video"].tolist() == [True] * 5 + [False] * 12
    full = pipeline.encode(task, {name: signal[None] for name, signal in clips[1].signals.items()})
    decoded = pipeline.assembly.modalities["audio"].decode(full["audio"])[0]
    early = 2000  # samples that only given latents reach
    torch.testing.assert_close(whole[1].generated["audio"][:early], decoded[:early], atol=1e-5, rtol=0)


def test_the_baseline_is_the_next_clips_truth(pipeline, clips):
    class Brightness:
        better = MappingProxyType({"gap": "lower"})

        def __call__(self, comparison):
            return {"gap": (comparison.generated["video"].mean() - comparison.real["video"].mean()).abs().item()}

    task = build_task(pipeline.assembly.host, "a2v")
    made = generate_comparisons(pipeline, task, pipeline.plan(task), clips)
    test = measure_samples({"brightness": Brightness()}, made)["brightness"]["gap"]
    generated = [comparison.generated["video"].mean().item() for comparison in made]
    real = [clip.signals["video"].mean().item() for clip in clips]
    assert test.own == pytest.approx([abs(a - b) for a, b in zip(generated, real)], abs=1e-5)
    assert test.other == pytest.approx([abs(a - b) for a, b in zip(generated, real[1:] + real[:1])], abs=1e-5)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_said_with_its_metric_and_file(number):
    class Broken(Metric):
        better = MappingProxyType({"error": "lower"})

        def __call__(self, comparison):
            return {"error": number}

    with pytest.raises(PluginError, match=r"Broken returned error = \w+ for clip\.mp4, expected a finite number"):
        checked(Broken(), Broken()(None), Path("clip.mp4"))
