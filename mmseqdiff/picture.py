"""Sampling plans for the eye: the timestep matrix over the steps, as text and as a picture."""

from pathlib import Path

import torch

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError
from mmseqdiff.plan import SamplingPlan

__all__ = ["draw_plan", "plan_as_text"]

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
