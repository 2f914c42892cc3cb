"""The laws of codecs."""

import copy
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.layout import Track
from mmseqdiff.protocols import Codec, StreamingCodec, TrainableCodec
from mmseqdiff.random import example_keys
from mmseqdiff.testing.contracts.contract import Contract, bits, law, not_applicable
from mmseqdiff.testing.strategies import chunks, signals
from mmseqdiff.testing.streaming import check_streaming

__all__ = ["CodecContract"]

ANY = {"data": st.data()}


class CodecContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.Codec`, untrained.

    A codec that says ``causal = True`` is held to it: a latent follows from no frame after the end of its segment, and a
    frame from no latent after its own.

    Attributes:
        shapes: shapes ``(time, …)`` of signals that the codec may take, those of one axis in [−1, 1], others in [0, 1]; what
            its ``track`` refuses is left out.
        rates: frames or samples a second that the codec may take; the first that it takes is used.
    """

    kind = "codec"
    plugin: Codec
    shapes: ClassVar[Sequence[tuple[int, ...]]] = ((640,), (1300,), (5, 16, 16, 3), (9, 16, 24, 3), (17, 32, 32, 3))
    rates: ClassVar[Sequence[Fraction]] = tuple(map(Fraction, (24, 16000, 24000, 32000, 44100, 48000)))

    @cached_property
    def rate(self) -> Fraction:
        """The rate of the signals that the laws are tried with."""
        self.plugin  # noqa: B018  (a codec that cannot be built should say so, and not seem to refuse all shapes)
        found = [rate for rate in self.rates if self._tracks(rate)]
        assert found, (
            f"the codec takes none of the shapes {list(self.shapes)} at {', '.join(map(str, self.rates))} a second: set the "
            "contract's shapes and rates to some that it takes"
        )
        return found[0]

    @cached_property
    def tracks(self) -> dict[tuple[int, ...], Track]:
        """Shape → track, for those shapes that the codec takes."""
        return self._tracks(self.rate)

    def _tracks(self, rate: Fraction) -> dict[tuple[int, ...], Track]:
        found = {}
        for shape in self.shapes:
            try:
                found[shape] = self.plugin.track("signal", shape, rate)
            except ValueError:
                continue
        return found

    def _draw(self, data: Any, batch: int = 2) -> tuple[Float[Tensor, "batch time ..."], Track]:
        shape = data.draw(st.sampled_from(list(self.tracks)))
        return data.draw(signals(shape, batch)), self.tracks[shape]

    def _encode(self, signal: Float[Tensor, "batch time ..."]) -> Tensor:
        with torch.no_grad():
            return self.plugin.encode(signal)

    def _decode(self, latents: Tensor) -> Tensor:
        with torch.no_grad():
            return self.plugin.decode(latents)

    @law(3, cost=2, **ANY)
    def test_latents_have_the_shape_of_the_track(self, data: Any) -> None:
        """encode makes (B, N_m, *grid, channels) as the track says, all finite, and segments says N_m."""
        signal, track = self._draw(data)
        latents, count = self._encode(signal), self.plugin.segments(signal.shape[1])
        expected = (len(signal), *track.shape)
        assert tuple(latents.shape) == expected, f"latents are {tuple(latents.shape)}, the track says {expected}"
        assert count == track.segments, f"segments says {count}, the track {track.segments}"
        assert latents.is_floating_point(), f"latents are {latents.dtype}, expected floating-point numbers"
        assert latents.isfinite().all(), "latents are not finite"

    @law(3, **ANY)
    def test_the_track_lies_on_the_signal(self, data: Any) -> None:
        """The track is named as asked, starts with the signal, ends no later, and keeps its proportions at another rate."""
        shape = data.draw(st.sampled_from(list(self.tracks)))
        track = self.tracks[shape]
        assert track.modality == "signal", f"the track is named {track.modality!r}, asked for was 'signal'"
        assert track.edges[0] == 0, f"the track starts at {track.edges[0]} s, the signal at 0"
        end = Fraction(shape[0]) / self.rate
        assert track.edges[-1] <= end, f"the track ends at {float(track.edges[-1]):g} s, the signal at {float(end):g}"
        try:
            fast = self.plugin.track("signal", shape, 2 * self.rate)
        except ValueError:  # it takes one rate only
            return
        assert fast.edges == tuple(edge / 2 for edge in track.edges), "at twice the rate the track is not half as long"

    @law(3, cost=2, **ANY)
    def test_decoded_signals_are_no_longer(self, data: Any) -> None:
        """decode makes a finite signal of the shape that was encoded; it may be shorter in time, and never longer."""
        signal, _ = self._draw(data)
        decoded = self._decode(self._encode(signal))
        assert decoded.shape[:1] + decoded.shape[2:] == signal.shape[:1] + signal.shape[2:], (
            f"a signal {tuple(signal.shape)} is decoded as {tuple(decoded.shape)}"
        )
        assert 0 < decoded.shape[1] <= signal.shape[1], f"{signal.shape[1]} frames are decoded as {decoded.shape[1]}"
        assert decoded.isfinite().all(), "the decoded signal is not finite"

    @law(9, cost=2, **ANY)
    def test_the_same_signal_has_the_same_latents(self, data: Any) -> None:
        """encode and decode are functions: asked twice they give the same bits, and leave what is passed in alone."""
        signal, _ = self._draw(data)
        before, latents = signal.clone(), self._encode(signal)
        assert torch.equal(bits(latents), bits(self._encode(signal))), "the same signal has different latents"
        kept, decoded = latents.clone(), self._decode(latents)
        assert torch.equal(bits(decoded), bits(self._decode(latents))), "the same latents are decoded differently"
        same = torch.equal(bits(signal), bits(before)) and torch.equal(bits(latents), bits(kept))
        assert same, "the codec changed what was passed in"

    @law(9, cost=2, **ANY)
    def test_the_batch_does_not_matter(self, data: Any) -> None:
        """A signal has the same latents whatever else is in the batch, to 1e-5, and so has its reconstruction."""
        signal, _ = self._draw(data)
        together = self._encode(signal)
        for what, call, whole, parts in (
            ("latents", self._encode, together, signal),
            ("reconstruction", self._decode, self._decode(together), together),
        ):
            torch.testing.assert_close(
                call(parts[-1:]), whole[-1:], rtol=1e-4, atol=1e-5,
                msg=lambda why, what=what: f"the batch changes a signal's {what}: {why}",
            )  # fmt: skip

    @law(12, cost=2, **ANY)
    def test_signals_matter(self, data: Any) -> None:
        """Different signals have different latents."""
        signal, _ = self._draw(data)
        assert not torch.equal(self._encode(signal), self._encode(1 - signal)), "latents do not depend on the signal"

    @law(3, cost=2, **ANY)
    def test_a_causal_codecs_segments_end_where_the_track_says(self, data: Any) -> None:
        """The last frame of a causal codec's segment moves its latent: an edge that lies too late would go unseen."""
        if not getattr(self.plugin, "causal", False):
            raise not_applicable("the codec does not say that it is causal")
        signal, track = self._draw(data)
        n = data.draw(st.integers(0, track.segments - 1))
        last = int(track.edges[n + 1] * self.rate) - 1
        changed = signal.clone()
        changed[:, last] = 1 - changed[:, last]
        same = torch.equal(self._encode(changed)[:, n], self._encode(signal)[:, n])
        assert not same, f"latent {n} does not change with the last frame of its segment, frame {last}"

    @law(3, cost=2, **ANY)
    def test_a_stream_is_coded_as_the_whole(self, data: Any) -> None:
        """A codec that streams gives chunk by chunk what it gives at once, from a state that does not grow."""
        if not isinstance(self.plugin, StreamingCodec):
            raise not_applicable("the codec does not stream")
        signal, track = self._draw(data)
        first, other = self.plugin.segment_lengths
        whole = signal[:, : first + other * (track.segments - 1)]
        check_streaming(self.plugin, whole, data.draw(chunks(track.segments)), tolerance=1e-5)

    @law(9, cost=4, **ANY)
    def test_the_training_loss_follows_from_the_keys(self, data: Any) -> None:
        """The terms of a codec that can be trained are finite numbers that follow from its keys and reach its weights."""
        if not isinstance(self.plugin, TrainableCodec):
            raise not_applicable("the codec cannot be trained")
        signal, _ = self._draw(data)
        before, keys, losses = signal.clone(), example_keys(data.draw(st.integers(0, 2**31)), range(len(signal))), []
        for _ in range(2):
            codec = copy.deepcopy(self.plugin).train()  # what it learns in the forward pass is not its own
            with torch.enable_grad():
                terms = codec.training_loss(signal, keys)
                losses.append(sum(terms.values()))
            wrong = [name for name, term in terms.items() if term.ndim or not term.isfinite()]
            assert not wrong, f"these terms of training_loss are no finite numbers: {wrong}"
            assert losses[-1].requires_grad, "no term of training_loss has a gradient"
            losses[-1].backward()
            gradients = [weight.grad for weight in codec.parameters() if weight.grad is not None]
            assert all(gradient.isfinite().all() for gradient in gradients), "a weight's gradient is not finite"
            assert any(gradient.any() for gradient in gradients), "training_loss moves no weight"
        assert torch.equal(*losses), "with the same keys training_loss is not the same"
        assert torch.equal(signal, before), "training_loss changed the signal that was passed in"

    @law(12, cost=2, **ANY)
    def test_causal_codecs_do_not_look_ahead(self, data: Any) -> None:
        """What comes after the end of a segment changes no latent before it, nor do later latents earlier frames."""
        if not getattr(self.plugin, "causal", False):
            raise not_applicable("the codec does not say that it is causal")
        signal, track = self._draw(data)
        n = data.draw(st.integers(1, track.segments))
        frames = int(track.edges[n] * self.rate)
        later = signal.clone()
        later[:, frames:] = 1 - later[:, frames:]
        latents = self._encode(signal)
        before, after = latents[:, :n], self._encode(later)[:, :n]
        torch.testing.assert_close(
            after, before, msg=lambda why: f"a latent changes with frames after its segment: {why}"
        )
        other = latents.clone()
        other[:, n:] += 1
        torch.testing.assert_close(
            self._decode(other)[:, :frames], self._decode(latents)[:, :frames],
            msg=lambda why: f"a frame changes with latents after its own: {why}",
        )  # fmt: skip
