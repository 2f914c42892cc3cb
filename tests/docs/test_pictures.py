"""The pictures of the first page are what the library draws."""

import re

import pytest
import torch
from pages import DOCS, load_file

from mmseqdiff.layout import Layout, Track
from mmseqdiff.picture import matrices_as_svg, plan_as_svg

LAYOUT = Layout([Track("video", [0, 1, 3]), Track("audio", [0, 1, 2])])


def rectangles(svg):
    """(left, width, fill) of the filled ones."""
    found = re.findall(r'<rect x="([\d.]+)" y="\d+" width="([\d.]+)" height="\d+" fill="(#\w+)"/>', svg)
    return [(float(left), float(width), fill) for left, width, fill in found]


def test_pictures_are_what_the_library_draws():
    for name, text in load_file(DOCS / "pictures" / "matrix.py").draw().items():
        assert (DOCS / "pictures" / name).read_text(encoding="utf-8") == text, "run docs/pictures/matrix.py"


def test_cells_are_as_wide_as_they_last_and_dark_as_they_are_noisy():
    t = torch.tensor([[[0.0, 8.0], [4.0, 4.0]]])
    video, wide, audio = rectangles(matrices_as_svg({"one": t}, ["only"], LAYOUT, 8))
    assert wide[0] == pytest.approx(video[0] + video[1], abs=0.2)
    assert wide[1] == pytest.approx(2 * video[1], abs=0.2)
    assert audio[1] == pytest.approx(2 * video[1], abs=0.2), (
        "equal neighbours are one rectangle, and audio ends a second early"
    )

    def darkness(fill):
        return -int(fill[1:3], 16)

    assert darkness(video[2]) < darkness(audio[2]) < darkness(wide[2])


def test_given_cells_have_a_colour_of_their_own_and_titles_are_text():
    t, given = torch.zeros(1, 2, 2), torch.tensor([[True, False], [False, False]])
    svg = matrices_as_svg({"<a>": t}, ["&"], LAYOUT, 8, {"<a>": given})
    fills = [fill for *_, fill in rectangles(svg)]
    assert fills[0] != fills[1] == fills[2]
    assert "&lt;a&gt;" in svg
    assert "&amp;" in svg


def test_a_plan_is_shown_from_its_start_to_its_end(host):
    plan = host.build("plan", "full", steps=8)(LAYOUT, torch.zeros(2, 2, dtype=torch.bool), num_levels=8)
    svg = plan_as_svg(plan, rows=3)
    assert re.findall(r"step \d+", svg) == ["step 0", "step 4", "step 8"]
    fills = [fill for *_, fill in rectangles(svg)]
    assert len(set(fills)) == 3
    assert fills[:3] == fills[3:]
