"""Makes what this distribution ships, from nothing: `make demo-weights`, or `python plugins/mmseqdiff-demo/build.py`.

    prepare       monologues to train on, and others that are held out
    train-codec   video, then audio; each once more, the decoder alone, against an adversary
    encode        the monologues to latents
    train         the recipe avdit-demo, in the stages of STAGES
    pack          the averaged weights, the codecs, the curves and eight held-out clips into the package

Each is one `mmseqdiff` command that goes on where it was stopped, so this script does too: start it again.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = Path(__file__).parent / "mmseqdiff_demo"
RECIPE = "avdit-demo"
STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("joint", ()),
    ("sound", ('policy={name="task",task="v2a"}', "training.steps=3000")),
    ("run", ("training.steps=4000", "training.seed=1")),
)
"""Each run's folder and what it changes in the recipe; each starts from the one before.

Of a mixture's examples about one in thirty shows a clean picture beside noisy sound, too few for so short a training to
find what links them; a stage of nothing else finds it within 1,500 steps, and the mixture then keeps it.
"""
MODALITIES = ("video", "audio")
AGAINST_ADVERSARY: dict[str, tuple[str, ...]] = {
    "video": (
        "modalities.video.codec.adversarial_weight=0.05",
        "modalities.video.codec.discriminator_channels=8",
        "codec_training.video.steps=800",
        "codec_training.video.learning_rate=2e-4",
        "codec_training.video.adversary_learning_rate=2e-3",
    ),
    "audio": (
        "modalities.audio.codec.adversarial_weight=1e-3",
        "modalities.audio.codec.feature_weight=0.1",
        "modalities.audio.codec.wave_channels=4",
        "modalities.audio.codec.stft_channels=4",
        "codec_training.audio.steps=600",
        "codec_training.audio.batch_size=4",
        "codec_training.audio.learning_rate=3e-4",
        "codec_training.audio.adversary_learning_rate=1e-3",
    ),
}
"""What a codec's second training changes in the recipe, beside SECOND_TRAINING. SoundStream's two weights are in the paper's
proportion to that of its mel distance, 1 : 100 : 1."""
SECOND_TRAINING = (
    "frozen=['encoder']", "adversarial_from=0", "image_steps=0", "warmup_steps=20", "ema_decay=0.99", "checkpoint_every=50",
)  # fmt: skip
"""The latents stay as they are; the average is of the last hundred steps."""
CLIPS = 8
"""Held-out clips in the package."""
LIMIT = 40 * 2**20
"""Bytes of model and clips together, at most."""
CURVES = ("loss", "loss/video", "loss/audio", "validation/", "quality/")
"""Which of TensorBoard's scalars are kept; those that end in a slash with everything below."""


