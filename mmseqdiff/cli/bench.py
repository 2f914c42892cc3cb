"""``mmseqdiff bench …``: how far the parts are from what is known to be exact."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["bench"]

bench = typer.Typer(help="Hold the parts against closed forms, and against others.", no_args_is_help=True)
"""The group of these commands."""


@bench.command()
def exact(
    sampler: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME:key=value,…; every registered one by default.")
    ] = None,
    plan: Annotated[
        list[str] | None, typer.Option(help="In the same way, or log_snr; full and log_snr by default.")
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="In the same way; joint, a2v and inpaint by default.")] = None,
    schedule: Annotated[str, typer.Option(help="The noise schedule, in the same way.")] = "linear",
    steps: Annotated[str, typer.Option(help="Steps from T to level 1, for the order.")] = "16,32,64,128,256",
    evaluations: Annotated[str, typer.Option(help="Network evaluations down to level 0.")] = "5,10,20,50,100,250",
    seed: Annotated[int, typer.Option(help="The world follows from it.")] = 0,
    png: Annotated[Path | None, typer.Option(help="Also draw the errors into this PNG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure every sampler on a Gaussian world: order of convergence, and distance to the truth per evaluation."""
    from rich.console import Console
    from rich.progress import track

    from mmseqdiff.bench.exact import LOG_SNR, Laboratory, bench_exact, default_samplers
    from mmseqdiff.host import load_plugins

    host = load_plugins()
    report = bench_exact(
        Laboratory.build(host, schedule, seed),
        sampler or default_samplers(host),
        plan or ["full", LOG_SNR],
        task or ["joint", "a2v", "inpaint"],
        _counts("--steps", steps),
        _counts("--evaluations", evaluations),
        progress=lambda pairs: track(pairs, "measuring", console=Console(stderr=True)),
    )
    if png is not None:
        report.draw(png)
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        _show(report.tables())


@bench.command()
def policies(
    out: Annotated[Path, typer.Option(help="The folder of the runs; the same command there goes on.")] = Path(
        "bench-policies"
    ),
    policy: Annotated[list[str] | None, typer.Option(help="Only this policy; may be repeated.")] = None,
    full: Annotated[bool, typer.Option("--full", help="6,000 steps, one model per task too, three seeds.")] = False,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of every model.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be repeated.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the report to this JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train one small AVDiT under each policy on an exact world, and print its excess risk over Bayes per task."""
    from rich.console import Console

    from mmseqdiff.bench.policies import POLICIES, PolicyBench
    from mmseqdiff.errors import UserError
    from mmseqdiff.host import load_plugins

    if steps is not None and steps < 1:
        raise UserError(f"--steps must be at least 1, got {steps}")
    console = Console(stderr=True)
    made = PolicyBench(
        host=load_plugins(),
        folder=out,
        policies=tuple(policy or POLICIES),
        per_task=full,
        seeds=tuple(seed or (range(3) if full else (0,))),
        steps=steps or (6000 if full else 4000),
        console=console,
    )()
    if made is None:
        raise typer.Exit(130)
    if report is not None:
        made.write(report)
    if as_json:
        print(json.dumps(made.to_dict(), indent=1))
        return
    for table in made.tables():
        _show(table)


@bench.command()
def codec(
    kind: Annotated[list[str] | None, typer.Option(help="Only video, or only audio; may be repeated.")] = None,
    channels: Annotated[int, typer.Option(help="Of every codec's first layer; a multiple of 8.")] = 32,
    blocks: Annotated[int, typer.Option(help="Residual blocks at every resolution of the video codecs.")] = 2,
    pixels: Annotated[int, typer.Option(help="Rows and columns of the video; a multiple of 8.")] = 64,
    repeats: Annotated[int, typer.Option(help="Timed repeats; the fastest counts.")] = 5,
    seconds: Annotated[int, typer.Option(help="Of the clip whose memory is measured; 0 leaves that out.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure our codecs beside those of diffusers, magvit2-pytorch and transformers, as far as these are installed."""
    from rich.console import Console
    from rich.progress import track

    from mmseqdiff.bench.codec import KINDS, Size, bench_codec
    from mmseqdiff.errors import UserError

    sizes = {"--channels": channels, "--blocks": blocks, "--pixels": pixels, "--repeats": repeats}
    for option, value in sizes.items():
        step = 8 if option in ("--channels", "--pixels") else 1
        if value < 1 or value % step:
            raise UserError(
                f"{option} must be a positive {f'multiple of {step}' if step > 1 else 'number'}, got {value}"
            )
    if seconds < 0:
        raise UserError(f"--seconds must not be negative, got {seconds}")
    report = bench_codec(
        kind or KINDS,
        Size(channels=channels, blocks=blocks, pixels=pixels),
        repeats,
        seconds,
        progress=lambda kinds: track(kinds, "measuring", console=Console(stderr=True)),
    )
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        _show(report.table())


def _show(tables: "RenderableType") -> None:
    """Prints tables as wide as they are: in a narrower terminal lines wrap, and no number is cut off."""
    from rich.console import Console
    from rich.measure import Measurement

    console, wide = Console(), Console(width=10_000)
    needed = Measurement.get(wide, wide.options, tables).maximum
    (console if console.width >= needed else Console(width=needed)).print(tables)


def _counts(option: str, text: str) -> list[int]:
    """Whole positive numbers, separated by commas."""
    from mmseqdiff.errors import UserError

    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise UserError(f"{option} is a list of positive whole numbers such as 16,32,64, not {text!r}")
    return counts
