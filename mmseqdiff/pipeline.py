"""A trained model as people use it: media files in, media files out.

    model = mmseqdiff.load("runs/mine")
    clip = model.generate("a2v", audio="speech.wav")[0]
    clip.save("talking.mp4")

The way of the data, for a task that gives some stretches of some modalities (arXiv:2405.13762 §3.3):

    (1) read      only the known stretches of the files; everything else stays zero
    (2) encode    what is unknown is overwritten from what is known, then encoded: nothing hidden reaches the model
    (3) sample    given cells clean at level 0, the others from T to 0 along the plan
    (4) decode    all cells; crop
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.assembly import Assembly
from mmseqdiff.data.media import write_clip
from mmseqdiff.errors import PluginError, UserError
from mmseqdiff.generate import generate
from mmseqdiff.host import Host, load_plugins
from mmseqdiff.layout import Interval, Layout, Track
from mmseqdiff.origin import check_shape, origin
from mmseqdiff.plan import PlanError, SamplingPlan
from mmseqdiff.protocols import Guidance, Keys, Latents, MediaFormat, NoiseSchedule, Plan, Sampler, Task
from mmseqdiff.recipe import Component, Recipe, built, parsed
from mmseqdiff.support import warn_off_support
from mmseqdiff.train.run import load_run, read_calibration
from mmseqdiff.values import closest, exact_seconds

__all__ = ["CONDITIONS", "GeneratedClip", "Pipeline", "build_task", "find_model", "load", "plan_task"]

CONDITIONS = ("ranges", "clip")
"""``ranges``: only the given stretches are encoded. ``clip``: the whole clip is, as published evaluations do; then
latents of given cells have seen what is to be generated, wherever a codec looks further than its cell."""


def build_task(host: Host, text: str) -> Task:
    """A task as the command line has it.

    Args:
        host: knows the tasks.
        text: a name (``a2v``), a name with parameters (``continue:length=0.5``), or given ranges
            (``video:0-0.625 audio:0-2.125``).

    Raises:
        PluginError: if there is no such task, or a parameter is wrong.
    """
    if ":" in text and "=" not in text:
        return host.build("task", "ranges", text=text)
    return Component.parse(text).build(host, "task")


def plan_task(
    recipe: Recipe,
    host: Host,
    layout: Layout,
    schedule: NoiseSchedule,
    task: Task,
    plan: Plan | Component | str | None = None,
    steps: int | None = None,
) -> SamplingPlan:
    """The plan for a task.

    Args:
        recipe: says how to plan unless told otherwise.
        host: builds the plan.
        layout: of a clip.
        schedule: for its number of levels.
        task: says what is given.
        plan: how to plan: an object, or its name as the command line has it; the recipe's way where None.
        steps: instead of the plan's own number, which an object already has.

    Raises:
        UserError: if the task or the plan does not fit the model, or nothing is left to generate; or if steps are given to
            an object.
        PluginError: if the task or the plan returns something else than its contract says.
    """
    chosen = parsed(recipe.sampling.plan if plan is None else plan)
    if steps is not None:
        if not isinstance(chosen, Component):
            raise UserError(f"the steps of {origin(chosen)} are its own: give it them, and no steps beside it")
        chosen = Component(chosen.name, {**chosen.parameters, "steps": steps})
    try:
        given = task.given(layout)
        check_shape(task, "given cells", given, (layout.M, layout.N))
    except (ValueError, KeyError) as error:
        raise UserError(f"the task does not fit the model: {error.args[0]}") from error
    _check_ranges(task, layout, given)
    if not (layout.valid & ~given).any():
        raise UserError("the task gives every cell, so there is nothing to generate")
    maker = built(host, "plan", chosen)
    try:
        made = maker(layout, given, num_levels=schedule.num_levels)
    except (PlanError, ValueError, KeyError) as error:
        raise UserError(f"the plan {_called(chosen)} does not fit: {error.args[0]}") from error
    if not isinstance(made, SamplingPlan):
        raise PluginError(f"{origin(maker)} returned {type(made).__name__}, expected a SamplingPlan")
    return made


def _called(part: object) -> str:
    """For messages: a component by its name, an object by its class."""
    return repr(part.name) if isinstance(part, Component) else origin(part)


def _check_conditions(conditions: str) -> None:
    if conditions not in CONDITIONS:
        raise UserError(f"conditions should be one of {', '.join(CONDITIONS)}, not {conditions!r}")


def _check_ranges(task: Task, layout: Layout, given: Tensor) -> None:
    """Raises UserError where what a task lets be read gives nothing: it would be left out without a word.

    A stretch of several modalities may be too short for one of them, if that has another.
    """
    cells, end = layout.split(given), max(track.edges[-1] for track in layout.tracks)
    serves: dict[Interval, bool] = {}
    for name, known in task.known(layout).items():
        for left, right in known:
            if left >= end:
                raise UserError(
                    f"the task gives {name} from {float(left):g} to {float(right):g} s, but a clip ends at {float(end):g} s"
                )
            holds = bool((cells[name] & layout.cells(name, left, right)).any())
            serves[left, right] = serves.get((left, right), False) or holds
        if known and not cells[name].any():
            lengths = [right - left for left, right in layout.track(name).intervals]
            raise UserError(
                f"the task gives less of {name} than one of its segments, which take {float(min(lengths)):g} to {float(max(lengths)):g} s"
            )
    for (left, right), holds in serves.items():
        if not holds:
            raise UserError(f"what the task gives from {float(left):g} to {float(right):g} s is less than one segment")


def _check_shown(track: Track, given: Tensor, shown: Sequence[Interval], rate: Fraction) -> None:
    """Raises UserError if a cell is given of which no whole frame is: it would be conditioned on what nobody gave."""
    for (left, right), is_given in zip(track.intervals, given.tolist()):
        if is_given and not any(a < right and left < b for a, b in shown):
            raise UserError(
                f"the task gives {track.modality} between {float(left):g} and {float(right):g} s, but no whole frame or sample of "
                f"it, of which there are {float(rate):g} a second: give all of it, or less"
            )


@attrs.frozen(eq=False)
class GeneratedClip:
    """One generated clip.

    Attributes:
        signals: modality → signal ``(time, …)``, cropped to the recipe's output length.
        formats: modality → media format.
    """

    signals: dict[str, Tensor]
    formats: Mapping[str, MediaFormat]

    def save(self, path: Path | str) -> list[Path]:
        """Writes the clip; returns the files written. Raises MediaError if it cannot."""
        return write_clip(Path(path), self.signals, self.formats)


@attrs.frozen(eq=False)
class Pipeline:
    """A model, ready to generate.

    Attributes:
        assembly: its parts, with trained weights.
        device: where they are.
        calibration: sampler → parameters that were measured with these weights; a caller's own come first.
    """

    assembly: Assembly
    device: torch.device = attrs.field(default=torch.device("cpu"), converter=torch.device)
    calibration: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)

    @property
    def layout(self) -> Layout:
        """The tracks of a clip."""
        return self.assembly.layout

    @property
    def seconds(self) -> Fraction:
        """The length of a clip."""
        return self.assembly.recipe.seconds

    def plan(self, task: Task, plan: Plan | Component | str | None = None, steps: int | None = None) -> SamplingPlan:
        """The plan for a task; see :func:`plan_task`."""
        return plan_task(
            self.assembly.recipe, self.assembly.host, self.layout, self.assembly.schedule, task, plan, steps
        )

    def read(self, task: Task, files: Mapping[str, Path], start: Fraction, conditions: str) -> dict[str, Tensor]:
        """Signals of a clip's length, read from files.

        Args:
            task: says which stretches may be read.
            files: modality → media file.
            start: where in the files the clip starts, in seconds.
            conditions: one of :data:`CONDITIONS`.

        Returns:
            modality → ``(1, time, …)``. With ``conditions="ranges"`` they hold the frames and samples whose whole duration is
            known, and zero elsewhere.

        Raises:
            UserError: if a modality that the task gives has no file, or a file is for a modality that there is not.
            MediaError: if a file cannot give what is needed.
        """
        _check_conditions(conditions)
        unknown = files.keys() - set(self.layout.modalities)
        if unknown:
            raise UserError(f"the model has no modality {unknown.pop()!r}; it has {', '.join(self.layout.modalities)}")
        signals, cells = {}, self.layout.split(task.given(self.layout))
        for name, known in task.known(self.layout).items():
            modality = self.assembly.modalities[name]
            rate, canvas = modality.format.rate, torch.zeros(modality.format.shape(self.seconds))
            if known and name not in files:
                raise UserError(
                    f"the task is given {name}, so it needs a file to read it from: --input {name}=FILE (in Python {name}=FILE)"
                )
            if known and conditions == "clip":
                known = ((Fraction(0), self.seconds),)
            shown = [(math.ceil(left * rate), min(math.floor(right * rate), len(canvas))) for left, right in known]
            _check_shown(self.layout.track(name), cells[name], [(a / rate, b / rate) for a, b in shown if a < b], rate)
            for first, stop in shown:
                if first < stop:
                    part = modality.read(Path(files[name]), start + first / rate, (stop - first) / rate)
                    canvas[first:stop] = part
            signals[name] = canvas[None]
        return signals

    def encode(self, task: Task, signals: Mapping[str, Tensor], conditions: str = "ranges") -> dict[str, Tensor]:
        """Latents of what the task gives.

        Args:
            task: says which stretches are known.
            signals: modality → ``(B, time, …)`` of a clip's length, as :meth:`read` makes them.
            conditions: one of :data:`CONDITIONS`. With ``"ranges"`` the latents depend on nothing outside the known stretches.

        Returns:
            modality → normalised latents ``(B, N_m, *grid, channels)``, for the modalities that the task gives.
        """
        _check_conditions(conditions)
        latents = {}
        for name, known in task.known(self.layout).items():
            if known:
                signal = signals[name].to(self.device)
                latents[name] = self.assembly.modalities[name].encode(signal, known if conditions == "ranges" else None)
        return latents

    def decode(self, latents: Mapping[str, Tensor], seconds: Fraction | None = None) -> dict[str, Tensor]:
        """Signals ``(B, time, …)`` of all modalities, cropped to so many seconds: to the recipe's output length where None."""
        seconds = seconds or self.assembly.recipe.output_seconds or self.seconds
        return {
            name: modality.decode(latents[name])[:, : modality.format.shape(seconds)[0]]
            for name, modality in self.assembly.modalities.items()
        }

    def build_sampler(self, sampler: Sampler | Component | str) -> Sampler:
        """The sampler, with what was measured of this model; an object is taken as it is."""
        sampler = parsed(sampler)
        if isinstance(sampler, Component):
            measured = self.calibration.get(sampler.name, {})
            sampler = Component(sampler.name, {**measured, **sampler.parameters})
        return built(self.assembly.host, "sampler", sampler)

    def sample(
        self,
        plan: SamplingPlan,
        keys: Keys,
        given: Latents,
        *,
        sampler: Sampler | Component | str | None = None,
        guidance: Guidance | Component | str | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> dict[str, Tensor]:
        """Generates latents.

        Args:
            plan: of the task.
            keys: ``(B,)``, as :func:`mmseqdiff.random.example_keys` makes them: one clip follows from each.
            given: normalised latents ``(B, N_m, *grid, channels)`` of the modalities that the plan gives cells of, as
                :meth:`encode` makes them.
            sampler: an object, or its name as the command line has it; the recipe's where None.
            guidance: likewise.
            progress: wraps the iteration over steps.

        Returns:
            Normalised latents of all modalities.

        Raises:
            UserError: if the guidance does not fit the model.
            PluginError: if there is no such plugin, or one returns something else than its contract says.
        """
        sampling, host = self.assembly.recipe.sampling, self.assembly.host
        stepper = self.build_sampler(sampling.sampler if sampler is None else sampler)
        chosen = parsed(sampling.guidance if guidance is None else guidance)
        denoiser = self.assembly.denoiser
        if chosen is not None:
            guide: Guidance = built(host, "guidance", chosen)
            try:
                stepper, denoiser = guide.sampler(stepper, denoiser), guide(denoiser)
            except (ValueError, KeyError) as error:
                raise UserError(f"the guidance {_called(chosen)} does not fit the model: {error.args[0]}") from error
        observe = host.listener("sampling_step")
        return generate(denoiser, stepper, plan, keys.to(self.device), given=given, progress=progress, observe=observe)

    def generate(
        self,
        task: Task | str,
        *,
        start: Fraction | float = 0,
        steps: int | None = None,
        plan: Plan | Component | str | None = None,
        sampler: Sampler | Component | str | None = None,
        guidance: Guidance | Component | str | None = None,
        conditions: str = "ranges",
        seed: int = 0,
        num: int = 1,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
        **files: Path | str,
    ) -> list[GeneratedClip]:
        """Generates ``num`` clips for one task; warns if the model never trained a matrix that the plan asks for.

        Args:
            task: what is given; a string as :func:`build_task` takes it.
            start: where in the files the clip starts, in seconds.
            steps: sampling steps; the plan's own where None.
            plan: an object, or its name as the command line has it (``"cascade:leads.audio=1"``); the recipe's where None.
            sampler: likewise.
            guidance: likewise.
            conditions: one of :data:`CONDITIONS`.
            seed: the samples follow from it and their number.
            num: how many.
            progress: wraps the iteration over steps.
            **files: modality → media file to read it from; only what the task gives is read.

        Raises:
            UserError: if the task does not fit the model, or a file is missing or cannot give what is needed.
        """
        if isinstance(task, str):
            task = build_task(self.assembly.host, task)
        made = self.plan(task, plan, steps)
        warn_off_support(made, self.assembly.policy)
        signals = self.read(
            task, {name: Path(path) for name, path in files.items()}, exact_seconds(start, "start"), conditions
        )
        given = {
            name: latents.expand(num, *latents.shape[1:])
            for name, latents in self.encode(task, signals, conditions).items()
        }
        keys = random.example_keys(seed, range(num))
        decoded = self.decode(self.sample(made, keys, given, sampler=sampler, guidance=guidance, progress=progress))
        formats = {name: modality.format for name, modality in self.assembly.modalities.items()}
        return [GeneratedClip({name: signal[n].cpu() for name, signal in decoded.items()}, formats) for n in range(num)]


def find_model(host: Host, model: Path | str | None = None) -> Path:
    """A run's folder.

    Args:
        host: knows the models that plugins ship.
        model: a run's folder, or the name of a shipped model; the first such where None.

    Raises:
        UserError: if there is none.
    """
    if model is None:
        shipped = host.names("model")
        if not shipped:
            raise UserError("no installed plugin ships a model: install mmseqdiff-demo, or name a run's folder")
        model = shipped[0]
    folder = Path(model)
    if folder.is_dir():
        return folder
    if str(model) not in host.names("model"):
        raise UserError(
            f"there is no folder {model}, and no plugin ships a model of that name; {closest(str(model), host.names('model'))}"
        )
    return Path(host.build("model", str(model)))


def load(model: Path | str | None = None, *, device: str = "cpu", host: Host | None = None) -> Pipeline:
    """A trained model.

    Args:
        model: a run's folder, or the name of a model that a plugin ships; the first such where None.
        device: where to put it.
        host: the plugins; all installed ones where None.

    Raises:
        UserError: if there is no such model, or it is damaged or does not fit the installed plugins.
    """
    host = host or load_plugins()
    folder = find_model(host, model)
    return Pipeline(load_run(folder, host, device), device, read_calibration(folder))
