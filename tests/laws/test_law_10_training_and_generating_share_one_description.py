"""A checkpoint's manifest is checked at load, and a task off the policy's support is warned about."""

import json

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff.assembly import Assembly
from mmseqdiff.errors import CheckpointError, RecipeError
from mmseqdiff.layout import Layout, Track, uniform_edges
from mmseqdiff.modality import Statistics
from mmseqdiff.support import off_support_warning, on_support
from mmseqdiff.testing.strategies import keys, layouts, timesteps
from mmseqdiff.timesteps import ALWAYS_CLEAN, PADDING
from mmseqdiff.train import checkpoint
from mmseqdiff.train.codec_folder import save_codec
from mmseqdiff.train.run import describe, load_run, with_statistics


@pytest.fixture(scope="module")
def run(host, tmp_path_factory):
    """A run's folder with one checkpoint of a tiny untrained model."""
    folder = tmp_path_factory.mktemp("law-10")
    assembly = Assembly.from_recipe(tiny.tiny_recipe(host), host)
    sizes = {track.modality: track.channels for track in assembly.layout.tracks}
    statistics = {name: Statistics(torch.full((size,), 0.25), torch.ones(size)) for name, size in sizes.items()}
    assembly, hashes = with_statistics(assembly, statistics), {}
    for name, modality in assembly.modalities.items():
        save_codec(modality.codec, folder / "codecs" / name, {"modality": name})
        hashes[name] = checkpoint.codec_hash(modality.codec)
    groups = {"ema": assembly.backbone.state_dict()}
    checkpoint.save(folder / "checkpoints", 1, groups, describe(assembly, hashes))
    return folder


def leaves(value, path=()):
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def test_law_10_what_was_saved_is_loaded(host, run):
    assembly = load_run(run, host)
    saved = checkpoint.load_group(checkpoint.newest(run / "checkpoints"), "ema")
    assert all(torch.equal(saved[name], value) for name, value in assembly.backbone.state_dict().items())
    assert assembly.modalities["video"].statistics.mean.tolist() == [0.25] * 8


@settings(max_examples=6)
@given(data=st.data())
def test_law_10_any_change_of_the_manifest_is_refused_at_load(host, run, data):
    file = checkpoint.newest(run / "checkpoints") / "manifest.json"
    text = file.read_text()
    manifest = json.loads(text)
    checked = ["layout", "prediction", "schedule", "policy", "codecs"]
    key = data.draw(st.sampled_from(checked))
    *parents, last = data.draw(st.sampled_from(list(leaves(manifest[key], (key,)))))
    table = manifest
    for parent in parents:
        table = table[parent]
    table[last] = 7 if table[last] != 7 else 8
    try:
        file.write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match=f"made with another {key}: {key}.*expected"):
            load_run(run, host)
    finally:
        file.write_text(text)


@pytest.mark.parametrize(
    "field", ["layout", "prediction", "schedule", "policy", "codecs", "statistics", "recipe", "format"]
)
def test_law_10_a_manifest_that_lacks_a_field_is_refused(host, run, field):
    file = checkpoint.newest(run / "checkpoints") / "manifest.json"
    text = file.read_text()
    manifest = json.loads(text)
    del manifest[field]
    try:
        file.write_text(json.dumps(manifest))
        with pytest.raises((CheckpointError, RecipeError), match=field):
            load_run(run, host)
    finally:
        file.write_text(text)


@settings(max_examples=5)
@given(layout=layouts(min_modalities=2), keys=keys(3), num_levels=st.integers(2, 50))
def test_law_10_what_a_policy_draws_is_on_its_support(policy, layout, keys, num_levels):
    t, ties = policy.sample(layout, keys, num_levels=num_levels).double(), policy.ties(layout)
    if ties is None:  # it cannot say what its support is, and no plan is warned about
        return
    for b, component in enumerate(policy.component(keys).tolist()):
        assert on_support(t[b : b + 1], ties[component]).all()


@given(data=st.data(), layout=layouts())
def test_law_10_a_matrix_is_on_a_partitions_support_if_it_is_constant_on_its_groups(data, layout):
    numbers = st.sampled_from([ALWAYS_CLEAN, 0, 1, 2])
    groups = data.draw(st.lists(numbers, min_size=layout.M * layout.N, max_size=layout.M * layout.N))
    partition = torch.where(layout.valid, torch.tensor(groups).reshape(layout.M, layout.N), PADDING)
    few = data.draw(timesteps(layout, 2, dtype=torch.float64)).round()
    for levels, answer in zip(few, on_support(few, partition)):
        constant = all(len(levels[partition == group].unique()) <= 1 for group in range(3))
        assert bool(answer) == (constant and not levels[partition == ALWAYS_CLEAN].any())


CLIP = Layout([Track("video", uniform_edges(3, 2), (2,)), Track("audio", uniform_edges(6, 4))])
EVERY = ["joint", "a2v", "v2a", {"name": "continue", "length": "1/2"}, {"name": "inpaint", "start": "1/2", "stop": 1}]


@pytest.mark.parametrize(
    ("policy_", "warned"),
    [
        ("monl", []),
        ("vanilla", ["a2v", "v2a", "continue", "inpaint"]),
        ("per_modality", ["continue", "inpaint"]),
        ("per_segment", ["a2v", "v2a"]),
        ("per_segment_modality", []),
        ({"name": "task", "task": "a2v"}, ["joint", "v2a", "continue", "inpaint"]),
        ({"name": "mixture", "policies": ["vanilla", {"name": "task", "task": "a2v"}]}, ["v2a", "continue", "inpaint"]),
    ],
    ids=str,
)
def test_law_10_tasks_off_the_support_are_warned_about(host, policy_, warned):
    policy = host.build("policy", "mixture", policies=[policy_])
    found = []
    for entry in EVERY:
        name, parameters = (entry, {}) if isinstance(entry, str) else (entry["name"], dict(entry))
        parameters.pop("name", None)
        given = host.build("task", name, **parameters).given(CLIP)
        warning = off_support_warning(host.build("plan", "full", steps=3)(CLIP, given, num_levels=10), policy)
        if warning:
            assert "which never give row 0 of this plan: expect poor samples" in warning
            found.append(name)
    assert found == warned
