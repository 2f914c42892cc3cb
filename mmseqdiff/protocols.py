"""Every contract of mmseqdiff, in one file, for plugin authors.

Shapes are binding. ``B`` is the batch, ``M`` the modalities, ``N`` the segments of the longest track, ``N_m`` those of
modality m, ``T`` the schedule's number of levels. A *level* is a real number in [0, T]: 0 is clean, T is noise.

``Latents`` and ``Signals`` are dicts from modality name to tensor; latents are ``(B, N_m, *grid, channels)``. Keys are
int64, one per example; see :mod:`mmseqdiff.random`.

A class that subclasses one of these protocols gets the default methods; one that merely has the same methods works as
well. Nothing here needs to be registered to be used; to register it, see :mod:`mmseqdiff.host`.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmseqdiff.layout import Interval, Layout, Track, merged

if TYPE_CHECKING:
    from mmseqdiff.forward import Prediction
    from mmseqdiff.plan import SamplingPlan

__all__ = [
    "Backbone", "Cells", "Codec", "Comparison", "Dataset", "Denoise", "Denoiser", "Guidance", "Keys", "Latents", "Levels",
    "MediaFormat", "Memory", "Metric", "Noise", "NoiseSchedule", "Perceptual", "Plan", "PretrainedCodec", "Sampler", "State",
    "StreamingCodec", "Task", "TimestepPolicy", "TrainableCodec",
]  # fmt: skip

Latents = Mapping[str, Tensor]
"""modality → ``(B, N_m, *grid, channels)``."""
Levels = Float[Tensor, "batch modality segment"]
"""The level of every cell of every example."""
Cells = Bool[Tensor, "modality segment"]
"""Which cells: of a task, for all examples alike."""
Keys = Int[Tensor, " batch"]
"""What the random numbers of each example follow from."""
State = dict[str, Tensor]
"""A sampler's memory: see :class:`Sampler`."""
Memory = tuple[Tensor, ...]
"""What a codec remembers of the chunks before, each tensor with a leading batch axis: see :class:`StreamingCodec`."""
Denoise = Callable[[Latents, Levels], "Prediction"]
"""A denoiser at any latents and levels, all else being settled."""
Noise = Callable[[str], Latents]
"""Standard normal latents for a stream's name."""


