"""Changing the signal outside the given ranges changes no bit of the output: codecs as initialised, a tiny network."""

import pytest
import tiny
import torch

from mmseqdiff import random
from mmseqdiff.assembly import Assembly
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.testing.contracts import bits

TASKS = {
    "joint": {}, "a2v": {}, "v2a": {}, "continue": {}, "inpaint": {}, "interpolate": {},
    "cross_modal": {"modalities": ["video"]}, "ranges": {"text": "video:0.1-0.7 audio:0.3-0.9 audio:1.5-2"},
}  # fmt: skip


@pytest.fixture(scope="module")
def pipeline(host):
    torch.manual_seed(0)
    assembly = Assembly.from_recipe(tiny.tiny_recipe(host, "sampling.plan.steps=1"), host)
    with torch.no_grad():
        for weight in assembly.backbone.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return Pipeline(assembly)


@pytest.fixture(scope="module")
def clips(pipeline):
    """Two clips that share nothing."""
    generator = torch.Generator().manual_seed(1)
    shapes = {name: modality.format.shape(pipeline.seconds) for name, modality in pipeline.assembly.modalities.items()}
    return [{name: torch.rand(1, *shape, generator=generator) for name, shape in shapes.items()} for _ in range(2)]


def agreeing(pipeline, known, clip, other):
    """``other``, made to agree with ``clip`` on every frame and sample that lies in a known stretch."""
    made = {}
    for name, signal in clip.items():
        rate = pipeline.assembly.modalities[name].format.rate
        shown = torch.zeros(signal.shape[1], dtype=torch.bool)
        for start, stop in known[name]:
            first, last = -int(-start * rate // 1), int(stop * rate // 1)
            shown[first:last] = True
        made[name] = torch.where(shown.reshape(1, -1, *(1,) * (signal.ndim - 2)), signal, other[name])
    return made


@pytest.mark.parametrize("task_", TASKS)
def test_law_12_no_bit_of_the_output_changes(host, pipeline, clips, task_):
    task = host.build("task", task_, **TASKS[task_])
    known = task.known(pipeline.layout)
    shown = [clips[0], agreeing(pipeline, known, *clips)]
    assert any(not torch.equal(one, other) for one, other in zip(shown[0].values(), shown[1].values()))
    plan, keys = pipeline.plan(task), random.example_keys(0, [0])
    given = [pipeline.encode(task, signals) for signals in (*shown, clips[1])]
    assert set(given[0]) == {name for name, intervals in known.items() if intervals}
    one, other, changed = (pipeline.sample(plan, keys, latents) for latents in given)
    for name, free in pipeline.layout.split(~plan.given).items():
        assert torch.equal(bits(one[name]), bits(other[name]))
        matters = plan.given.any() and free.any()  # the test can fail: what is given does matter to the rest
        assert (changed[name][:, free] != one[name][:, free]).any() == matters
    if task_ == "inpaint":
        decoded = [pipeline.decode(latents) for latents in (one, other)]
        assert all(torch.equal(bits(decoded[0][name]), bits(decoded[1][name])) for name in one)


def test_law_12_conditions_of_the_whole_clip_do_leak_and_say_so(host, pipeline, clips):
    """What the law guards against: a codec looks further than its cell."""
    task = host.build("task", "inpaint")
    shown = [clips[0], agreeing(pipeline, task.known(pipeline.layout), *clips)]
    whole = [pipeline.encode(task, signals, "clip") for signals in shown]
    cells = pipeline.layout.split(task.given(pipeline.layout))
    leaks = {name: not torch.equal(whole[0][name][:, cells[name]], whole[1][name][:, cells[name]]) for name in cells}
    assert leaks == {"video": True, "audio": True}
