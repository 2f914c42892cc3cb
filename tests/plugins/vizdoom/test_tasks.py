"""Which cells the tasks give."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_vizdoom.tasks import behaviour, inverse_dynamics, world_model

from mmseqdiff.assembly import build_modalities, layout_of
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.testing import TaskContract
from mmseqdiff.testing.strategies import layouts
from mmseqdiff.train.denoiser import usual_tasks


@pytest.fixture(scope="module")
def layout(host):
    recipe = host.build("recipe", "avdit-vizdoom")
    return layout_of(recipe, build_modalities(recipe, host))


def given_of(task, layout):
    return {name: "".join("x."[not cell] for cell in row) for name, row in layout.split(task.given(layout)).items()}


def test_the_recipe_ties_all_tracks_to_tics(layout):
    assert layout.track("video").shape == (5, 6, 8, 8)
    assert layout.track("audio").shape == (68, 32)
    assert layout.track("actions").shape == (17, 6)
    assert {track.edges[-1] for track in layout.tracks} == {Fraction(68, 35)}
    assert all((35 * edge).denominator == 1 for track in layout.tracks for edge in track.edges)


def test_what_is_given(layout):
    beginning = {"video": "xx...", "audio": "x" * 20 + "." * 48}
    nothing = {"video": "." * 5, "audio": "." * 68, "actions": "." * 17}
    assert given_of(world_model(), layout) == {**beginning, "actions": "x" * 17}
    assert given_of(inverse_dynamics(), layout) == {**nothing, "video": "x" * 5}
    assert given_of(behaviour(), layout) == {**nothing, "video": "xx..."}
    assert given_of(world_model(length=Fraction(4, 35)), layout)["video"] == "x...."


@given(layout=layouts(min_modalities=2), length=st.fractions("1/8", "7/8", max_denominator=16))
def test_law_12_given_cells_lie_in_what_may_be_read(layout, length):
    last = layout.modalities[-1]
    if length >= max(track.edges[-1] for track in layout.tracks):
        with pytest.raises(ValueError, match="part of the clip"):
            world_model(last, length).known(layout)
        return
    for task in (world_model(last, length), inverse_dynamics("video", last), behaviour("video", last, length)):
        TaskContract.of(lambda task=task: task)().check(layout=layout)


def test_models_without_actions_do_not_have_them(host, layout):
    two = Layout([Track("video", uniform_edges(4, 2)), Track("audio", uniform_edges(8, 4))])
    for make in (world_model, inverse_dynamics, behaviour):
        with pytest.raises(KeyError, match="no modality 'actions'"):
            make().given(two)
    names = {"world_model", "inverse_dynamics", "behaviour"}
    assert not names & usual_tasks(host, two).keys()
    usual = usual_tasks(host, layout)
    assert names <= usual.keys()
    assert "v2a" not in usual, "it gives what inverse dynamics gives"
    assert torch.equal(host.build("task", "v2a").given(layout), usual["inverse_dynamics"].given(layout))
