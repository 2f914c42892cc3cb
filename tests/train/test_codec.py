import errno
import io
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import torch
import train_fakes as fakes
from rich.console import Console
from torch import nn

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.files import only_writer
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import CheckpointError, MediaError, PluginError, RecipeError, RunError, UserError
from mmseqdiff.recipe import CodecTraining, Component
from mmseqdiff.testing.tiny import tiny_recipe
from mmseqdiff.train import checkpoint
from mmseqdiff.train import signals as signals_module
from mmseqdiff.train.checkpoint import codec_hash
from mmseqdiff.train.codec import train_codec
from mmseqdiff.train.codec_folder import keep_codec, latents_hash, load_codec, save_codec
from mmseqdiff.train.show import side_by_side
from mmseqdiff.train.signals import Signals


@pytest.fixture(autouse=True)
def text_is_media(monkeypatch):
    monkeypatch.setattr("mmseqdiff.data.clips.MEDIA_SUFFIXES", frozenset([".txt"]))


@pytest.fixture
def media(tmp_path) -> Path:
    """Forty files of numbers: file i holds i, i + 1/16 …; one of them is too short."""
    folder = tmp_path / "media"
    folder.mkdir()
    for i in range(40):
        length = 3 if i == 7 else 8 + i % 5
        (folder / f"{i:02d}.txt").write_text("\n".join(str(i + n / 16) for n in range(length)))
    return folder


def recipe(**training):
    defaults = {
        "steps": 30,
        "batch_size": 4,
        "learning_rate": 0.01,
        "warmup_steps": 3,
        "checkpoint_every": 10,
        "ema_decay": 0.5,
    }
    return attrs.evolve(fakes.fake_recipe(), codec_training={"slow": CodecTraining(**(defaults | training))})


def train(recipe, media, out, **options):
    return train_codec(recipe, fakes.fake_host(), "slow", media, out, console=Console(quiet=True), **options)


def test_signals_are_the_files_end_to_end_and_clips_stay_within_one(media, tmp_path):
    signals = Signals.load(media, fakes.LineFormat(), tmp_path / "cache", shortest=6)
    assert len(signals.files) == 39
    assert list(signals.left_out) == ["07.txt"]
    assert "holds 3 of the 6" in signals.left_out["07.txt"]
    keys = torch.arange(4000)
    places = signals.places(keys, 6)
    clips = signals.clips(places, 6)
    assert (clips[:, 1:] - clips[:, :-1] == 1 / 16).all(), "no clip runs into the next file"
    rooms = {(file, start) for file, length in enumerate(signals.lengths) for start in range(length - 6 + 1)}
    assert set(places) == rooms, "every clip can be drawn, the last of a file as well"
    first, last = signals.split(9)
    assert (*first.files, *last.files) == signals.files
    assert torch.equal(last.clips([(0, 1)], 6), signals.clips([(30, 1)], 6))


def test_signals_are_decoded_once_until_a_file_changes(media, tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(fakes.LineFormat, "read", lambda self, path, *rest: (reads.append(path), torch.zeros(8))[1])
    Signals.load(media, fakes.LineFormat(), tmp_path / "cache", shortest=6)
    assert len(reads) == 39
    Signals.load(media, fakes.LineFormat(), tmp_path / "cache", shortest=6)
    assert len(reads) == 39
    (media / "00.txt").write_text("1\n" * 9)
    Signals.load(media, fakes.LineFormat(), tmp_path / "cache", shortest=6)
    assert len(reads) == 78
    with pytest.raises(MediaError, match="no file in .* can be used"):
        Signals.load(media, fakes.LineFormat(), tmp_path / "cache", shortest=60)


def test_signals_are_decoded_again_when_a_file_beside_changes(media, tmp_path):
    class Beside(fakes.LineFormat):
        def files(self, path):
            return (path.with_suffix(".beside"),)

        def read(self, path, *rest):
            return super().read(*self.files(path), *rest)

        def duration(self, path):
            return super().duration(*self.files(path))

    for path in media.glob("*.txt"):
        path.with_suffix(".beside").write_text("1\n" * 8)
    first = Signals.load(media, Beside(), tmp_path / "cache", shortest=6)
    assert (first.data == 1).all()
    (media / "03.beside").write_text("2\n" * 8)
    assert (Signals.load(media, Beside(), tmp_path / "cache", shortest=6).data == 2).sum() == 8


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_signals_that_are_not_all_there_are_decoded_again(media, tmp_path, damage):
    whole = Signals.load(media, fakes.LineFormat(), tmp_path / "cache", shortest=6)
    kept = torch.from_numpy(whole.data.copy())
    file = tmp_path / "cache" / "signals.f16"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-2])
    again = Signals.load(media, fakes.LineFormat(), tmp_path / "cache", shortest=6)
    assert torch.equal(torch.from_numpy(again.data.copy()), kept)


