"""For the eye: a plan's timestep matrix over the steps, and a policy's levels, as text and as pictures."""

from pathlib import Path

import torch

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError
from mmseqdiff.marginals import BUCKETS, Marginals
from mmseqdiff.plan import SamplingPlan

__all__ = ["draw_marginals", "draw_plan", "marginals_as_text", "plan_as_text"]

_SHADES = "·░▒▓█"
"""From clean to noise."""


def plan_as_text(plan: SamplingPlan, rows: int = 9) -> str:
    """A line per modality for some of the plan's rows: one sign per cell, ``·`` clean to ``█`` noise, ``=`` given."""
    shown = torch.linspace(0, plan.steps, min(rows, plan.steps + 1)).round().long().tolist()
    width = max(len(name) for name in plan.layout.modalities)
    lines = []
    for track, row, given in zip(plan.layout.tracks, range(plan.layout.M), plan.given):
        lines.append(f"{track.modality}: {track.segments} segments, {int(given.sum())} given")
        for r in shown:
            shades = (
                (plan.levels[r, row, : track.segments] / plan.num_levels * (len(_SHADES) - 1)).ceil().long().tolist()
            )
            cells = "".join("=" if fixed else _SHADES[shade] for shade, fixed in zip(shades, given.tolist()))
            lines.append(f"{'step':>{width}} {r:>4}  {cells}")
    return "\n".join(lines)


def draw_plan(plan: SamplingPlan, path: Path) -> None:
    """Writes a PNG with one panel per modality: seconds across, steps down, the level as colour, given cells hatched.

    Raises:
        MediaError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 1.6 * plan.layout.M), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(plan.layout.M, 1, sharex=True, squeeze=False)[:, 0]
    for m, (axes, track) in enumerate(zip(panels, plan.layout.tracks)):
        edges = [float(edge) for edge in track.edges]
        mesh = axes.pcolormesh(
            edges,
            torch.arange(plan.steps + 2).numpy() - 0.5,
            plan.levels[:, m, : track.segments].numpy(),
            cmap="magma",
            vmin=0,
            vmax=plan.num_levels,
            edgecolors="0.6",
            linewidth=0.2 if track.segments > 40 or plan.steps > 40 else 0.5,
        )
        if plan.steps > 40:
            mesh.set_edgecolor("face")
        for n in plan.given[m].nonzero().flatten().tolist():
            axes.axvspan(edges[n], edges[n + 1], facecolor="#8fd6a0", edgecolor="none")
        axes.invert_yaxis()
        axes.set_ylabel(f"{track.modality}\nstep")
    panels[-1].set_xlabel("seconds (green: given)")
    figure.colorbar(mesh, ax=panels.tolist(), label="level: 0 clean, T noise")
    with replacing(Path(path), MediaError) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def marginals_as_text(found: Marginals) -> str:
    """Tables in percent: the levels of each modality, |t_a − t_b| of each pair, and the mean level along each track."""
    width = max(len(name) for name in (*found.levels, *found.differences))
    edges = [f"≤{(k + 1) / BUCKETS:.1f}" for k in range(BUCKETS)]

    def row(name: str, shares: torch.Tensor, last: str) -> str:
        return " ".join([f"{name:>{width}}", *(f"{100 * share:5.1f}" for share in shares.tolist()), last])

    def head(title: str, last: str) -> list[str]:
        return [title, " ".join([" " * width, *(f"{edge:>5}" for edge in edges), last])]

    lines = head("share of levels t / T, in %", "clean")
    lines += [row(name, shares, f"{100 * found.clean[name]:5.1f}") for name, shares in found.levels.items()]
    if found.differences:
        lines += head("share of differences |t_a − t_b| / T between corresponding cells, in %", "equal")
        lines += [row(pair, shares, f"{100 * found.equal[pair]:5.1f}") for pair, shares in found.differences.items()]
    lines.append("mean level per segment, in % of T")
    for name, means in found.means.items():
        numbers = [f"{100 * mean:.0f}" for mean in means.tolist()]
        lines.append(f"{name:>{width}} {' '.join(numbers)}")
    return "\n".join(lines)


def draw_marginals(found: Marginals, path: Path) -> None:
    """Writes a PNG: the levels of each modality, the differences of each pair, and the mean level over the seconds.

    Raises:
        MediaError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    levels, gaps, along = figure.subplots(1, 3)
    places = [(k + 0.5) / BUCKETS for k in range(BUCKETS)]
    for axes, shares, label in ((levels, found.levels, "level t / T"), (gaps, found.differences, "|t_a − t_b| / T")):
        for k, (name, values) in enumerate(shares.items()):
            bar = 0.8 / BUCKETS / len(shares)
            axes.bar([x + (k - (len(shares) - 1) / 2) * bar for x in places], values.tolist(), bar, label=name)
        axes.set(xlabel=label, ylabel="share", xlim=(0, 1))
        if shares:
            axes.legend()
    for track in found.layout.tracks:
        edges = [float(edge) for edge in track.edges]
        along.stairs(found.means[track.modality].numpy(), edges, baseline=None, label=track.modality)
    along.set(xlabel="seconds", ylabel="mean level / T", ylim=(0, 1))
    along.legend()
    with replacing(Path(path), MediaError) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
