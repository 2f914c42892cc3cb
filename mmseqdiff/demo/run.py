"""Runs the demonstration: every task, a minute of training, and the page that shows them."""

import re
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from shlex import quote

import attrs
from rich.console import Console
from rich.progress import track

from mmseqdiff.demo.examples import make_example
from mmseqdiff.demo.page import Page, Section, Training, write_page
from mmseqdiff.demo.training import draw_losses, train_on
from mmseqdiff.errors import MediaError
from mmseqdiff.evaluate.clips import RealClip, read_clip, read_folder
from mmseqdiff.evaluate.conditional import encode_clips, measure_conditional
from mmseqdiff.evaluate.samples import generate_comparisons
from mmseqdiff.picture import draw_plan
from mmseqdiff.pipeline import Pipeline, build_task
from mmseqdiff.protocols import Latents, Task

__all__ = ["TASKS", "Demo"]

TASKS: Mapping[str, tuple[str, str]] = {
    "joint": ("Joint generation", "Nothing is given: picture and sound are drawn together from noise."),
    "a2v": ("Audio to video", "All of the sound is given, and the picture is made for it."),
    "v2a": ("Video to audio", "All of the picture is given, and the sound is made for it."),
    "continue": ("Continuation", "The first 0.625 s of picture and sound are given, and the clip goes on from there."),
    "inpaint": ("Inpainting", "The beginning and the end are given, and the 1.5 s between them are filled in."),
}
"""What is shown unless told otherwise: task → title and text. Others have their plugin's summary for a text."""


