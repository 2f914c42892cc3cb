"""What a pipeline reads of files for a task: everything that is known and nothing else."""

import math
import warnings
from fractions import Fraction as F
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import tiny
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mmseqdiff.assembly import Assembly, build_modalities, layout_of
from mmseqdiff.errors import PluginError, UserError
from mmseqdiff.modality import Modality
from mmseqdiff.pipeline import Pipeline, build_task
from mmseqdiff.recipe import Component, load_recipe
from mmseqdiff.train.denoiser import usual_tasks


@pytest.fixture(scope="module")
def pipeline(host):
    torch.manual_seed(0)
    return Pipeline(Assembly.from_recipe(tiny.tiny_recipe(host, "sampling.plan.steps=1"), host))


@pytest.fixture(scope="module")
def files(host, tmp_path_factory):
    (clip,) = tiny.tiny_clips(host, tmp_path_factory.mktemp("clips"), count=1).glob("*.mp4")
    return {"video": clip, "audio": clip}


@pytest.fixture(scope="module")
def whole(pipeline, files):
    return {
        name: modality.read(files[name], F(0), pipeline.seconds)
        for name, modality in pipeline.assembly.modalities.items()
    }


TIMES = st.fractions(0, F(17, 8), max_denominator=1000)


@given(spans=st.lists(st.tuples(TIMES, TIMES).filter(lambda p: p[0] < p[1]), min_size=1, max_size=3))
def test_a_frame_is_read_just_where_it_is_known(pipeline, files, whole, spans):
    task = build_task(pipeline.assembly.host, " ".join(f"{name}:{a}-{b}" for name in whole for a, b in spans))
    try:
        read = pipeline.read(task, files, F(0), "ranges")
    except UserError:
        assume(False)  # a cell is given of which no whole frame is
    for name, stretches in task.known(pipeline.layout).items():
        rate = pipeline.assembly.modalities[name].format.rate
        expected = torch.zeros_like(whole[name])
        for a, b in stretches:
            shown = slice(math.ceil(a * rate), math.floor(b * rate))
            expected[shown] = whole[name][shown]
        torch.testing.assert_close(read[name][0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ["video:0.19-2.125", "video:0.3-1 audio:0.3-1", "inpaint", "a2v", "v2a"])
def test_what_is_given_is_coded_as_if_all_of_the_clip_had_been_read(pipeline, files, whole, text):
    task = build_task(pipeline.assembly.host, text)
    read = pipeline.encode(task, pipeline.read(task, files, F(0), "ranges"))
    held = pipeline.encode(task, {name: signal[None] for name, signal in whole.items()})
    for name, latents in held.items():
        torch.testing.assert_close(read[name], latents, atol=1e-4, rtol=0)


def test_a_format_that_reads_less_than_asked_is_an_error(pipeline, files, monkeypatch):
    video = pipeline.assembly.modalities["video"]

    class Short(type(video.format)):
        def read(self, path, start, seconds):
            return super().read(path, start, seconds)[:-1]

    short = Short(*attrs.astuple(video.format))
    monkeypatch.setitem(pipeline.assembly.modalities, "video", attrs.evolve(video, format=short))
    with pytest.raises(PluginError, match="signal of"):
        pipeline.read(build_task(pipeline.assembly.host, "continue"), files, F(0), "ranges")


@pytest.mark.parametrize("text", ["video:0-0.12", "video:0-0.12 video:1-2.125"])
def test_a_cell_of_which_no_whole_frame_is_given_is_an_error(pipeline, files, text):
    """A tolerance in time gives the cell; black, or a frame from elsewhere, would be its condition."""
    task = build_task(pipeline.assembly.host, text)
    assert pipeline.plan(task).given[0, 0]
    with pytest.raises(UserError, match="gives video between 0 and 0.125 s, but no whole frame"):
        pipeline.read(task, files, F(0), "ranges")


def test_usual_tasks_of_every_recipe_can_be_planned_and_read(host, monkeypatch):
    """A stretch of all modalities may be too short for a segment of one, as the end of ``interpolate`` is for ViZDoom's pictures."""
    monkeypatch.setattr(Modality, "read", lambda self, path, start, seconds: torch.zeros(self.format.shape(seconds)))
    tried = set()
    for name in host.names("recipe"):
        recipe = load_recipe(host, name)
        with torch.device("meta"):
            modalities = build_modalities(recipe, host)
        layout, schedule = layout_of(recipe, modalities), recipe.schedule.build(host, "schedule")
        parts = SimpleNamespace(recipe=recipe, host=host, modalities=modalities, layout=layout, schedule=schedule)
        model = Pipeline(parts)
        for task in usual_tasks(host, model.layout).values():
            model.plan(task, steps=1)
            model.read(task, dict.fromkeys(model.layout.modalities, Path("clip.mp4")), F(0), "ranges")
            tried.add((name, type(task)))
    assert len(tried) > 10


@given(data=st.data(), stop=TIMES.filter(lambda time: time > 0))
def test_every_given_cell_shows_a_frame_or_the_task_is_refused(pipeline, files, data, stop):
    name = data.draw(st.sampled_from(pipeline.layout.modalities))
    task = build_task(pipeline.assembly.host, f"{name}:0-{stop}")
    rate = pipeline.assembly.modalities[name].format.rate
    cells = pipeline.layout.split(task.given(pipeline.layout))[name].tolist()
    shown = math.floor(stop * rate) / rate
    black = any(is_given and left >= shown for (left, _), is_given in zip(pipeline.layout.track(name).intervals, cells))
    if black:
        with pytest.raises(UserError, match="no whole frame or sample"):
            pipeline.read(task, files, F(0), "ranges")
    else:
        pipeline.read(task, files, F(0), "ranges")


def test_conditions_that_there_are_not_are_refused(pipeline, files):
    """Else what is hidden would be encoded as black and silent, and taken for signal."""
    task = build_task(pipeline.assembly.host, "inpaint")
    with pytest.raises(UserError, match="conditions should be one of ranges, clip, not 'Clip'"):
        pipeline.read(task, files, F(0), "Clip")
    with pytest.raises(UserError, match="not 'all'"):
        pipeline.encode(task, {}, "all")


def same(one, other):
    return all(torch.equal(one.signals[name], other.signals[name]) for name in one.signals)


def test_objects_and_names_and_components_are_taken_alike(pipeline, files):
    host = pipeline.assembly.host
    ways = [
        {"plan": "cascade:leads.audio=1,steps=2", "sampler": "heun", "guidance": "cfg:scale=3"},
        {
            "plan": Component("cascade", {"leads": {"audio": 1}, "steps": 2}),
            "sampler": Component("heun"),
            "guidance": Component("cfg", {"scale": 3}),
        },
        {
            "plan": host.build("plan", "cascade", leads={"audio": 1}, steps=2),
            "sampler": host.build("sampler", "heun"),
            "guidance": host.build("guidance", "cfg", scale=3),
        },
    ]
    first, *others = [pipeline.generate("continue", **way, **files)[0] for way in ways]
    assert all(same(first, other) for other in others)
    (plain,) = pipeline.generate("continue", **files)
    assert not same(plain, first)
    with pytest.raises(UserError, match="the steps of .*Cascade.* are its own"):
        pipeline.generate("continue", steps=3, **{**ways[2], **files})
    with pytest.raises(UserError, match="the plan 'cascade' does not fit"):
        pipeline.generate("joint", plan="cascade:leads.pose=1")


def test_a_matrix_that_was_never_trained_is_warned_of(host, files):
    torch.manual_seed(0)
    recipe = tiny.tiny_recipe(host, "sampling.plan.steps=1", "policy=vanilla")
    model = Pipeline(Assembly.from_recipe(recipe, host))
    with pytest.warns(UserWarning, match="never"):
        model.generate("a2v", **files)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate("joint")


@pytest.mark.parametrize(
    "text",
    ["video:5-6", "video:0-0.01", "video:0-1 audio:2.121-2.122", "audio:2-3 audio:5-6", "video:0-0.625 video:1-1.25"],
)
def test_a_range_that_gives_nothing_is_an_error(pipeline, text):
    """Sampling would go on without it, and nobody would know."""
    with pytest.raises(UserError, match="the task gives"):
        pipeline.plan(build_task(pipeline.assembly.host, text))
