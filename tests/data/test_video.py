from bisect import bisect_right
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.data.video import VideoFormat
from mmseqdiff.protocols import MediaFormat


def steady(count, rate):
    return [Fraction(n) / Fraction(rate) for n in range(count)]


def test_implements_the_protocol():
    assert isinstance(VideoFormat(8, 64, 64), MediaFormat)
    assert VideoFormat("8", 32, 48).shape(Fraction(17, 8)) == (17, 32, 48, 3)


@pytest.mark.parametrize(("suffix", "rounding"), [(".mp4", Fraction(0)), (".mkv", Fraction(1, 2000))])
@pytest.mark.parametrize("options", [{}, {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3"}])
def test_variable_frame_rate_gives_the_frame_shown_at_each_instant(make, suffix, rounding, options):
    random = np.random.default_rng(3)
    times = [Fraction(int(ms), 1000) for ms in np.cumsum(random.integers(8, 140, size=90)) - 8]
    times[0] = Fraction(0)
    path = make(f"vfr{suffix}", [make.numbered(n) for n in range(90)], times, options=options)
    for rate in (Fraction(8), Fraction(30000, 1001)):
        for start in (Fraction(0), Fraction(7, 10), Fraction(5, 3), Fraction(27, 8)):
            video = VideoFormat(rate, 32, 32).read(path, start, Fraction(3, 2))
            instants = [start + n / rate for n in range(len(video))]
            assert make.numbers_in(video) == [bisect_right(times, instant + rounding) - 1 for instant in instants]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_frame_once_at_the_files_own_rate(make, suffix):
    rate = Fraction(30000, 1001)  # Matroska rounds these times to milliseconds
    path = make(f"steady{suffix}", [make.numbered(n) for n in range(60)], steady(60, rate))
    assert make.numbers_in(VideoFormat(rate, 64, 64).read(path, 10 / rate, 40 / rate)) == list(range(10, 50))


# A display matrix (a, b, c, d) takes a point (x, y) of the coded picture to (ax + cy, bx + dy); y points down.
@pytest.mark.parametrize(
    ("matrix", "corners"),
    [
        ((1, 0, 0, 1), "ABCD"),
        ((0, 1, -1, 0), "CADB"),  # right becomes down: a quarter clockwise, as phones held upright write it
        ((-1, 0, 0, -1), "DCBA"),
        ((0, -1, 1, 0), "BDAC"),
    ],
)
def test_rotation_is_honoured(make, matrix, corners):
    grey = {"A": 32, "B": 96, "C": 160, "D": 224}
    picture = np.empty((48, 96, 3), dtype=np.uint8)  # corners A B over C D
    picture[:24, :48], picture[:24, 48:], picture[24:, :48], picture[24:, 48:] = (
        grey["A"],
        grey["B"],
        grey["C"],
        grey["D"],
    )
    path = make.rotate(make("turned.mp4", [picture] * 10, steady(10, 10)), matrix)
    upright = matrix[0] == 0
    height, width = (64, 32) if upright else (32, 64)
    frame = VideoFormat(10, height, width).read(path, Fraction(0), Fraction(1, 2))[2, ..., 0] * 255
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    found = [frame[row, column].item() for row in rows for column in columns]
    assert found == pytest.approx([grey[corner] for corner in corners], abs=3)


@pytest.mark.parametrize(
    ("height", "width", "aspect"),
    [(41, 77, None), (77, 41, None), (64, 64, None), (60, 50, Fraction(2)), (33, 33, None)],
)
def test_odd_sizes_are_cropped_in_the_centre_and_resized(make, height, width, aspect):
    y, x = np.mgrid[:height, :width]
    picture = np.stack([255 * (x + 0.5) / width, 255 * (y + 0.5) / height, np.zeros_like(x)], axis=-1)
    name, codec = ("wide.mp4", "libx264") if aspect else ("odd.mkv", "ffv1")
    path = make(name, [picture.round().astype(np.uint8)] * 5, steady(5, 5), video_codec=codec, pixel_aspect=aspect)
    target = VideoFormat(5, 24, 32)
    frame = target.read(path, Fraction(0), Fraction(4, 5))[1]
    # Where each target pixel's centre lies in the source, with the picture's true aspect, cropped in the centre.
    shown_width = width * float(aspect or 1)
    scale = max(target.height / height, target.width / shown_width)
    left, top = (shown_width - target.width / scale) / 2, (height - target.height / scale) / 2
    column = (left + (torch.arange(target.width) + 0.5) / scale) / shown_width
    row = (top + (torch.arange(target.height) + 0.5) / scale) / height
    inner = (slice(3, -3), slice(3, -3))
    one_pixel = 0.6 / min(target.height, target.width)
    assert torch.allclose(frame[..., 0][inner], column.expand(24, 32)[inner].float(), atol=one_pixel)
    assert torch.allclose(frame[..., 1][inner], row[:, None].expand(24, 32)[inner].float(), atol=one_pixel)


def test_fine_stripes_are_averaged_away_when_shrunk(make):
    picture = np.zeros((256, 256, 3), dtype=np.uint8)
    picture[:, ::2] = 255
    path = make("stripes.mkv", [picture] * 3, steady(3, 3), video_codec="ffv1")
    frame = VideoFormat(3, 32, 32).read(path, Fraction(0), Fraction(1))[0]
    assert (frame[:, 3:-3] - 0.5).abs().max() < 0.02


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 0.02), (".mkv", 1 / 255)])
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_what_is_written_is_read(tmp_path, suffix, tolerance, size):
    format = VideoFormat(Fraction(25, 2), *size)
    colours = torch.rand(12, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    signal = colours.expand(12, *size, 3)
    format.write(tmp_path / f"out{suffix}", signal)
    assert format.duration(tmp_path / f"out{suffix}") == pytest.approx(12 / 12.5, abs=1e-3)
    again = format.read(tmp_path / f"out{suffix}", Fraction(0), 12 / format.rate)
    assert again.shape == signal.shape
    assert (again - signal).abs().max() <= tolerance
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]


