"""``mmseqdiff encode``: fills a latent store from a folder of media files."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["encode"]


def encode(
    folder: Annotated[Path, typer.Argument(help="A folder of media files.")],
    recipe: Annotated[str, typer.Option(help="A recipe's name, or a TOML file.")],
    out: Annotated[Path, typer.Option(help="The store; if it exists, it is completed.")],
    codec: Annotated[
        list[str] | None,
        typer.Option(
            help="MODALITY=FOLDER of a codec, trained or pretrained; once per modality, but for codecs without "
            "weights and for pretrained ones whose model the recipe names."
        ),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Overrides the recipe: path.to.field=value.")] = None,
    stride: Annotated[
        str | None, typer.Option(help="Seconds from one clip's start to the next; the clip's length if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips encoded at once.")] = 8,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="How latents are stored: float32, or float16, which takes half the room. If not given, as the store "
            "that is there has them; a new one has float32."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to encode: cpu, cuda …")] = "cpu",
    engine: Annotated[
        str, typer.Option(help="Whose workers encode: those of this machine (local) or of Ray (ray).")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that encode, with one thread each. By default local: this one; ray: all."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; RAY_ADDRESS if not given, else this machine becomes one.")
    ] = None,
) -> None:
    """Encode every media file of FOLDER into the store OUT. The same command resumes."""
    from mmseqdiff.data.store import DTYPES
    from mmseqdiff.data.workers import Here, Processes, Ray
    from mmseqdiff.device import usable_device
    from mmseqdiff.errors import UserError
    from mmseqdiff.host import load_plugins
    from mmseqdiff.recipe import load_recipe
    from mmseqdiff.train.latents import encode_to_store
    from mmseqdiff.values import exact_seconds

    folders = {}
    for entry in codec or []:
        name, separator, path = entry.partition("=")
        if not separator:
            raise UserError(f"--codec {entry!r} should read MODALITY=FOLDER")
        folders[name] = Path(path)
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"--dtype {dtype!r} should be {' or '.join(DTYPES)}")
    if engine not in ("local", "ray"):
        raise UserError(f"--engine {engine!r} should be local or ray")
    if engine == "local" and address is not None:
        raise UserError(f"--address {address} is that of a Ray cluster; pass --engine ray, too")
    if engine == "ray":
        crew = Ray(workers, address, gpus=int(device.startswith("cuda")))
    else:
        usable_device(device)  # with Ray it is the workers', and this machine need not have it
        crew = Here() if workers is None else Processes(workers)
    host = load_plugins()
    report = encode_to_store(
        load_recipe(host, recipe, set_ or []),
        host,
        folder,
        folders,
        out,
        stride=None if stride is None else exact_seconds(stride, "--stride"),
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        crew=crew,
    )
    print(report)
