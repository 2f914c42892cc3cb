"""The laws of modalities: a codec and a media format that fit each other, and hide what should be hidden."""

import tempfile
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.errors import MediaError
from mmseqdiff.layout import Interval
from mmseqdiff.modality import Modality
from mmseqdiff.testing.contracts.contract import Contract, bits, law
from mmseqdiff.testing.strategies import signals

__all__ = ["ModalityContract"]

ANY = {"data": st.data()}
STREAM_SUFFIX = {"video": ".mkv", "audio": ".wav"}


class ModalityContract(Contract):
    """The laws of a :class:`~mmseqdiff.modality.Modality`, its codec untrained.

    Attributes:
        lengths: of clips, in seconds, that the codec may take; the first that it takes is used.
        suffix: of a file that the format writes, where it has no stream.
        tolerance: how far a sample that was written and read again may be off.
    """

    kind = "modality"
    plugin: Modality
    lengths: ClassVar[Sequence[Fraction]] = tuple(map(Fraction, ("1", "5/8", "17/8", "21/10", "2", "4")))
    suffix: ClassVar[str] = ".signal"
    tolerance: ClassVar[float] = 1 / 200

    @cached_property
    def seconds(self) -> Fraction:
        """The length of the clips that the laws are tried with."""
        refusals = []
        for seconds in self.lengths:
            try:
                self.plugin.track("signal", seconds)
            except ValueError as error:
                refusals.append(f"{float(seconds):g} s: {error}")
            else:
                return seconds
        raise AssertionError(f"the codec takes no clip of these lengths; set the contract's lengths ({refusals})")

    def _signals(self, data: Any, batch: int) -> Float[Tensor, "batch time ..."]:
        return data.draw(signals(self.plugin.format.shape(self.seconds), batch))

    def _stretches(self, data: Any) -> list[Interval]:
        times = st.fractions(0, self.seconds, max_denominator=max(48, self.seconds.denominator))
        spans = data.draw(st.lists(st.tuples(times, times).map(sorted).map(tuple), max_size=2))
        return [span for span in spans if span[0] < span[1]]

    def _shown(self, count: int, known: Sequence[Interval]) -> Tensor:
        """Which frames lie in a known stretch with their whole duration."""
        rate = self.plugin.format.rate
        return torch.tensor([any(a * rate <= k and k + 1 <= b * rate for a, b in known) for k in range(count)])

    @law(3, cost=2, **ANY)
    def test_latents_have_the_shape_of_the_track(self, data: Any) -> None:
        """A signal of the format's shape has latents of the shape of the track, which lies in the clip."""
        signal, track = self._signals(data, 1), self.plugin.track("signal", self.seconds)
        latents, expected = self.plugin.encode(signal), (1, *track.shape)
        assert tuple(latents.shape) == expected, f"latents are {tuple(latents.shape)}, the track says {expected}"
        assert track.modality == "signal", f"the track is named {track.modality!r}, asked for was 'signal'"
        end = float(track.edges[-1])
        assert 0 <= track.edges[0] < track.edges[-1] <= self.seconds, f"the track ends at {end:g} s, outside the clip"

    @law(3, cost=2, **ANY)
    def test_decoded_signals_are_of_the_format(self, data: Any) -> None:
        """A clip's latents are decoded to a signal of the format's shape, which may be shorter, and never longer."""
        signal = self._signals(data, 1)
        decoded = self.plugin.decode(self.plugin.encode(signal))
        assert decoded.shape[2:] == signal.shape[2:], f"{tuple(signal.shape)} is decoded as {tuple(decoded.shape)}"
        assert 0 < decoded.shape[1] <= signal.shape[1], f"{signal.shape[1]} frames are decoded as {decoded.shape[1]}"

    @law(12, cost=2, **ANY)
    def test_what_is_hidden_changes_no_bit(self, data: Any) -> None:
        """Signals that agree wherever a frame or sample lies in a known stretch have the same latents, bit for bit."""
        (signal, other), known = self._signals(data, 2)[:, None], self._stretches(data)
        shown = self._shown(signal.shape[1], known).reshape(1, -1, *(1,) * (signal.ndim - 2))
        other = torch.where(shown, signal, other)
        one, two = (self.plugin.encode(each, known) for each in (signal, other))
        assert torch.equal(bits(one), bits(two)), f"what lies outside the known stretches {known} changes the latents"

    @law(12, **ANY)
    def test_what_is_known_is_kept(self, data: Any) -> None:
        """fill leaves every frame or sample of a known stretch as it is, and the signal that was passed in alone."""
        signal, known = self._signals(data, 1), self._stretches(data)
        before, filled = signal.clone(), self.plugin.format.fill(signal, known)
        assert filled.shape == signal.shape, f"fill makes {tuple(filled.shape)} of {tuple(signal.shape)}"
        shown = self._shown(signal.shape[1], known)
        assert torch.equal(filled[:, shown], signal[:, shown]), f"fill changes what lies in the known stretches {known}"
        assert torch.equal(signal, before), "fill changed the signal that was passed in"
        assert filled.isfinite().all(), "what fill makes up is not finite"

    @law(12, cost=2, **ANY)
    def test_knowing_all_hides_nothing(self, data: Any) -> None:
        """With the whole clip known, latents are those without hiding anything."""
        signal = self._signals(data, 1)
        one, other = self.plugin.encode(signal), self.plugin.encode(signal, [(Fraction(0), self.seconds)])
        assert torch.equal(bits(one), bits(other)), "a clip that is known whole has other latents than one"

    @law(11, cost=4, **ANY)
    def test_what_is_written_is_read(self, data: Any) -> None:
        """A signal that was written is read again as it was, whole and in part, and the file says how long it is."""
        form = self.plugin.format
        signal = self._signals(data, 1)[0]
        first = data.draw(st.integers(0, len(signal) - 1))
        with tempfile.TemporaryDirectory() as folder:
            path = self._written(folder, signal)
            length = float(form.duration(path))
            # The container may round its time stamps to milliseconds.
            assert abs(length - len(signal) / form.rate) < 0.01, (
                f"{len(signal) / form.rate} s were written, it says {length}"
            )
            for start in sorted({0, first}):
                rest = len(signal) - start
                found = form.read(path, start / form.rate, rest / form.rate)
                assert found.shape == signal[start:].shape, f"{rest} frames were asked for, {len(found)} read"
                torch.testing.assert_close(
                    found, signal[start:], rtol=0, atol=self.tolerance,
                    msg=lambda why, start=start: f"what is read from frame {start} on is not what was written: {why}",
                )  # fmt: skip

    @law(11, cost=4, **ANY)
    def test_what_is_not_there_is_refused(self, data: Any) -> None:
        """A file that ends a second before what is asked for is an error, and not a shorter signal or a padded one."""
        form, signal = self.plugin.format, self._signals(data, 1)[0]
        with tempfile.TemporaryDirectory() as folder:
            path = self._written(folder, signal)
            begin = data.draw(st.sampled_from((Fraction(0), self.seconds / 2)))
            asked = len(signal) / form.rate + 1 - begin
            try:
                found = form.read(path, begin, asked)
            except MediaError:
                return
        raise AssertionError(
            f"of a file of {float(len(signal) / form.rate):g} s, {float(asked):g} s from {float(begin):g} on are read as "
            f"{len(found)} frames or samples, with no MediaError"
        )

    @law(11, cost=2, **ANY)
    def test_its_files_are_all_that_it_reads(self, data: Any) -> None:
        """Without the files that it names nothing is read, so that whoever watches them sees every change of a signal."""
        form, signal = self.plugin.format, self._signals(data, 1)[0]
        with tempfile.TemporaryDirectory() as folder:
            path = self._written(folder, signal)
            for file in (path, path.with_suffix(".mp4")):  # of a media file, what lies beside it may be read
                named = form.files(file)
                for each in named:
                    Path(each).unlink(missing_ok=True)
                try:
                    form.read(file, Fraction(0), len(signal) / form.rate)
                except MediaError:
                    self._written(folder, signal)
                    continue
                raise AssertionError(f"{file.name} is still read without {[Path(each).name for each in named]}")

    def _written(self, folder: str, signal: Float[Tensor, "time ..."]) -> Path:
        """A file that the format made of a signal."""
        path = Path(folder) / ("clip" + STREAM_SUFFIX.get(self.plugin.format.stream, self.suffix))
        self.plugin.format.write(path, signal)
        assert path.is_file(), f"write made no file {path.name}"
        return path
