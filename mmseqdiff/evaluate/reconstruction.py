"""What a codec loses: a file's signal beside what is left of it after encoding and decoding.

To the numbers of :mod:`mmseqdiff.fidelity` come installed metrics that have something to say of the file: a reconstruction
is judged as if it had been generated, with the other signals given.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.data.media import write_clip
from mmseqdiff.device import usable_device
from mmseqdiff.errors import CheckpointError, MediaError
from mmseqdiff.evaluate.samples import checked
from mmseqdiff.fidelity import fidelity
from mmseqdiff.host import Host
from mmseqdiff.modality import Modality
from mmseqdiff.protocols import Comparison, MediaFormat, Metric
from mmseqdiff.recipe import Component
from mmseqdiff.train import checkpoint
from mmseqdiff.train.codec_folder import load_codec

__all__ = ["Reconstruction", "files_beside", "judge", "load_modality", "reconstruct", "write_beside"]


@attrs.frozen(eq=False)
class Reconstruction:
    """A signal and what its codec made of it.

    Attributes:
        signal: ``(time, …)``, cropped to the reconstruction's length.
        reconstruction: of the same shape.
        format: of both.
        quality: named numbers, by :func:`mmseqdiff.fidelity.fidelity`.
    """

    signal: Float[Tensor, "time ..."]
    reconstruction: Float[Tensor, "time ..."]
    format: MediaFormat
    quality: Mapping[str, float]


def load_modality(host: Host, folder: Path, device: str = "cpu") -> tuple[str, Modality]:
    """The modality of a codec that was trained into a folder, by name, with the codec's weights.

    Raises:
        CheckpointError: if the folder holds no codec, or a damaged one.
        PluginError: if its plugin is missing.
        UserError: if the device cannot be used here.
    """
    manifest = checkpoint.read_manifest(folder)
    try:
        name, component = manifest["modality"], dict(manifest["component"])
        parts = Component(component.pop("name"), component)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'manifest.json'} does not say what codec this is: {error}") from error
    modality = parts.build(host, "modality")
    load_codec(modality.codec, folder)
    modality.codec.to(usable_device(device)).eval().requires_grad_(False)
    return name, modality


def reconstruct(
    modality: Modality, path: Path, start: Fraction, seconds: Fraction, device: str = "cpu"
) -> Reconstruction:
    """Encodes and decodes a stretch of a file, as long as the codec can take of it.

    Args:
        modality: with a trained codec.
        path: a media file.
        start: where in the file, in seconds.
        seconds: at most so many.
        device: where the codec is.

    Raises:
        MediaError: if the file cannot give it, or what there is of it is too short for the codec.
    """
    format, codec = modality.format, modality.codec
    length = _fitting(modality, format.shape(min(seconds, format.duration(path) - start))[0], path)
    signal = format.read(path, start, length / format.rate).to(device)
    with torch.no_grad():
        reconstruction = codec.decode(codec.encode(signal[None]))[0]
    signal = signal[: len(reconstruction)]
    quality = fidelity(codec, format, signal, reconstruction)
    return Reconstruction(signal.cpu(), reconstruction.cpu(), format, quality)


def _fitting(modality: Modality, longest: int, path: Path) -> int:
    """The longest length up to ``longest`` that the codec takes."""
    for length in range(longest, 0, -1):
        try:
            modality.codec.segments(length)
        except ValueError:
            continue
        return length
    raise MediaError(f"{path}: {max(longest, 0)} frames or samples from there on are too short for the codec")


def judge(
    metrics: Mapping[str, Metric], reconstructions: Mapping[str, Reconstruction], file: Path, start: Fraction
) -> dict[str, dict[str, float]]:
    """What metrics say of each reconstruction, beside the other modalities' signals.

    Args:
        metrics: by name; those that have nothing to say of a file are passed over.
        reconstructions: of one file, by modality.
        file: the media file.
        start: where in it they start, in seconds.

    Returns:
        Modality → ``metric/value`` → number.
    """
    real = {name: each.signal for name, each in reconstructions.items()}
    found: dict[str, dict[str, float]] = {}
    for name, each in reconstructions.items():
        comparison = Comparison(
            generated={**real, name: each.reconstruction},
            real=real,
            given={other: torch.full((len(signal),), other != name) for other, signal in real.items()},
            rates={other: each.format.rate for other, each in reconstructions.items()},
            file=file,
            start=start,
        )
        found[name] = {
            f"{kind}/{value}": number
            for kind, metric in metrics.items()
            if (values := metric(comparison))
            for value, number in checked(metric, values, file).items()
        }
    return found


def files_beside(path: Path) -> tuple[Path, Path]:
    """Where :func:`write_beside` writes: reconstructions, and the sounds of the input."""
    return path, path.with_stem(f"{path.stem}.input")


def write_beside(path: Path, reconstructions: Mapping[str, Reconstruction]) -> list[Path]:
    """Writes inputs beside reconstructions: of video the input to the left in one picture; of sound the reconstruction,
    and the input into ``<name>.input<suffix>``.

    Returns:
        The files written.

    Raises:
        MediaError: if one cannot be written.
    """
    shown, heard = {}, {}
    for name, each in reconstructions.items():
        if each.format.stream == "video":
            shown[name] = torch.cat([each.signal, each.reconstruction], dim=2)
        else:
            shown[name], heard[name] = each.reconstruction, each.signal
    formats = {name: each.format for name, each in reconstructions.items()}
    beside, of_input = files_beside(path)
    files = write_clip(beside, shown, formats)
    return files + (write_clip(of_input, heard, formats) if heard else [])