intervals = st.lists(
    st.tuples(st.fractions(-1, 4, max_denominator=60), st.fractions(0, 3, max_denominator=60)), max_size=3
)


@settings(deadline=None)
@given(known=intervals.map(lambda pairs: [(left, left + length) for left, length in pairs]), count=st.integers(1, 24))
def test_fill_takes_the_nearest_known_frame_and_forgets_the_rest(known, count):
    format = VideoFormat(Fraction(8), 1, 1)
    signal = torch.arange(1.0, count + 1).reshape(1, count, 1, 1, 1).expand(2, count, 1, 1, 3)
    seen = [n for n in range(count) if any(a <= Fraction(n, 8) and Fraction(n + 1, 8) <= b for a, b in known)]
    filled = format.fill(signal, known)
    assert filled.shape == signal.shape
    for n, value in enumerate(filled[1, :, 0, 0, 2].tolist()):
        if not seen:
            assert value == 0
        else:
            assert value - 1 in seen
            assert abs(value - 1 - n) == min(abs(other - n) for other in seen)


@pytest.mark.parametrize("rate", ["10", "12", "24", "30", "30000/1001", "60"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("count", [1, 17, 25, 40])
def test_a_file_holds_as_many_frames_as_were_written(tmp_path, rate, suffix, count):
    """Matroska rounds time stamps to milliseconds, and says nothing of the whole."""
    form, path = VideoFormat(Fraction(rate), 16, 16), tmp_path / f"clip{suffix}"
    form.write(path, torch.rand(count, 16, 16, 3))
    assert form.shape(form.duration(path))[0] == count
    assert len(form.read(path, Fraction(0), count / form.rate)) == count