@attrs.frozen(eq=False, kw_only=True)
class Demo:
    """The demonstration of one model.

    Attributes:
        pipeline: the model.
        run: the model's folder.
        clips: a folder of media files that the model has not seen.
        out: gets the media, the pictures and ``index.html``.
        video: a file of the user's, to generate from as well.
        start: where in it the clip starts, in seconds.
        tasks: what to show, each as :func:`mmseqdiff.pipeline.build_task` takes it.
        num: how many of the clips are generated from and shown, at least 2; all are measured and trained on.
        steps: sampling steps; the recipe's where None.
        training_seconds: how long to train; 0 for not at all.
        seed: of the samples.
        console: for progress.
    """

    pipeline: Pipeline
    run: Path
    clips: Path
    out: Path
    video: Path | None = None
    start: Fraction = Fraction(0)
    tasks: Sequence[str] = tuple(TASKS)
    num: int = attrs.field(default=4, validator=attrs.validators.ge(2))
    steps: int | None = None
    training_seconds: float = 60.0
    seed: int = 0
    console: Console = attrs.field(factory=lambda: Console(stderr=True))

    def __call__(self) -> Path:
        """Runs it; returns the page.

        Raises:
            MediaError: before anything is generated, if the user's file cannot give a clip, or there are fewer than
                two others; later, if a file cannot be written.
            KeyboardInterrupt: if training was stopped with Ctrl-C.
        """
        own = [] if self.video is None else [read_clip(self.pipeline, self.video, self.start)]
        real, _ = read_folder(self.pipeline, self.clips)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MediaError(f"{self.out} cannot hold the page: {error.strerror or error}") from None
        z0 = encode_clips(self.pipeline, real)
        sections = tuple(self._section(name, real, own, z0) for name in self.tasks)
        training = self._training() if self.training_seconds else None
        path = self.out / "index.html"
        write_page(Page(self._facts(len(real)), sections, training), path)
        return path

    def _facts(self, clips: int) -> tuple[str, ...]:
        assembly = self.pipeline.assembly
        weights = sum(parameter.numel() for parameter in assembly.backbone.parameters())
        latents = (f"{track.modality} {' × '.join(map(str, track.shape))}" for track in assembly.layout.tracks)
        return (
            f"recipe {assembly.recipe.name}",
            f"{weights / 1e6:.1f} million weights",
            f"clips of {float(self.pipeline.seconds):g} s",
            f"latents: {', '.join(latents)}",
            f"{clips} clips that it was not trained on",
        )

    def _section(self, name: str, real: Sequence[RealClip], own: Sequence[RealClip], z0: Latents) -> Section:
        """Runs one task."""
        task = build_task(self.pipeline.assembly.host, name)
        plan = self.pipeline.plan(task, steps=self.steps)
        stem = re.sub(r"[^\w-]+", "_", name)
        draw_plan(plan, self.out / f"{stem}-plan.png")
        given = [modality for modality, row in plan.layout.split(plan.given).items() if row.any()]
        shown = [*real[: self.num], *own] if given else real[: self.num]

        began = time.monotonic()
        made = generate_comparisons(
            self.pipeline,
            task,
            plan,
            shown,
            seed=self.seed,
            batch_size=len(shown),
            progress=lambda rows: track(rows, f"{name}, {len(shown)} clips", console=self.console),
        )
        seconds = (time.monotonic() - began) / len(shown)
        examples = []
        for n, (clip, comparison) in enumerate(zip(shown, made)):
            title = f"your file: {clip.file.name}" if clip in own else clip.file.name if given else f"sample {n + 1}"
            other = made[(n + 1) % min(self.num, len(real))]  # never the user's
            examples.append(make_example(self.pipeline, comparison, other, title, f"{stem}-{n}", self.out))
        file = real[0].file
        source = str(file.relative_to(self.out) if file.is_relative_to(self.out) else file.name)
        inputs = "".join(
            f" --{modality} {quote(source)}"
            if modality in ("video", "audio")
            else f" --input {quote(f'{modality}={source}')}"
            for modality in given
        )
        title, text = self._words(name)
        return Section(
            task=name,
            title=title,
            text=text,
            plan=f"{stem}-plan.png",
            facts=(
                f"{int(plan.given.sum())} of {int(plan.layout.valid.sum())} cells given",
                f"{plan.steps} steps",
                f"{seconds:.1f} s a clip",
            ),
            command=f"mmseqdiff generate {quote(name)}{inputs} --steps {plan.steps} --out {stem}.mp4",
            finding=self._finding(task, real, z0) if given else "",
            examples=tuple(examples),
        )

    def _words(self, name: str) -> tuple[str, str]:
        """A task's title and text."""
        if name in TASKS:
            return TASKS[name]
        known = {entry.name: entry.summary for entry in self.pipeline.assembly.host.registrations("task")}
        kind = name.partition(":")[0]
        return name.replace("_", " ").capitalize(), known.get(kind, "What is given is named by its stretches of time.")

    def _finding(self, task: Task, real: Sequence[RealClip], z0: Latents) -> str:
        """What the conditional losses over all clips say."""
        test = measure_conditional(self.pipeline, task, real, z0, seed=self.seed).overall
        means = [sum(values) / len(values) for values in (test.own, test.other)]
        return (
            f"Does it listen to what it is given? Its loss on the rest is {means[0]:.3f} with the "
            f"clip’s own condition and {means[1]:.3f} with another clip’s; its own is better in "
            f"{sum(test.gains > 0)} of {len(test.own)} clips (paired test: p = {test.p_value:.2g})."
        )

    def _training(self) -> Training:
        """Trains on, and draws the losses."""
        result = train_on(
            self.pipeline, self.run, self.clips, self.out, seconds=self.training_seconds, console=self.console
        )
        if result is None:
            raise KeyboardInterrupt
        draw_losses(result, self.out / "training.png")
        return Training(
            plot="training.png",
            text=(
                f"The same training code goes on from these weights for {result.steps} steps ({result.seconds:.0f} s), all "
                f"{result.clips} clips in each. It learns these few clips by heart: that shows that training works, not "
                "that the model has become better at others. The loss is that of the averaged weights."
            ),
            before=result.losses[0],
            after=result.losses[result.steps],
        )
