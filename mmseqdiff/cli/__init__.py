"""The command line: one light module per command, which imports what is heavy only when it runs."""

import sys
import warnings

import typer

from mmseqdiff.cli.bench import bench
from mmseqdiff.cli.calibrate import calibrate
from mmseqdiff.cli.check import check
from mmseqdiff.cli.demo import demo
from mmseqdiff.cli.encode import encode
from mmseqdiff.cli.evaluate import evaluate
from mmseqdiff.cli.generate import generate
from mmseqdiff.cli.new import new
from mmseqdiff.cli.plan import plan
from mmseqdiff.cli.plugins import plugins
from mmseqdiff.cli.prepare import prepare
from mmseqdiff.cli.reconstruct import reconstruct
from mmseqdiff.cli.train import train
from mmseqdiff.cli.train_codec import train_codec
from mmseqdiff.errors import RunError, UserError

__all__ = ["app", "main"]

app = typer.Typer(
    help="One diffusion model over several synchronised sequences.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
"""All commands."""

for command in (
    plugins, new, check, prepare, train_codec, reconstruct, encode, train, calibrate, plan, generate, evaluate, demo,
):  # fmt: skip
    app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(bench, name="bench")


def main() -> None:
    """Runs the command line. Bad input ends with one message and exit code 2, a failed run with 1, Ctrl-C with 130."""
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        app()
    except UserError as error:
        sys.exit(_report(error, 2))
    except RunError as error:
        sys.exit(_report(error, 1))
    except KeyboardInterrupt:
        sys.exit(130)


def _report(error: Exception, code: int) -> int:
    print(f"mmseqdiff: {error}", file=sys.stderr)
    return code
