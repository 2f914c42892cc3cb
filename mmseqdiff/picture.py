"""For the eye: timestep matrices, a plan's over the steps, and a policy's levels, as text and as pictures."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.data.files import replacing
from mmseqdiff.errors import MediaError
from mmseqdiff.layout import Layout
from mmseqdiff.marginals import Marginals
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.protocols import Cells
from mmseqdiff.timesteps import BUCKETS

__all__ = ["Svg", "draw_marginals", "draw_plan", "marginals_as_text", "matrices_as_svg", "plan_as_svg", "plan_as_text"]

_SHADES = "·░▒▓█"
"""From clean to noise."""
_CLEAN, _NOISE, _GIVEN = (0xFD, 0xF6, 0xE3), (0x3B, 0x1F, 0x6B), "#8fd6a0"
_WIDTH, _LABELS, _STRIP, _GAP = 760, 190, 16, 14
"""Of a picture, its labels, one modality's strip and the space between matrices, in pixels."""
_STYLE = "text{font:12px sans-serif;fill:#222}@media(prefers-color-scheme:dark){text{fill:#ddd}}"


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


class Svg(str):
    """The text of an SVG picture; notebooks show it as one."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def _colour(share: float) -> str:
    """Of a level, as a share of T; told apart in 64 steps."""
    share = round(share * 64) / 64
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(_CLEAN, _NOISE))


def matrices_as_svg(
    rows: Mapping[str, Float[Tensor, "column modality segment"]],
    columns: Sequence[str],
    layout: Layout,
    num_levels: int,
    given: Mapping[str, Cells] | None = None,
) -> Svg:
    """A table of timestep matrices, as an SVG picture.

    A matrix is a strip per modality, and a cell is as wide as it lasts: light is level 0, dark is T, green is given.

    Args:
        rows: title → the row's matrices, one per column.
        columns: their titles.
        layout: the tracks.
        num_levels: T.
        given: row → the cells that are given.
    """
    end = float(max(track.edges[-1] for track in layout.tracks))
    wide = (_WIDTH - _LABELS) / len(columns)
    scale = (wide - _GAP) / end
    high = layout.M * (_STRIP + 2) + _GAP
    body = [
        f'<text x="{_LABELS + (k + 0.5) * wide - _GAP / 2:.0f}" y="14" text-anchor="middle">{escape(title)}</text>'
        for k, title in enumerate(columns)
    ]
    for r, (title, matrices) in enumerate(rows.items()):
        top = 24 + r * high
        middle = top + (layout.M * (_STRIP + 2)) / 2 + 3
        body.append(f'<text x="0" y="{middle:.0f}" font-weight="bold">{escape(title)}</text>')
        for m, track in enumerate(layout.tracks):
            y = top + m * (_STRIP + 2)
            body.append(f'<text x="{_LABELS - 8}" y="{y + 12}" text-anchor="end">{escape(track.modality)}</text>')
            fixed = ([False] * layout.N if given is None or title not in given else given[title][m].tolist())[
                : track.segments
            ]
            for k, matrix in enumerate(matrices):
                x = _LABELS + k * wide
                shares = (matrix[m, : track.segments].double() / num_levels).tolist()
                colours = [_GIVEN if is_fixed else _colour(share) for share, is_fixed in zip(shares, fixed)]
                for colour, cells in groupby(range(track.segments), key=colours.__getitem__):
                    run = list(cells)  # adjacent cells of one colour are one rectangle
                    left, right = float(track.edges[run[0]]) * scale, float(track.edges[run[-1] + 1]) * scale
                    body.append(
                        f'<rect x="{x + left:.1f}" y="{y}" width="{right - left:.1f}" height="{_STRIP}" fill="{colour}"/>'
                    )
                frame = float(track.edges[-1] - track.edges[0]) * scale
                body.append(
                    f'<rect x="{x + float(track.edges[0]) * scale:.1f}" y="{y}" width="{frame:.1f}" height="{_STRIP}" '
                    f'fill="none" stroke="#888" stroke-width="0.5"/>'
                )
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {24 + len(rows) * high}" width="{_WIDTH}">'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def plan_as_svg(plan: SamplingPlan, rows: int = 5) -> Svg:
    """Some of a plan's rows side by side, from the first to the last, as an SVG picture."""
    shown = torch.linspace(0, plan.steps, min(rows, plan.steps + 1)).round().long()
    titles = [f"step {r}" for r in shown.tolist()]
    return matrices_as_svg({"": plan.levels[shown]}, titles, plan.layout, plan.num_levels, {"": plan.given})


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