def main() -> None:
    """Runs every stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs"), help="gets train/ and held_out/ (runs)")
    parser.add_argument("--root", type=Path, default=Path("runs/demo"), help="gets codecs, store and run (runs/demo)")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="gets model/ and clips/ (the package)")
    parser.add_argument("--device", default="cpu", help="where to train (cpu)")
    parser.add_argument("--train-clips", type=int, default=4000, help="monologues to train on (4000)")
    parser.add_argument("--held-out-clips", type=int, default=160, help="monologues that are held out (160)")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="overrides the recipe")
    arguments = parser.parse_args()
    root, data = arguments.root, arguments.data
    train, held_out, codecs, sharper = data / "train", data / "held_out", root / "codecs", root / "sharper"
    overrides = sets(arguments.set)
    place = ["--device", arguments.device]

    run("prepare", f"monologues:count={arguments.train_clips}", train)
    run("prepare", f"monologues:count={arguments.held_out_clips},split=held_out", held_out)
    both: list[object] = []
    for modality in MODALITIES:
        train_codec, trained = ("train-codec", RECIPE, modality, "--data", train), codecs / modality
        run(*train_codec, "--out", trained, *overrides, *place)
        second = sets([f"codec_training.{modality}.{change}" for change in SECOND_TRAINING])
        changes = (*sets(AGAINST_ADVERSARY[modality]), *overrides, *second)
        run(*train_codec, "--out", sharper / modality, "--start-from", trained, *changes, *place)
        both += ["--codec", f"{modality}={sharper / modality}"]
    for folder, store in ((train, root / "store"), (held_out, root / "validation")):
        run("encode", folder, "--recipe", RECIPE, *both, "--out", store, *overrides, *place)
    stores = ["--data", root / "store", "--validation", root / "validation"]
    start: list[object] = []
    for name, changes in STAGES:
        run("train", RECIPE, *stores, "--out", root / name, *start, *sets(changes), *overrides, *place)
        start = ["--start-from", root / name]
    pack([root / name for name, _ in STAGES], [codecs, sharper], held_out, arguments.package)


def sets(changes: Sequence[str]) -> list[str]:
    """The options that override a recipe."""
    return [part for change in changes for part in ("--set", change)]


def run(*arguments: object) -> None:
    """One `mmseqdiff` command; ends the script as the command ends if that fails."""
    command = [str(Path(sys.executable).with_name("mmseqdiff")), *map(str, arguments)]
    print("$", *command, flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


def pack(runs: Sequence[Path], codecs: Sequence[Path], held_out: Path, package: Path) -> None:
    """Fills the package: the last run without what resuming needs, weights in half precision, all curves, and the clips."""
    from mmseqdiff.train import checkpoint

    run = runs[-1]
    newest = checkpoint.newest(run / "checkpoints")
    manifest = checkpoint.read_manifest(newest)
    weights = {name: tensor.half() for name, tensor in checkpoint.load_group(newest, "ema").items()}
    model, clips = package / "model", package / "clips"
    for folder in (model, clips):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    shutil.copyfile(run / "recipe.toml", model / "recipe.toml")
    shutil.copytree(run / "codecs", model / "codecs")
    description = {key: value for key, value in manifest.items() if key not in ("format", "files")}
    checkpoint.write_folder(model / "checkpoints" / newest.name, {"ema": weights}, description)
    curves = join_curves([read_curves(run) for run in runs])
    for name in MODALITIES:
        stages = [stage for folder in codecs for stage in (folder / name / "image", folder / name) if stage.is_dir()]
        of_codec = join_curves([read_curves(stage) for stage in stages])
        curves |= {f"codec/{name}/{curve}": points for curve, points in of_codec.items()}
    checkpoint.write_json(model / "curves.json", curves)
    draw_curves(curves, model / "curves.png")
    for n in range(CLIPS):
        for suffix in (".mp4", ".json"):
            shutil.copyfile(held_out / f"{n:06d}{suffix}", clips / f"{n:06d}{suffix}")
    files = [path for folder in (model, clips) for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)  # safetensors leaves its files to their owner alone
    size = sum(path.stat().st_size for path in files)
    print(f"{package}: {size / 2**20:.1f} MiB of model and clips")
    if size > LIMIT:
        sys.exit(f"that is more than {LIMIT / 2**20:.0f} MiB: make the recipe's codecs or backbone smaller")


def read_curves(run: Path) -> dict[str, list[list[float]]]:
    """Name → [step, value] pairs of the scalars that are kept."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [[event.step, round(event.value, 5)] for event in events.Scalars(name)]
        for name in sorted(events.Tags()["scalars"])
        if any(name == kept or (kept.endswith("/") and name.startswith(kept)) for kept in CURVES)
    }


def join_curves(stages: Sequence[dict[str, list[list[float]]]]) -> dict[str, list[list[float]]]:
    """The curves of runs that follow each other, with their steps counted on."""
    joined: dict[str, list[list[float]]] = {}
    before = 0
    for curves in stages:
        for name, points in curves.items():
            joined.setdefault(name, []).extend([before + step, value] for step, value in points)
        before += max((points[-1][0] for points in curves.values()), default=0)
    return joined


def draw_curves(curves: dict[str, list[list[float]]], path: Path) -> None:
    """Writes a PNG: the training losses, the validation losses of each modality by task, and the codecs' quality."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: dict[str, dict[str, list[list[float]]]] = {}
    for name, points in curves.items():
        kind, *rest = name.split("/")
        if kind == "validation":
            task, modality = rest
            panels.setdefault(f"validation loss of generated {modality}", {})[task] = points
        elif kind == "codec" and rest[1] == "quality":
            panels.setdefault(f"{rest[0]} codec: {rest[2]} of held-out clips", {})[rest[2]] = points
        elif kind == "loss":
            panels.setdefault("training loss", {})[name] = points
    figure = Figure(figsize=(4.5 * len(panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        for label, points in lines.items():
            axes.plot(*zip(*points), label=label, linewidth=1.2)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("optimiser steps")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
