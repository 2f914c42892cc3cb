"""Clips of any length: exact lengths, windows that start with the end of the one before, memory that does not grow."""

import gc
from fractions import Fraction

import av
import memory
import pytest
import tiny
import torch

from mmseqdiff import random
from mmseqdiff.assembly import Assembly
from mmseqdiff.cli import app
from mmseqdiff.errors import UserError
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.long import Windows, generate_long
from mmseqdiff.pipeline import Pipeline
from mmseqdiff.recipe import Component


@pytest.fixture(scope="module")
def pipeline(host):
    """Codecs as initialised, and a network whose weights are not zero."""
    torch.manual_seed(0)
    assembly = Assembly.from_recipe(tiny.tiny_recipe(host, "sampling.plan.steps=1"), host)
    with torch.no_grad():
        for weight in assembly.backbone.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return Pipeline(assembly)


@pytest.fixture(scope="module")
def clips(host, tmp_path_factory):
    return tiny.tiny_clips(host, tmp_path_factory.mktemp("clips"), count=1)


@pytest.fixture(scope="module")
def run(host, clips, tmp_path_factory):
    return tiny.tiny_run(host, tmp_path_factory.mktemp("long"), clips)


def joined(clip):
    parts = list(clip)
    return parts, {name: torch.cat([part[name] for part in parts]) for name in clip.formats}


