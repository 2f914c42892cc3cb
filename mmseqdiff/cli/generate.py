"""``mmseqdiff generate``: media files from a trained model."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["generate"]


def generate(
    task: Annotated[str, typer.Argument(help="NAME, NAME:key=value,… or given ranges as 'video:0-0.625 audio:0-2'.")],
    out: Annotated[Path, typer.Option(help="The file to write: .mp4, .mov, or .mkv (lossless).")],
    model: Annotated[
        str | None, typer.Option(help="A run's folder, or a shipped model; the demo's by default.")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="The file that given video is read from.")] = None,
    audio: Annotated[Path | None, typer.Option(help="The file that given audio is read from.")] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", help="MODALITY=FILE, for any modality.")] = None,
    start: Annotated[float, typer.Option(help="Where in the files the clip starts, in seconds.")] = 0.0,
    seconds: Annotated[
        float | None, typer.Option(help="Any length, window by window, for tasks that give the start or nothing.")
    ] = None,
    overlap: Annotated[float, typer.Option(help="With --seconds: what windows share, in seconds.")] = 0.625,
    plan: Annotated[str | None, typer.Option(help="NAME or NAME:key=value,…; the recipe's if not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of every cell; the plan's own if not given.")] = None,
    sampler: Annotated[str | None, typer.Option(help="NAME or NAME:key=value,…; the recipe's if not given.")] = None,
    guidance: Annotated[str | None, typer.Option(help="NAME or NAME:key=value,…; the recipe's if not given.")] = None,
    conditions: Annotated[
        str, typer.Option(help="'ranges', or 'clip': encode the whole clip, which leaks.")
    ] = "ranges",
    seed: Annotated[int, typer.Option(help="The samples follow from it.")] = 0,
    num: Annotated[int, typer.Option(help="How many clips; more than one are numbered.")] = 1,
    device: Annotated[str, typer.Option(help="Where to sample: cpu, cuda …")] = "cpu",
) -> None:
    """Generate clips for TASK: what is given is read from media files, the rest is sampled."""
    from rich.console import Console
    from rich.progress import track

    from mmseqdiff.data.media import clip_writer, codecs_for
    from mmseqdiff.errors import UserError
    from mmseqdiff.long import generate_long
    from mmseqdiff.pipeline import build_task, load

    if num < 1:
        raise UserError(f"--num must be at least 1, got {num}")
    if seconds is not None and conditions != "ranges":
        raise UserError("--conditions clip needs the whole clip that is to be generated, and goes with no --seconds")
    files = {name: path for name, path in (("video", video), ("audio", audio)) if path is not None}
    for entry in input_ or []:
        name, separator, path = entry.partition("=")
        if not separator:
            raise UserError(f"--input {entry!r} should read MODALITY=FILE")
        files[name] = Path(path)

    console = Console(stderr=True)
    pipeline = load(model, device=device)
    formats = {name: modality.format for name, modality in pipeline.assembly.modalities.items()}
    codecs_for(out, formats)  # a suffix that cannot hold them is refused before the work
    built = build_task(pipeline.assembly.host, task)
    options = {
        "start": start,
        "steps": steps,
        "plan": plan,
        "sampler": sampler,
        "guidance": guidance,
        "seed": seed,
        **files,
    }

    def named(n: int) -> Path:
        return out if num == 1 else out.with_stem(f"{out.stem}-{n:03d}")

    if seconds is not None:
        for n in range(num):
            clip = generate_long(
                pipeline, built, seconds, overlap=overlap, sample=n,
                progress=lambda windows: track(windows, "windows", console=console), **options,
            )  # fmt: skip
            with clip_writer(named(n), clip.formats) as writer:
                for piece in clip:
                    writer.write(piece)
            print(*writer.files, sep="\n")
        return
    if conditions == "clip":
        console.print("warning: --conditions clip encodes what is to be generated too; given latents may have seen it")
    clips = pipeline.generate(
        built,
        conditions=conditions,
        num=num,
        progress=lambda rows: track(rows, "sampling", console=console),
        **options,
    )
    for n, clip in enumerate(clips):
        print(*clip.save(named(n)), sep="\n")
