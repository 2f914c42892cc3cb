"""``mmseqdiff reconstruct``: what a codec makes of files, to be looked at, listened to and measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
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
    """Write IN beside its reconstruction to OUT, with PSNR and SSIM of video, SI-SDR of sound, what the codec
    reports itself and what installed metrics say of it; of a folder the mean over files."""
    from rich.console import Console
    from rich.progress import track

    from mmseqdiff.errors import MediaError, PluginError, UserError
    from mmseqdiff.evaluate import reconstruction
    from mmseqdiff.host import load_plugins
    from mmseqdiff.pipeline import load
    from mmseqdiff.values import exact_seconds

    if bool(codec) == (model is not None):
        raise UserError("name either --codec FOLDER, once or more, or --model RUN")
    begin, longest = exact_seconds(start, "--start"), exact_seconds(seconds, "--seconds")
    if begin < 0 or longest <= 0:
        raise UserError(f"--start must not be negative and --seconds must be positive, got {start} and {seconds}")
    places = _places(source, out)
    host = load_plugins()
    if model is not None:
        modalities = load(model, device=device, host=host).assembly.modalities
    else:
        modalities = dict(reconstruction.load_modality(host, folder, device) for folder in codec)
    metrics = {name: host.build("metric", name) for name in host.names("metric")}
    console, several = Console(stderr=as_json), source.is_dir()

    rows, files = [], []
    for file, path in track(places.items(), "reconstructing", console=console, disable=not several):
        try:
            found = {
                name: reconstruction.reconstruct(modality, file, begin, longest, device)
                for name, modality in modalities.items()
            }
        except MediaError as error:
            if not several:
                raise
            console.print(f"left out: {error}", markup=False, soft_wrap=True, highlight=False)
            continue
        files += reconstruction.write_beside(path, found)
        try:
            judged = reconstruction.judge(metrics, found, file, begin)
        except (MediaError, PluginError) as error:
            console.print(f"not measured: {error}", markup=False, soft_wrap=True, highlight=False)
            judged = {name: {} for name in found}
        rows.append(
            {
                name: {"seconds": float(len(each.signal) / each.format.rate), **each.quality, **judged[name]}
                for name, each in found.items()
            }
        )
    if not rows:
        raise UserError(f"{source} has no file that could be reconstructed")
    quality = {name: _summary([row[name] for row in rows]) for name in modalities} if several else rows[0]
    if as_json:
        print(json.dumps(quality, indent=1))
        return
    for name, values in quality.items():
        over = f", mean of {len(rows)} files ± standard error" if several else ""
        text = ", ".join(f"{key} {_text(value, len(rows))}" for key, value in values.items())
        console.print(f"{name}{over}: {text}", markup=False, soft_wrap=True, highlight=False)
    console.print(f"written: {out if several else ', '.join(map(str, files))}", markup=False, soft_wrap=True)


def _places(source: Path, out: Path) -> dict[Path, Path]:
    """Every file to reconstruct, and where its reconstruction goes.

    Raises:
        UserError: if a file would be written over another, an input among them.
    """
    from mmseqdiff.data.clips import media_files
    from mmseqdiff.errors import UserError
    from mmseqdiff.evaluate.reconstruction import files_beside

    if not source.is_dir():
        places = {source: out}
    elif out.is_file():
        raise UserError(f"OUT, {out}, is a file; of a folder, a folder is written")
    elif out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"OUT, {out}, lies in IN, {source}, whose files it would join: name a folder elsewhere")
    else:
        places = {file: (out / file.relative_to(source)).with_suffix(".mp4") for file in media_files(source)}
    inputs, written = {file.resolve() for file in places}, {}
    for file, place in places.items():
        for path in files_beside(place):
            other = written.setdefault(path.resolve(), file)
            if path.resolve() in inputs or other is not file:
                why = "an input" if path.resolve() in inputs else f"written for {other}, too"
                raise UserError(f"reconstructing {file} would write {path}, which is {why}: rename one")
    return places


def _summary(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard error of every value, over the files that have it; of one file there is no error."""
    import numpy as np

    found = {}
    for key in {key: None for row in rows for key in row}:
        values = np.array([row[key] for row in rows if key in row])
        found[key] = {"mean": float(values.mean()), "files": len(values)}
        if len(values) > 1:
            with np.errstate(invalid="ignore"):  # of an infinite value, which a codec may report
                found[key]["standard error"] = float(values.std(ddof=1) / len(values) ** 0.5)
    return found


def _text(value: float | Mapping[str, float], files: int) -> str:
    if not isinstance(value, Mapping):
        return f"{value:.4g}"
    error = f" ± {value['standard error']:.2g}" if "standard error" in value else ""
    return f"{value['mean']:.4g}{error}" + (f" ({value['files']} files)" if value["files"] < files else "")