@pytest.mark.parametrize("seconds", ["1/8", "1.3", "2.12", "17/8", "3.5", "29/8", "8.003"])
def test_both_tracks_are_as_long_as_asked_for(pipeline, seconds):
    clip = generate_long(pipeline, "joint", Fraction(seconds))
    parts, whole = joined(clip)
    assert len(whole["video"]) == int(Fraction(seconds) * 8) == clip.lengths["video"]
    assert len(whole["audio"]) == int(Fraction(seconds) * 16_000) == clip.lengths["audio"]
    # 2.12 s of sound in the first window and 1.5 s in every other: the fewest that reach so far
    assert len(parts) == clip.windows == 1 + max(0, -int(-(Fraction(seconds) - Fraction(53, 25)) // Fraction(3, 2)))


def test_every_window_but_the_first_is_given_the_end_of_the_one_before(pipeline, clips, monkeypatch):
    sampled, decoded = [], []
    sample, decode = Pipeline.sample, Pipeline.decode
    monkeypatch.setattr(
        Pipeline,
        "sample",
        lambda self, plan, keys, given, **rest: (
            sampled.append((plan, keys, given)) or sample(self, plan, keys, given, **rest)
        ),
    )

    def watched(self, latents, seconds=None):
        decoded.append(decode(self, latents, seconds))
        return decoded[-1]

    monkeypatch.setattr(Pipeline, "decode", watched)
    file = clips / "000000.mp4"
    parts, whole = joined(generate_long(pipeline, "continue", 5.5, video=file, audio=file, seed=4))
    assert len(parts) == len(sampled) == len(decoded) == 4
    modalities = pipeline.assembly.modalities
    overlaps = {"video": (12, 5, Fraction(5, 8)), "audio": (24_000, 9_920, Fraction(31, 50))}
    ends = {"video": 17, "audio": 33_920}
    for w, (plan, _, given) in enumerate(sampled):
        assert plan.given.sum(1).tolist() == [2, 31], "cut at the same instant, as the task itself cuts"
        for name, (hop, length, known) in overlaps.items():
            part = decoded[w][name][0]
            if w:
                before = decoded[w - 1][name][:, hop : hop + length]
                assert hop + length == ends[name]
                signal = torch.cat([before, torch.rand_like(decoded[w - 1][name])], dim=1)[:, : part.shape[0]]
                signal = torch.nn.functional.pad(signal, (0, 80)) if name == "audio" else signal
                cells = plan.given[pipeline.layout.row(name)]
                expected = modalities[name].encode(signal, ((Fraction(0), known),))
                torch.testing.assert_close(
                    given[name][:, cells[: given[name].shape[1]]], expected[:, cells[: expected.shape[1]]]
                )
            # a window where it is alone, else a mean of two that moves from one to the other
            alone = whole[name][hop * w + length : hop * (w + 1)]
            assert torch.equal(alone, part[length:hop][: len(alone)])
            if w:
                for k in range(0, length, 97 if name == "audio" else 1):
                    old, new = decoded[w - 1][name][0, hop + k], part[k]
                    mean = ((length - k) * old + (k + 1) * new) / (length + 1)
                    torch.testing.assert_close(whole[name][hop * w + k], mean)
    assert len({int(keys) for _, keys, _ in sampled}) == 4, "every window draws its own noise"
    assert int(sampled[0][1]) == int(random.example_keys(4, [0]))


def test_it_starts_as_the_clip_of_ordinary_length_and_longer_clips_only_go_on(pipeline, clips):
    file = clips / "000000.mp4"
    ordinary = pipeline.generate("continue", video=file, audio=file, seed=2, num=2)[1].signals
    short, long = (
        joined(generate_long(pipeline, "continue", seconds, video=file, audio=file, seed=2, sample=1))[1]
        for seconds in (3, 5)
    )
    for name, hop in {"video": 12, "audio": 24_000}.items():
        torch.testing.assert_close(long[name][:hop], ordinary[name][:hop], atol=1e-5, rtol=0)
        assert torch.equal(
            long[name][: 2 * hop], short[name][: 2 * hop]
        )  # from there on only the longer has a third window
    whole = joined(generate_long(pipeline, "continue", 2, video=file, audio=file, seed=2, sample=1))[1]
    for name, signal in whole.items():
        torch.testing.assert_close(signal, ordinary[name][: len(signal)], atol=1e-5, rtol=0)


def alive():
    """Bytes in tensors that something still holds."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) is torch.Tensor:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_what_is_held_does_not_grow_with_the_length(pipeline):
    held = []
    for piece in generate_long(pipeline, "joint", 14):
        held.append(alive() - sum(signal.untyped_storage().nbytes() for signal in piece.values()))
        assert all(signal.untyped_storage().nbytes() == signal.numel() * 4 for signal in piece.values())
        del piece
    assert len(held) == 9
    assert max(held[1:-1]) == min(held[1:-1])


def test_plans_sampler_and_guidance_reach_every_window(pipeline, monkeypatch):
    seen = []
    monkeypatch.setattr(Pipeline, "sample", lambda self, plan, keys, given, **rest: seen.append((plan, rest)) or {
        track.modality: torch.zeros(1, *track.shape) for track in self.layout.tracks
    })  # fmt: skip
    options = {"sampler": Component("ddpm"), "guidance": Component("cfg")}
    list(generate_long(pipeline, "joint", 4, plan=Component("autoregressive"), steps=2, **options))
    assert [plan.steps for plan, _ in seen] == [10, 6, 6]  # five blocks, then the three that are not given
    assert all(rest == options for _, rest in seen)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("a2v", {}, "can be given its start, or nothing"),
        ("inpaint", {}, "can be given its start, or nothing"),
        ("joint", {"seconds": 0}, "a clip of 0 s holds nothing"),
        ("joint", {"overlap": 3}, r"windows of 2.125 s cannot overlap by 3 s"),
        ("joint", {"overlap": 0}, "cannot overlap by 0 s"),
        (
            "joint",
            {"overlap": 0.6},
            r"a window start 12.2 frames of video after the one before, .* video has 8 a second",
        ),
        ("continue", {}, "the task is given video, so it needs a file"),
        ("joint", {"pose": "x.mp4"}, "the model has no modality 'pose'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_generated(pipeline, task, options, message):
    with pytest.raises(UserError, match=message):
        generate_long(pipeline, task, **{"seconds": 4, **options})


def test_a_track_needs_a_whole_segment_of_overlap(pipeline):
    layout = Layout([Track("video", uniform_edges(2, 1)), Track("audio", uniform_edges(100, 50))])
    formats = {name: modality.format for name, modality in pipeline.assembly.modalities.items()}
    with pytest.raises(UserError, match=r"an overlap of 0.5 s is shorter than one segment of video"):
        Windows.of(layout, formats, Fraction(2), Fraction(1, 2))


def command(*words):
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words])
    return ended.value.code


def test_the_command_streams_to_a_playable_file(run, clips, tmp_path, capsys):
    file, out = clips / "000000.mp4", tmp_path / "long.mp4"
    words = ("generate", "continue", "--model", run, "--video", file, "--audio", file, "--out", out, "--steps", 1)
    assert command(*words, "--seconds", 6.5) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    assert list(tmp_path.iterdir()) == [out]
    with av.open(str(out)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert abs(video.duration * video.time_base - 6.5) < 1e-6
        assert abs(float(audio.duration * audio.time_base) - 6.5) < 0.1  # aac comes in blocks of 64 ms
        assert sum(1 for _ in container.decode(video)) == 52
        container.seek(0)
        assert sum(frame.samples for frame in container.decode(audio)) >= 104_000
    assert command(*words, "--seconds", 2.5, "--num", 2) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long-000.mp4", "long-001.mp4", "long.mp4"]
    assert (tmp_path / "long-000.mp4").read_bytes() != (tmp_path / "long-001.mp4").read_bytes()


def test_an_interrupt_leaves_no_broken_file_and_keeps_the_old_one(run, clips, tmp_path, monkeypatch):
    sample, out = Pipeline.sample, tmp_path / "long.mp4"
    out.write_text("the old one")
    calls = []

    def interrupted(self, *rest, **options):
        calls.append(None)
        if len(calls) == 3:
            assert len(list(tmp_path.iterdir())) == 2
            raise KeyboardInterrupt
        return sample(self, *rest, **options)

    monkeypatch.setattr(Pipeline, "sample", interrupted)
    words = ("generate", "joint", "--model", run, "--out", out, "--steps", 1, "--seconds", 9)
    assert command(*words) == 130
    assert len(calls) == 3
    assert out.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [out]


PEAK = """
import sys, torch
from pathlib import Path
from mmseqdiff.data.media import clip_writer
from mmseqdiff.long import generate_long
from mmseqdiff.pipeline import load
torch.set_num_threads(1)
clip = generate_long(load(sys.argv[1]), "joint", float(sys.argv[3]), steps=1)
with clip_writer(Path(sys.argv[2]), clip.formats) as writer:
    for piece in clip:
        writer.write(piece)
"""


@pytest.mark.slow
def test_sixty_seconds_take_the_memory_of_two(run, tmp_path):
    peaks = [memory.run(PEAK, run, tmp_path / "clip.mp4", seconds)[1] for seconds in (2, 60)]
    assert peaks[1] < 1.1 * peaks[0]
