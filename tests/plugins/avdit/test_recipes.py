"""The recipes, assembled by the host from the installed plugins."""

import memory
import pytest
import torch

from mmseqdiff.assembly import Assembly, layout_of
from mmseqdiff.forward import check_prediction_kind
from mmseqdiff.host import load_plugins
from mmseqdiff.recipe import Recipe, load_recipe

SHAPES = {  # (5, 106) and (1024, 8) are arXiv:2405.13762 App. B's
    "avdit-420m": {"video": (5, 16, 16, 8), "audio": (106, 1024)},
    "avdit-aist": {"video": (6, 8, 8, 8), "audio": (105, 1024)},
    "avdit-landscape": {"video": (6, 8, 8, 8), "audio": (105, 1024)},
    "avdit-demo": {"video": (5, 8, 8, 8), "audio": (106, 32)},
}


@pytest.fixture(scope="module")
def host():
    return load_plugins()


def modalities(host, recipe):
    with torch.device("meta"):  # codecs of 376 million weights, of which only the sizes are asked
        return {name: component.build(host, "modality") for name, component in recipe.modalities.items()}


def test_the_recipes_are_listed(host):
    assert set(SHAPES) <= set(host.names("recipe"))


@pytest.mark.parametrize("name", SHAPES)
def test_recipes_go_through_toml_and_back(host, name):
    recipe = load_recipe(host, name)
    assert recipe.name == name
    assert Recipe.from_toml(recipe.to_toml()) == recipe


@pytest.mark.parametrize("name", SHAPES)
def test_recipes_assemble_and_their_modalities_cover_the_same_clip(host, name):
    recipe = load_recipe(host, name)
    layout = layout_of(recipe, modalities(host, recipe))
    assert {track.modality: track.shape for track in layout.tracks} == SHAPES[name]
    for track in layout.tracks:
        assert track.edges[0] == 0
        assert 0 <= recipe.seconds - track.edges[-1] < layout.tolerance  # less than half a segment is cut off
    assert recipe.output_seconds in (None, 2)
    check_prediction_kind(recipe.prediction, recipe.schedule.build(host, "schedule"))
    assert (
        recipe.policy.build(host, "policy").sample(layout, torch.arange(2), num_levels=1000).shape[1:]
        == layout.valid.shape
    )
    recipe.sampling.sampler.build(host, "sampler")
    plan = recipe.sampling.plan.build(host, "plan")(layout, torch.zeros_like(layout.valid), num_levels=1000)
    assert plan.steps == recipe.sampling.plan.parameters["steps"]


def test_the_published_numbers(host):
    recipe = load_recipe(host, "avdit-420m")
    training = recipe.training
    assert (training.steps, training.batch_size, training.warmup_steps) == (400_000, 256, 5_000)
    assert (training.learning_rate, training.self_condition_rate) == (5e-4, 0.9)
    layout = layout_of(recipe, modalities(host, recipe))
    with torch.device("meta"):
        backbone = host.build("backbone", recipe.backbone.name, layout=layout, **recipe.backbone.parameters)
    assert 415e6 < sum(weight.numel() for weight in backbone.parameters()) < 425e6


def test_the_demo_learns_on_a_cpu(host):
    torch.manual_seed(0)
    assembly = Assembly.from_recipe(load_recipe(host, "avdit-demo"), host)
    assert sum(weight.numel() for weight in assembly.backbone.parameters()) * 2 < 16 * 2**20  # stored in float16
    z = {track.modality: torch.randn(2, *track.shape) for track in assembly.layout.tracks}
    t = assembly.policy.sample(assembly.layout, torch.arange(2), num_levels=assembly.schedule.num_levels)
    optimizer = torch.optim.AdamW(assembly.backbone.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        found = assembly.backbone(z, t)
        loss = sum((found[name] - z[name]).pow(2).mean() for name in z)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)


STEP = """
import torch
from mmseqdiff.assembly import Assembly
from mmseqdiff.host import load_plugins
from mmseqdiff.recipe import load_recipe
from mmseqdiff.train.objective import DenoisingObjective, step_keys

host = load_plugins()
recipe = load_recipe(host, "avdit-420m", ["modalities.video.codec.channels=8", "modalities.audio.codec.channels=2"])
assembly = Assembly.from_recipe(recipe, host)
training = recipe.training
objective = DenoisingObjective(assembly.denoiser, assembly.policy, training.self_condition_rate)
optimiser = torch.optim.AdamW(assembly.backbone.parameters(), lr=training.learning_rate, foreach=False)
z0 = {track.modality: torch.randn(1, *track.shape) for track in assembly.layout.tracks}
for step in range(2):
    optimiser.zero_grad()
    objective(z0, step_keys(0, step, range(1)))[0].backward()
    torch.nn.utils.clip_grad_norm_(assembly.backbone.parameters(), training.clip_norm, foreach=False)
    optimiser.step()
"""


@pytest.mark.slow
def test_the_papers_model_takes_training_steps_in_16_gib():
    assert memory.run(STEP)[1] < 16 * 2**30