def test_files_are_decoded_only_a_few_ahead():
    """All of them at once might not fit in memory."""
    begun, may_go_on, paths = [], threading.Event(), [Path(str(n)) for n in range(500)]

    def work(path):
        begun.append(path)
        may_go_on.wait()
        return path

    with ThreadPoolExecutor(64) as pool:
        found = signals_module._in_turn(pool, work, paths)
        threading.Timer(0.3, may_go_on.set).start()
        assert next(found) == paths[0]
        assert len(begun) <= 3 * (os.cpu_count() or 1) + 1
        assert list(found) == paths[1:]


def test_training_lowers_the_error_and_leaves_a_codec_that_loads(media, tmp_path):
    out = tmp_path / "codec"
    assert train(recipe(steps=150, learning_rate=0.03, checkpoint_every=75), media, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["component"] == {"name": "line", "codec": {"name": "pair", "channels": 2}, "rate": 2}
    assert manifest["steps"] == 150
    start = train(recipe(steps=1), media, tmp_path / "untrained")
    before = json.loads((tmp_path / "untrained" / "manifest.json").read_text())["quality"]["mse"]
    assert start
    assert manifest["quality"]["mse"] < before / 10
    codec = fakes.PairCodec(2)
    assert load_codec(codec, out) == manifest["hash"] == codec_hash(codec)
    averaged = checkpoint.load_group(checkpoint.newest(out / "checkpoints"), "ema")
    assert all(torch.equal(value, averaged[name]) for name, value in codec.state_dict().items())


def test_micro_batches_make_the_same_codec(media, tmp_path):
    for accumulate in (1, 2):
        training = recipe(steps=5, image_steps=2, image_batch_size=2, accumulate=accumulate)
        assert train(training, media, tmp_path / str(accumulate))
    whole, parts = (checkpoint.load_group(tmp_path / name, "codec") for name in ("1", "2"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=0, atol=1e-5)


def test_images_come_first_and_the_codec_starts_from_them(media, tmp_path, monkeypatch):
    inflated = []
    real = fakes.PairCodec.inflate_from
    monkeypatch.setattr(
        fakes.PairCodec, "inflate_from", lambda self, image: (inflated.append(image), real(self, image))[1]
    )
    out = tmp_path / "codec"
    # With so small a rate the second stage leaves what it started from.
    assert train(recipe(steps=21, image_steps=20, learning_rate=1e-2), media, out)
    image = checkpoint.newest(out / "image" / "checkpoints")
    assert image.name == "00000020"
    averaged = checkpoint.load_group(image, "ema")
    assert all(torch.equal(value, averaged[name]) for name, value in inflated[0].state_dict().items())
    final = checkpoint.load_group(checkpoint.newest(out / "checkpoints"), "ema")
    assert checkpoint.newest(out / "checkpoints").name == "00000001"
    for name, value in final.items():
        assert (value - averaged[f"inner.{name}"]).abs().max() <= 1e-2


def test_with_its_encoder_frozen_a_codec_keeps_its_latents_to_the_last_bit_and_its_decoder_learns_on(media, tmp_path):
    """The adversary comes last: what was learned without one stays, but for the decoder."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(recipe(), media, first)
    continued = recipe(frozen=("encoder",), adversarial_from=0, learning_rate=1e-3)
    assert train(continued, media, second, start_from=first)
    before, after = (checkpoint.load_group(folder, "codec") for folder in (first, second))
    for name, value in before.items():
        assert torch.equal(after[name], value) == name.startswith("encoder."), name
        assert (after[name] - value).abs().max() <= 30e-3, "it starts from the other's weights"
    manifest = json.loads((second / "manifest.json").read_text())
    assert manifest["start_from"] == json.loads((first / "manifest.json").read_text())["hash"]
    assert train(continued, media, second, start_from=first), "and is resumed as such"
    assert manifest["latents"] == manifest["start_from"]
    third = tmp_path / "third"
    assert train(recipe(seed=1), media, third)
    with pytest.raises(CheckpointError, match="made with another start from"):
        train(continued, media, second, start_from=third)


def test_a_codec_that_learns_on_with_its_encoder_makes_other_latents(media, tmp_path):
    assert train(recipe(), media, tmp_path / "first")
    for name, frozen in (("all", ()), ("decoder", ("decoder",))):
        assert train(recipe(frozen=frozen), media, tmp_path / name, start_from=tmp_path / "first")
        assert "latents" not in json.loads((tmp_path / name / "manifest.json").read_text())


def test_latents_are_known_by_the_hash_of_the_codec_that_made_them_first(media, tmp_path):
    assert train(recipe(), media, tmp_path / "0")
    for n in (1, 2):
        training = recipe(frozen=("encoder",), seed=n)
        assert train(training, media, tmp_path / str(n), start_from=tmp_path / str(n - 1))
    codecs = [fakes.PairCodec(2) for _ in range(3)]
    hashes = [load_codec(codec, tmp_path / str(n)) for n, codec in enumerate(codecs)]
    assert len(set(map(codec_hash, codecs))) == 3
    assert hashes == [latents_hash(tmp_path / str(n)) for n in range(3)] == [codec_hash(codecs[0])] * 3
    started = json.loads((tmp_path / "2" / "manifest.json").read_text())["start_from"]
    assert started == codec_hash(codecs[1]), "which codec it went on from is another question"


def test_a_training_that_was_begun_before_a_field_existed_is_resumed(media, tmp_path):
    """What its manifest leaves out had the default."""
    out = tmp_path / "codec"
    assert train(recipe(), media, out)
    file = checkpoint.newest(out / "checkpoints") / "manifest.json"
    manifest = json.loads(file.read_text())
    for name in ("accumulate", "frozen"):
        del manifest["codec_training"][name]
    file.write_text(json.dumps(manifest))
    assert train(recipe(), media, out)
    with pytest.raises(CheckpointError, match="codec_training.accumulate is 1, expected 2"):
        train(recipe(accumulate=2), media, out)


def test_a_frozen_parts_buffers_stay(media, tmp_path, monkeypatch):
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(2, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            if self.training:
                self.calls += 1
            return super().forward(x)

    real = fakes.PairCodec.__init__

    def build(self, channels=2):
        real(self, channels)
        self.encoder = Counting()

    monkeypatch.setattr(fakes.PairCodec, "__init__", build)
    assert train(recipe(), media, tmp_path / "free")
    assert checkpoint.load_group(tmp_path / "free", "codec")["encoder.calls"] == 30
    assert train(recipe(frozen=("encoder",)), media, tmp_path / "held", start_from=tmp_path / "free")
    assert checkpoint.load_group(tmp_path / "held", "codec")["encoder.calls"] == 30


def test_a_resumed_codec_training_equals_an_unbroken_one(media, tmp_path, monkeypatch):
    staged = recipe(steps=30, image_steps=12, checkpoint_every=5)
    assert train(staged, media, tmp_path / "whole")
    for at in (8, 25):  # once in either stage
        count = []

        def die(self, signal, keys, real=fakes.PairCodec.training_loss, count=count, at=at):
            count.append(1)
            if len(count) == at:
                raise MemoryError
            return real(self, signal, keys)

        with monkeypatch.context() as patch:
            patch.setattr(fakes.PairCodec, "training_loss", die)
            with pytest.raises(MemoryError):
                train(staged, media, tmp_path / "broken")
    assert train(staged, media, tmp_path / "broken")
    name = "codec.safetensors"
    assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("at", [10, 25])
def test_a_resumed_duel_equals_an_unbroken_one_for_both_networks(media, tmp_path, monkeypatch, at):
    """Killed in the second stage, before its first checkpoint and in the middle of the duel."""
    opposed = recipe(steps=30, image_steps=8, checkpoint_every=5, adversarial_from=11, adversary_learning_rate=0.05)
    assert train(opposed, media, tmp_path / "whole")
    count = []

    def die(self, signal, keys, real=fakes.PairCodec.training_loss, **others):
        count.append(1)
        if len(count) == at:
            raise MemoryError
        return real(self, signal, keys, **others)

    with monkeypatch.context() as patch:
        patch.setattr(fakes.PairCodec, "training_loss", die)
        with pytest.raises(MemoryError):
            train(opposed, media, tmp_path / "broken")
    assert train(opposed, media, tmp_path / "broken")
    paths = [checkpoint.newest(tmp_path / name / "checkpoints") for name in ("whole", "broken")]
    for group in ("weights", "ema", "optimizer", "adversary"):
        assert (paths[0] / f"{group}.safetensors").read_bytes() == (paths[1] / f"{group}.safetensors").read_bytes()
    saved = json.loads((tmp_path / "whole" / "manifest.json").read_text())
    assert list(saved["files"]) == ["codec.safetensors"], "the adversary is not part of the codec"
    assert float(checkpoint.load_group(paths[0], "adversary")["calls"]) == 2 * (30 - 11), (
        "steps of the whole are counted"
    )


def test_of_a_reconstruction_that_is_cropped_as_much_is_shown_as_there_is():
    form = VideoFormat(8, 2, 2)
    shown = side_by_side(form, torch.rand(9, 2, 2, 3), torch.rand(8, 2, 2, 3))
    assert shown.pixels.shape == side_by_side(form, torch.rand(8, 2, 2, 3), torch.rand(8, 2, 2, 3)).pixels.shape


def test_without_an_adversary_nothing_of_one_is_saved_and_before_its_step_it_changes_no_bit(media, tmp_path):
    for name, begin in (("alone", None), ("late", 30), ("early", 0)):
        assert train(recipe(adversarial_from=begin), media, tmp_path / name)
    codecs = [(tmp_path / name / "codec.safetensors").read_bytes() for name in ("alone", "late", "early")]
    assert codecs[0] == codecs[1] != codecs[2]
    assert not (checkpoint.newest(tmp_path / "alone" / "checkpoints") / "adversary.safetensors").exists()


def test_a_perceptual_network_that_is_not_installed_is_left_out_and_said_so(media, tmp_path, monkeypatch):
    host, told = fakes.fake_host(), io.StringIO()
    asked = recipe(steps=1, perceptual=Component("missing"))
    run = lambda wanted, out: train_codec(wanted, host, "slow", media, tmp_path / out, console=Console(file=told))
    assert run(asked, "without")
    assert "trained without the perceptual term: perceptual 'missing'" in told.getvalue()
    with pytest.raises(RecipeError, match="training_loss of PairCodec takes no perceptual network"):
        run(recipe(steps=1, perceptual=Component("sum")), "refused")
    monkeypatch.setattr(fakes, "NothingOfThisName", fakes.SumPerceptual, raising=False)
    monkeypatch.setattr(fakes.PairCodec, "training_loss", lambda self, signal, keys, *, perceptual: {})
    with pytest.raises(CheckpointError, match='another perceptual: perceptual is "not installed", expected'):
        run(asked, "without")
    with pytest.raises(PluginError, match="no perceptual named 'mising'; did you mean 'missing'"):
        run(recipe(perceptual=Component("mising")), "unknown")


def test_reconstructions_are_logged_as_pictures_and_sounds():
    signal, reconstruction = torch.rand(17, 8, 6, 3), torch.rand(17, 8, 6, 3)
    shown = side_by_side(VideoFormat(rate=8, height=8, width=6), signal, reconstruction)
    assert torch.equal(shown.pixels[:8, :6], signal[0])
    assert torch.equal(shown.pixels[8:, -6:], reconstruction[16])
    heard = side_by_side(AudioFormat(rate=1000), torch.ones(500), -torch.ones(480))
    assert heard.samples.unique_consecutive().tolist() == [1, 0, -1]
    assert len(heard.samples) == 500 + 200 + 480
    assert side_by_side(fakes.LineFormat(), torch.ones(4), torch.ones(4)) is None
    written = []
    writer = SimpleNamespace(
        add_image=lambda *values, dataformats: written.append((*values[::2], tuple(values[1].shape), dataformats)),
        add_audio=lambda *values, sample_rate: written.append((*values[::2], tuple(values[1].shape), sample_rate)),
    )
    shown.write(writer, "a", 3)
    heard.write(writer, "b", 4)
    assert written == [("a", 3, (16, 48, 3), "HWC"), ("b", 4, (1180,), 1000)]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"seconds": Fraction(3, 2)}, r"codec_training.seconds, .*: this codec takes even lengths, not 3"),
        ({"image_steps": 30}, "image_steps 30 must be fewer than steps 30"),
        ({"frozen": ("encoder",)}, "name its folder by --start-from"),
        ({"frozen": ("encoder",), "image_steps": 3}, "is not inflated"),
        ({"accumulate": 3}, r"batch_size 4 cannot be split into 3 equal micro-batches \(accumulate\)"),
        ({"accumulate": 4, "image_steps": 3, "image_batch_size": 6}, "image_batch_size 6 cannot be split"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(media, tmp_path, training, message):
    with pytest.raises(RecipeError, match=message):
        train(recipe(**training), media, tmp_path / "codec")
    assert not (tmp_path / "codec").exists()


def test_pictures_that_do_not_fit_are_refused_before_anything_is_decoded(host, tmp_path, monkeypatch):
    monkeypatch.setattr(Signals, "load", lambda *_, **__: pytest.fail("files are decoded"))
    odd = tiny_recipe(host, "modalities.video.height=20")
    with pytest.raises(RecipeError, match="takes no such clips .* pictures of 20 x"):
        train_codec(odd, host, "video", tmp_path, tmp_path / "codec")


def test_a_codec_is_trained_by_one_process_at_a_time(media, tmp_path, monkeypatch):
    with (
        only_writer(tmp_path / "codec", RunError),
        pytest.raises(RunError, match="is being written by another process"),
    ):
        train(recipe(), media, tmp_path / "codec")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start train-codec without torchrun"):
        train(recipe(), media, tmp_path / "codec")


def test_parts_that_cannot_be_frozen_are_named(media, tmp_path):
    assert train(recipe(), media, tmp_path / "first")
    for frozen, message in (
        (("encoda",), "no part 'encoda' to freeze; did you mean 'encoder'"),
        (("encoder", "decoder"), "with encoder, decoder frozen the codec has nothing to train"),
    ):
        with pytest.raises(RecipeError, match=message):
            train(recipe(frozen=frozen), media, tmp_path / "codec", start_from=tmp_path / "first")


def test_an_unknown_modality_and_another_training_are_refused(media, tmp_path):
    with pytest.raises(RecipeError, match="no modality 'slov'; did you mean 'slow'"):
        train_codec(recipe(), fakes.fake_host(), "slov", media, tmp_path / "codec")
    train(recipe(), media, tmp_path / "codec")
    with pytest.raises(
        CheckpointError, match="another codec training: codec_training.learning_rate is 0.01, expected 0.1"
    ):
        train(recipe(learning_rate=0.1), media, tmp_path / "codec")


def test_a_disk_that_is_full_spoils_no_codec_that_is_there(tmp_path, monkeypatch):
    torch.manual_seed(0)
    first, other = fakes.PairCodec(), fakes.PairCodec()
    for name, codec in (("first", first), ("other", other)):
        save_codec(codec, tmp_path / name, {})
    keep_codec(first, tmp_path / "first", tmp_path / "store", "sound")

    def half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:20])
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(shutil, "copyfile", half)
    keep_codec(first, tmp_path / "first", tmp_path / "store", "sound")  # what is there already is not written again
    with pytest.raises(RunError, match="the disk is full"):
        keep_codec(other, tmp_path / "other", tmp_path / "store", "sound")
    assert load_codec(fakes.PairCodec(), tmp_path / "store") == codec_hash(first)


def test_a_codec_with_another_hash_is_refused(tmp_path):
    codec = fakes.PairCodec(2)
    save_codec(codec, tmp_path, {})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"hash": "0" * 64}))
    with pytest.raises(CheckpointError, match="the codec's hash is .* its manifest says 0000"):
        load_codec(codec, tmp_path)
    with pytest.raises(CheckpointError, match="was made for another network"):
        load_codec(nn.Linear(2, 2), tmp_path)
