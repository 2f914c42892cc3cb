"""``mmseqdiff reconstruct``: what a codec makes of a file, to be looked at, listened to and measured."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["reconstruct"]


def reconstruct(
    file: Annotated[Path, typer.Argument(metavar="IN", help="A media file.")],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The file to write: .mp4, .mov, or .mkv (lossless); .wav for sound alone."),
    ],
    codec: Annotated[list[Path] | None, typer.Option(help="The folder of a trained codec; may be repeated.")] = None,
    model: Annotated[str | None, typer.Option(help="All codecs of a run's folder, or of a shipped model.")] = None,
    start: Annotated[float, typer.Option(help="Where in the file to start, in seconds.")] = 0.0,
    seconds: Annotated[float, typer.Option(help="At most so many; they are coded at once.")] = 10.0,
    device: Annotated[str, typer.Option(help="Where to code: cpu, cuda …")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Write IN beside its reconstruction to OUT, with PSNR and SSIM of video, SI-SDR and mel distance of sound."""
    from rich.console import Console

    from mmseqdiff.errors import UserError
    from mmseqdiff.evaluate.reconstruction import load_modality, write_beside
    from mmseqdiff.evaluate.reconstruction import reconstruct as run
    from mmseqdiff.host import load_plugins
    from mmseqdiff.pipeline import load

    if bool(codec) == (model is not None):
        raise UserError("name either --codec FOLDER, once or more, or --model RUN")
    if start < 0 or seconds <= 0:
        raise UserError(f"--start must not be negative and --seconds must be positive, got {start} and {seconds}")
    host = load_plugins()
    if model is not None:
        modalities = load(model, device=device, host=host).assembly.modalities
    else:
        modalities = dict(load_modality(host, folder, device) for folder in codec)
    found = {
        name: run(modality, file, Fraction(str(start)), Fraction(str(seconds)), device)
        for name, modality in modalities.items()
    }
    files = write_beside(out, found)
    if as_json:
        print(json.dumps({name: dict(each.quality) for name, each in found.items()}, indent=1))
        return
    console = Console()
    for name, each in found.items():
        values = ", ".join(f"{key} {value:.4g}" for key, value in each.quality.items())
        console.print(f"{name}, {float(len(each.signal) / each.format.rate):.4g} s: {values}", markup=False)
    console.print(f"written: {', '.join(map(str, files))}", markup=False, soft_wrap=True)
