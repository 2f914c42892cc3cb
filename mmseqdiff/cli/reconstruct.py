"""``mmseqdiff reconstruct``: what a codec makes of files, to be looked at, listened to and measured."""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import typer

__all__ = ["reconstruct"]


def reconstruct(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A media file, or a folder of them.")],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="The file to write: .mp4, .mov, or .mkv (lossless); .wav for sound alone. Of a folder, a folder of .mp4.",
        ),
    ],
    codec: Annotated[list[Path] | None, typer.Option(help="The folder of a trained codec; may be repeated.")] = None,
    model: Annotated[str | None, typer.Option(help="All codecs of a run's folder, or of a shipped model.")] = None,
    start: Annotated[float, typer.Option(help="Where in a file to start, in seconds.")] = 0.0,
    seconds: Annotated[float, typer.Option(help="At most so many; they are coded at once.")] = 10.0,
    device: Annotated[str, typer.Option(help="Where to code: cpu, cuda …")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Write IN beside its reconstruction to OUT, with PSNR and SSIM of video, SI-SDR and mel distance of sound, and what
    installed metrics say of it; of a folder the mean over files."""
    from rich.console import Console
    from rich.progress import track

    from mmseqdiff.errors import MediaError, UserError
    from mmseqdiff.evaluate import reconstruction
    from mmseqdiff.host import load_plugins
    from mmseqdiff.pipeline import load

    if bool(codec) == (model is not None):
        raise UserError("name either --codec FOLDER, once or more, or --model RUN")
    if start < 0 or seconds <= 0:
        raise UserError(f"--start must not be negative and --seconds must be positive, got {start} and {seconds}")
    if source.resolve() == out.resolve():
        raise UserError(f"OUT would replace IN, {source}: name another")
    host = load_plugins()
    if model is not None:
        modalities = load(model, device=device, host=host).assembly.modalities
    else:
        modalities = dict(reconstruction.load_modality(host, folder, device) for folder in codec)
    metrics = {name: host.build("metric", name) for name in host.names("metric")}
    begin, longest = Fraction(str(start)), Fraction(str(seconds))

    def measured(file: Path, path: Path) -> tuple[list[Path], dict[str, dict[str, float]]]:
        found = {
            name: reconstruction.reconstruct(modality, file, begin, longest, device)
            for name, modality in modalities.items()
        }
        judged = reconstruction.judge(metrics, found, file, begin)
        return reconstruction.write_beside(path, found), {
            name: {"seconds": float(len(each.signal) / each.format.rate), **each.quality, **judged[name]}
            for name, each in found.items()
        }

    console = Console(stderr=as_json)
    if source.is_dir():
        rows = []
        for file, path in track(_pairs(source, out), "reconstructing", console=console):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                rows.append(measured(file, path)[1])
            except MediaError as error:
                console.print(f"left out: {error}", markup=False, soft_wrap=True)
        if not rows:
            raise UserError(f"{source} has no file that could be reconstructed")
        files, quality = [out], {name: _summary([row[name] for row in rows]) for name in modalities}
    else:
        files, quality = measured(source, out)
    if as_json:
        print(json.dumps(quality, indent=1))
        return
    for name, values in quality.items():
        text = ", ".join(f"{key} {_text(value)}" for key, value in values.items())
        over = f", mean of {len(rows)} files ± standard error" if source.is_dir() else ""
        console.print(f"{name}{over}: {text}", markup=False, soft_wrap=True, highlight=False)
    console.print(f"written: {', '.join(map(str, files))}", markup=False, soft_wrap=True)


def _pairs(folder: Path, out: Path) -> list[tuple[Path, Path]]:
    """Every media file of a folder, and where its reconstruction goes."""
    from mmseqdiff.data.clips import media_files
    from mmseqdiff.errors import UserError

    pairs: dict[Path, Path] = {}
    for file in media_files(folder):
        path = (out / file.relative_to(folder)).with_suffix(".mp4")
        if path in pairs:
            raise UserError(f"{pairs[path]} and {file} would both be written to {path}: rename one")
        pairs[path] = file
    return [(file, path) for path, file in pairs.items()]


def _summary(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard error of every value, over the files that have it."""
    columns = {key: [row[key] for row in rows if key in row] for key in {key: None for row in rows for key in row}}
    return {
        key: {
            "mean": mean(values),
            "standard error": stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0,
            "files": len(values),
        }
        for key, values in columns.items()
    }


def _text(value: float | Mapping[str, float]) -> str:
    if isinstance(value, Mapping):
        return f"{value['mean']:.4g} ± {value['standard error']:.2g}"
    return f"{value:.4g}"
