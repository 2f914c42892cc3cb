"""What a pipeline reads of files for a task: everything that is known and nothing else."""

import math
from fractions import Fraction as F

import attrs
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.assembly import Assembly
from mmseqdiff.errors import PluginError, UserError
from mmseqdiff.pipeline import Pipeline, build_task


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
    read = pipeline.read(task, files, F(0), "ranges")
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


@pytest.mark.parametrize("text", ["video:5-6", "video:0-0.01", "video:0-1 audio:2.121-2.122", "audio:2-3 audio:5-6"])
def test_a_range_that_gives_nothing_is_an_error(pipeline, text):
    """Sampling would go on without it, and nobody would know."""
    with pytest.raises(UserError, match="the task gives"):
        pipeline.plan(build_task(pipeline.assembly.host, text))