@runtime_checkable
class NoiseSchedule(Protocol):
    """Signal and noise scale for every level, elementwise for a tensor of any shape.

    ``alpha(0) = 1`` and ``sigma(0) = 0`` exactly; ``alpha² + sigma² = 1`` for variance-preserving schedules;
    ``log_snr(t) = log(alpha² / sigma²)`` falls strictly, is +inf at 0 and may be −inf at T. Results have the dtype of
    ``t``, but never below float32.
    """

    num_levels: int

    def alpha(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The signal scale, sqrt(alpha_bar)."""
        ...

    def sigma(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The noise scale."""
        ...

    def log_snr(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """log(alpha² / sigma²)."""
        ...

    def level(self, log_snr: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The level at which :meth:`log_snr` has this value."""
        ...


@runtime_checkable
class TimestepPolicy(Protocol):
    """A distribution over timestep matrices, used in training (arXiv:2405.13762 §3.2).

    A policy may state ``marginal(num_levels)``: ``(T,)`` probabilities of the levels 1 … T, of every cell while it is not
    clean, or None. Its contract then holds it to that.
    """

    def sample(self, layout: Layout, keys: Keys, *, num_levels: int) -> Levels:
        """One matrix per key; whole numbers in 1 … num_levels for cells to denoise, 0 for clean cells and padding."""
        ...

    def ties(self, layout: Layout) -> Sequence[Int[Tensor, "modality segment"]] | None:
        """The policy's support: per component one partition of the cells, or None if that cannot be said.

        Cells with the same number always share a level, cells with different numbers are free of each other; −1 is
        padding and −2 a cell that is always clean.
        """
        return None

    @property
    def components(self) -> tuple[str, ...]:
        """Names of what the policy mixes; a policy that mixes nothing has one component."""
        return (type(self).__name__.lower(),)

    def component(self, keys: Keys) -> Keys:
        """The index in :attr:`components` that each example was drawn from."""
        return torch.zeros_like(keys)


@runtime_checkable
class Task(Protocol):
    """Which part of a clip is given (arXiv:2405.13762 §3.3)."""

    def given(self, layout: Layout) -> Cells:
        """True for the cells that are given clean; never True in padding."""
        ...

    def known(self, layout: Layout) -> dict[str, tuple[Interval, ...]]:
        """The stretches of each modality's signal that may be read, in seconds; by default those of the given cells."""
        cells = layout.split(self.given(layout))
        return {
            track.modality: merged([interval for interval, is_given in zip(track.intervals, cells[track.modality].tolist()) if is_given])
            for track in layout.tracks
        }  # fmt: skip


@runtime_checkable
class Plan(Protocol):
    """Makes the sampling plan for a task: which level every cell has at every step."""

    def __call__(self, layout: Layout, given: Cells, *, num_levels: int) -> "SamplingPlan":
        """A validated plan that starts at ``num_levels`` (0 where given) and ends at 0.

        Raises:
            mmseqdiff.plan.PlanError: if everything is given, so that nothing would move.
        """
        ...


@runtime_checkable
class Denoiser(Protocol):
    """Predicts the clean latents from noisy ones, for any timestep matrix."""

    layout: Layout
    schedule: NoiseSchedule

    def __call__(
        self, z: Latents, t: Levels, *, given: Cells, keys: Keys, self_condition: Latents | None = None
    ) -> "Prediction":
        """The prediction at ``(z, t)``.

        Args:
            z: noisy latents; given cells are clean.
            t: the level of every cell.
            given: the cells that the task gives; what guidance may re-noise.
            keys: what any random number drawn here follows from.
            self_condition: the last estimate of the clean latents, or None.
        """
        ...


@runtime_checkable
class Guidance(Protocol):
    """A denoiser made of another denoiser: what a guidance returns is itself a :class:`Denoiser`."""

    def evaluations(self, layout: Layout, given: Cells) -> int:
        """Network evaluations for one of the guided denoiser; which branches there are depends on what is given."""
        ...

    def __call__(self, denoiser: Denoiser) -> Denoiser:
        """The guided denoiser."""
        ...

    def sampler(self, sampler: "Sampler", denoiser: Denoiser) -> "Sampler":
        """The sampler that steps with the guided denoiser: as a rule the same.

        A trick that needs the stepped sample wraps it.

        Args:
            sampler: what would step without guidance.
            denoiser: the denoiser that is guided; for its layout and schedule.
        """
        return sampler


@runtime_checkable
class Sampler(Protocol):
    """Takes every cell from its level ``t`` to its level ``s``. Cells with ``s == t`` are copied bit for bit.

    A sampler's memory is an explicit ``state``: a dict of tensors of fixed shapes, each with leading ``(B, N_m)`` axes
    and named ``"<name>/<modality>"``, so that every cell has its own history.
    """

    evaluations: int
    """Network evaluations of one step."""

    def for_plan(self, plan: "SamplingPlan") -> "Sampler":
        """The sampler for one plan: itself, unless it holds numbers that depend on what is given."""
        return self

    def calibrated(self, denoiser: Denoiser, plan: "SamplingPlan", clean: Latents, keys: Keys) -> "Sampler":
        """The sampler with what it measures of a denoiser along a plan, if it measures anything: it then holds plain
        numbers as its parameter ``calibration``.

        Args:
            denoiser: as it will sample, guided if it will be.
            plan: of the task.
            clean: latents of the data, one example per key.
            keys: what the noise follows from.
        """
        return self

    def start(self, z: Latents, layout: Layout) -> State:
        """The state before the first step."""
        return {}

    def step(
        self, z: Latents, t: Levels, s: Levels, *, denoise: Denoise, state: State, noise: Noise
    ) -> tuple[Latents, State]:
        """The latents at levels ``s``, and the new state.

        Args:
            z: latents at levels ``t``.
            t: the level of every cell now.
            s: the level of every cell after the step; ``s <= t``.
            denoise: the prediction at any latents and levels.
            state: what :meth:`start` or the last step returned.
            noise: standard normal latents for a stream name; the same name gives the same numbers within a step.
        """
        ...

    def reset(self, state: State, cells: Bool[Tensor, "batch modality segment"]) -> State:
        """Forgets the history of ``cells`` (re-noised, or newly come into a window): they go on as :meth:`start` has them."""
        return state


@runtime_checkable
class Backbone(Protocol):
    """The network: an ``nn.Module`` built for a layout."""

    def __call__(
        self,
        z: Latents,
        t: Levels,
        *,
        self_condition: Latents | None = None,
    ) -> dict[str, Tensor]:
        """One tensor per modality, shaped as ``z``; what it means is the recipe's prediction kind."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Latents ↔ signal: an ``nn.Module``. Latents are raw (not normalised) and continuous.

    A codec may say ``causal = True``: no latent follows from frames after the end of its segment, and no frame from latents
    after its own. Its contract then holds it to that.
    """

    def segments(self, length: int) -> int:
        """N_m for a signal of ``length`` frames or samples.

        Raises:
            ValueError: if the codec cannot take that length; the message says which lengths it can take.
        """
        ...

    def track(self, modality: str, shape: tuple[int, ...], rate: Fraction) -> Track:
        """Where the latents of a signal ``(time, …)`` of this shape, at ``rate`` a second, lie on the timeline.

        Raises:
            ValueError: if the codec cannot take that shape.
        """
        ...

    def encode(self, signal: Float[Tensor, "batch time ..."]) -> Float[Tensor, "batch segment ..."]:
        """Latents ``(B, N_m, *grid, channels)`` of a signal ``(B, time, …)``."""
        ...

    def decode(self, latents: Float[Tensor, "batch segment ..."]) -> Float[Tensor, "batch time ..."]:
        """The signal of latents; it may be shorter than what was encoded where the codec crops, never longer."""
        ...


@runtime_checkable
class StreamingCodec(Codec, Protocol):
    """A codec that also takes a signal of any length chunk by chunk, in memory that does not grow.

        state = None
        for chunk in chunks:
            latents, state = codec.encode_chunk(chunk, state)

    A chunk holds whole segments. What the chunks give, joined, is what :meth:`Codec.encode` and :meth:`Codec.decode` give
    of the whole, to rounding, wherever it is cut. Nothing is remembered but in the state, which is a plain value: a
    stream can be forked, moved, saved, or batched with others that are as far.
    """

    segment_lengths: tuple[int, int]
    """Frames or samples of the first segment of a signal, and of every other."""

    def encode_chunk(
        self, chunk: Float[Tensor, "batch time ..."], state: Memory | None = None
    ) -> tuple[Float[Tensor, "batch segment ..."], Memory]:
        """The latents of the next chunk, and the state after it.

        Args:
            chunk: the signal of one or more whole segments; no gap to the chunk before.
            state: after the chunk before; None for the first.

        Raises:
            ValueError: if the chunk holds no whole number of segments, or the state is not of a chunk like it.
        """
        ...

    def decode_chunk(
        self, latents: Float[Tensor, "batch segment ..."], state: Memory | None = None
    ) -> tuple[Float[Tensor, "batch time ..."], Memory]:
        """The signal of the next latents, and the state after them: as :meth:`encode_chunk`, the other way."""
        ...


@runtime_checkable
class TrainableCodec(Codec, Protocol):
    """A codec that ``mmseqdiff train-codec`` trains. It may have more methods, and what it has is used:

        image_codec() -> nn.Module and inflate_from(module)     a cheaper codec of single frames, itself with a
            ``training_loss``, trained first; then this codec takes its weights (arXiv:2310.05737 §3.2)
        reconstruction_quality(signal, reconstruction) -> dict[str, Tensor]     named numbers per clip, to be reported beside
            those of :mod:`mmseqdiff.fidelity`, or in the place of one of the same name
        adversary(shape) -> nn.Module     an untrained network that learns to tell signals of this shape, ``(time, …)``, from
            reconstructions; ``training_loss`` then takes it as ``adversary=`` from some step on, and has terms for both.
            Those of the adversary itself are named ``adversary/…`` and reach its weights alone, all others the codec's alone.

    ``training_loss`` may also take ``perceptual=``, a :class:`Perceptual`.
    """

    def training_loss(self, signal: Float[Tensor, "batch time ..."], keys: Keys) -> dict[str, Tensor]:
        """The terms, weighted: their sum is what is minimised.

        Args:
            signal: a batch of clips.
            keys: one per clip; all random numbers follow from them.
        """
        ...


@runtime_checkable
class PretrainedCodec(Codec, Protocol):
    """A codec that comes with another library's weights. When it is built, its parameter ``model`` says where they lie."""

    def save_configuration(self, folder: Path) -> None:
        """Writes ``config.json`` there: with its weights beside it, the codec can be built again with ``model=folder``."""
        ...


@runtime_checkable
class Perceptual(Protocol):
    """What a signal shows, as a fixed network sees it: an ``nn.Module`` with trained weights.

    A codec that can be trained with one keeps a signal's features near those of its reconstruction. Gradients go through
    it, but its weights never move, and no codec needs it once it is trained.
    """

    def __call__(self, signal: Float[Tensor, "batch time ..."]) -> Float[Tensor, "feature_row feature"]:
        """Features of a batch of signals, as many rows as the network likes."""
        ...


@runtime_checkable
class MediaFormat(Protocol):
    """What a modality's signal is outside the model: a shape, a rate, and a way into and out of files.

    A signal is a float32 tensor ``(time, …)``: video ``(frames, height, width, 3)`` in [0, 1], audio ``(samples,)`` in
    [−1, 1], anything discrete ``(steps, symbols)``: one-hot, and all zero where nothing is known. A format of something
    discrete may have ``symbols``, a tuple of their names, for whoever shows them.

    ``path`` is a media file, one whose suffix is in :data:`mmseqdiff.data.clips.MEDIA_SUFFIXES`: data sets are found by these.
    What has no stream in it is read from a file beside it, with a suffix of the format's own; what is generated is written
    to ``OUT.<modality>``, so a modality had best be named as that suffix.
    """

    stream: str | None
    """The container stream it is read from and muxed into (``"video"``, ``"audio"``), or None for a file of its own."""
    rate: Fraction
    """Frames or samples a second."""

    def shape(self, seconds: Fraction) -> tuple[int, ...]:
        """The shape of a signal that long."""
        ...

    def files(self, path: Path) -> tuple[Path, ...]:
        """The files that the signal of ``path`` is read from: once one of them changes, what was made of it is of no use."""
        return (path,)

    def read(self, path: Path, start: Fraction, seconds: Fraction) -> Float[Tensor, "time ..."]:
        """The signal of ``[start, start + seconds)`` of a file, in this format whatever the file's own.

        Raises:
            mmseqdiff.errors.MediaError: if the file cannot give all of it; the message says why.
        """
        ...

    def duration(self, path: Path) -> Fraction:
        """How many seconds of this modality the file holds."""
        ...

    def write(self, path: Path, signal: Float[Tensor, "time ..."]) -> None:
        """Writes a file that holds only this signal, under a temporary name first."""
        ...

    def fill(
        self, signal: Float[Tensor, "batch time ..."], known: Sequence[Interval]
    ) -> Float[Tensor, "batch time ..."]:
        """Overwrites everything outside ``known`` with what can be guessed from inside it alone, on the signal's device.

        Video takes the nearest known frame, audio is silent; with nothing known the signal is zero. A frame or sample
        is known if its whole duration lies in one interval.
        """
        ...


@runtime_checkable
class Dataset(Protocol):
    """Makes or finds media files: ``prepare`` fills a folder, and says what it did."""

    def prepare(self, folder: Path) -> Sequence[Path]:
        """Writes (or completes) the files in ``folder`` and returns them."""
        ...


@attrs.frozen(eq=False)
class Comparison:
    """A generated clip beside the real clip that it was given parts of: what a metric measures.

    Attributes:
        generated: modality → signal ``(time, …)``.
        real: modality → the real clip's signal, of the same shape.
        given: modality → ``(time,)``, True for the frames and samples that the task gave; only the others may be measured
            in ``generated``.
        rates: modality → frames or samples a second.
        file: the media file that ``real`` was read from.
        start: where in the file it starts, in seconds.
    """

    generated: Mapping[str, Tensor]
    real: Mapping[str, Tensor]
    given: Mapping[str, Bool[Tensor, " time"]]
    rates: Mapping[str, Fraction]
    file: Path
    start: Fraction

    def beside(self, other: "Comparison") -> "Comparison":
        """The same generated clip beside another one's real clip."""
        return attrs.evolve(self, real=other.real, file=other.file, start=other.start)


@runtime_checkable
class Metric(Protocol):
    """How well what was generated agrees with the real clip that it was given parts of."""

    better: Mapping[str, str]
    """For every value ``"higher"`` or ``"lower"``: which way is closer to the real clip."""

    def __call__(self, comparison: Comparison) -> dict[str, float]:
        """Named values for one clip; empty if the metric says nothing about this task or this file.

        Whether it does must not depend on what was generated.
        """
        ...
