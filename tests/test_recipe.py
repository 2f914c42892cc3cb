"""Recipes: to TOML and back, overrides, and refusals that say where and what to do."""

from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.assembly import Assembly
from mmseqdiff.errors import PluginError, RecipeError
from mmseqdiff.recipe import CodecTraining, Component, Recipe, Sampling, Training, load_recipe
from mmseqdiff.testing.tiny import tiny_recipe

NAMES = st.from_regex(r"[a-z][a-z_-]{0,5}", fullmatch=True)
NUMBERS = st.integers(1, 10**6) | st.floats(1e-6, 1e6)


def components(values):
    return st.builds(Component, NAMES, st.dictionaries(NAMES.filter(lambda name: name != "name"), values, max_size=2))


VALUES = st.recursive(
    st.booleans() | NUMBERS | st.text(max_size=4) | st.fractions(0, 3, max_denominator=9),
    lambda inner: (
        st.lists(inner, max_size=2) | st.tuples(inner) | st.dictionaries(NAMES, inner, max_size=2) | components(inner)
    ),
    max_leaves=4,
)


@st.composite
def recipes(draw):
    modalities = draw(st.dictionaries(NAMES, components(VALUES), min_size=1, max_size=3))
    some = st.dictionaries(st.sampled_from(sorted(modalities)), NUMBERS, max_size=1)
    seconds = draw(st.fractions(Fraction(1, 8), 9, max_denominator=16))
    return Recipe(
        name=draw(st.text(max_size=5)),
        seconds=seconds,
        output_seconds=draw(st.none() | st.just(seconds / 2)),
        modalities=modalities,
        backbone=draw(components(VALUES)),
        prediction=draw(st.sampled_from(["epsilon", "v"])),
        training=Training(steps=draw(st.integers(1, 10**6)), betas=draw(st.tuples(*[st.floats(0, 0.999)] * 2)), loss_weights=draw(some)),
        codec_training={name: CodecTraining(seconds=seconds) for name in draw(some)},
        sampling=Sampling(guidance=draw(st.none() | components(VALUES))),
    )  # fmt: skip


@given(recipes())
def test_a_recipe_goes_through_toml_and_back(recipe):
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert hash(Recipe.from_toml(recipe.to_toml())) == hash(recipe)
    assert list(Recipe.from_toml(recipe.to_toml()).modalities) == list(recipe.modalities), (
        "the order is that of the rows"
    )


SMALL = {
    "name": "small",
    "seconds": "17/8",
    "modalities": {"video": "v", "audio": {"name": "a", "width": 3}},
    "backbone": "b",
}


def test_defaults_are_the_papers():
    recipe = Recipe.from_dict(SMALL)
    assert recipe.seconds == Fraction(17, 8)
    assert recipe.modalities["audio"] == Component("a", {"width": 3})
    assert (recipe.schedule.name, recipe.policy.name, recipe.prediction) == ("linear", "monl", "epsilon")
    assert recipe.sampling == Sampling(sampler=Component("ddim"), plan=Component("full", {"steps": 250}), guidance=None)
    assert (recipe.training.ema_decay, recipe.training.betas, recipe.training.weight_decay) == (0.9999, (0.9, 0.99), 0)
    assert recipe.training.self_condition_rate == 0.9


def test_the_surface_is_frozen():
    """A recipe is kept in every checkpoint: a field that goes or is renamed makes old ones unreadable."""
    fields = {
        cls.__name__: {field.name for field in attrs.fields(cls)}
        for cls in (Recipe, Training, CodecTraining, Sampling, Component)
    }
    assert fields["Recipe"] == {
        "name", "seconds", "output_seconds", "modalities", "backbone", "schedule", "policy", "prediction",
        "self_condition_limit", "training", "codec_training", "sampling",
    }  # fmt: skip
    assert fields["Training"] == {
        "steps", "batch_size", "accumulate", "learning_rate", "warmup_steps", "betas", "weight_decay", "clip_norm",
        "ema_decay", "self_condition_rate", "loss_weights", "reduction", "precision", "seed", "checkpoint_every",
        "validate_every", "sample_every",
    }  # fmt: skip
    assert fields["CodecTraining"] == {
        "steps", "batch_size", "accumulate", "seconds", "image_steps", "image_batch_size", "image_learning_rate", "learning_rate",
        "warmup_steps", "betas", "clip_norm", "ema_decay", "precision", "seed", "checkpoint_every",
        "adversarial_from", "adversary_learning_rate", "perceptual", "frozen",
    }  # fmt: skip
    assert fields["Sampling"] == {"sampler", "plan", "guidance"}
    assert fields["Component"] == {"name", "parameters"}


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("training.steps=7", lambda recipe: recipe.training.steps, 7),
        ("training.learning_rate=1e-3", lambda recipe: recipe.training.learning_rate, 1e-3),
        ("training.betas=[0.5, 0.9]", lambda recipe: recipe.training.betas, (0.5, 0.9)),
        ("training.loss_weights.audio=2", lambda recipe: recipe.training.loss_weights, {"audio": 2.0}),
        ("seconds=5/2", lambda recipe: recipe.seconds, Fraction(5, 2)),
        ("seconds=2.1", lambda recipe: recipe.seconds, Fraction(21, 10)),
        ("prediction=v", lambda recipe: recipe.prediction, "v"),
        ("prediction='v'", lambda recipe: recipe.prediction, "v"),
        ("modalities.audio.width=9", lambda recipe: recipe.modalities["audio"], Component("a", {"width": 9})),
        (
            "modalities.video.codec.width=9",
            lambda recipe: recipe.modalities["video"],
            Component("v", {"codec": {"width": 9}}),
        ),
        ("backbone=other", lambda recipe: recipe.backbone, Component("other")),
        ("sampling.sampler.eta=0.5", lambda recipe: recipe.sampling.sampler, Component("ddim", {"eta": 0.5})),
        ("sampling.sampler=ddpm", lambda recipe: recipe.sampling.sampler, Component("ddpm")),
        ("codec_training.video.steps=3", lambda recipe: recipe.codec_training, {"video": CodecTraining(steps=3)}),
    ],
)
def test_overrides(override, read, value):
    before = Recipe.from_dict(SMALL)
    assert read(before.override([override])) == value
    assert before == Recipe.from_dict(SMALL)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.step=7", "training: there is no key 'step'; did you mean 'steps'?"),
        ("trainin.steps=7", "there is no key 'trainin'; did you mean 'training'?"),
        ("training.steps=7.5", "training.steps: expected int, got 7.5"),
        ("training.steps=many", "training.steps: expected int, got 'many'"),
        ("training.steps=0", "steps must be positive, got 0"),
        ("training.learning_rate=nan", "learning_rate must be positive, got nan"),
        ("training.ema_decay=1.5", r"ema_decay must lie in \[0, 1\], got 1.5"),
        ("training.betas=[0.9]", "training.betas: Not enough values"),
        ("training.betas=[0.9, 1]", r"betas must lie in \[0, 1\), got \(0.9, 1.0\)"),
        ("training.precision=float16", r"'precision' must be in \('float32', 'bfloat16'\) \(got 'float16'\)$"),
        ("training.accumulate=3", "batch_size 256 cannot be split into 3 equal micro-batches"),
        ("training.loss_weights.vdeo=1", "training.loss_weights names 'vdeo'; did you mean 'video'?"),
        ("training.loss_weights.video=-1", "loss_weights of 'video' must not be negative, got -1.0"),
        ("codec_training.pose.steps=1", "codec_training names 'pose'; known: audio, video"),
        ("codec_training.video.stepps=1", "codec_training.video: there is no key 'stepps'; did you mean 'steps'"),
        ("prediction=eps", r"'prediction' must be in .* \(got 'eps'\)$"),
        ("output_seconds=3", "output_seconds 3 must be positive and at most seconds 17/8"),
        ("seconds=long", "seconds: .*'long'"),
        ("seconds=0", "seconds must be positive, got 0"),
        ("sampling.guidance.scale=2", "sampling.guidance: expected a plugin's name, or a table with its 'name'"),
        ("training=3", "training: expected a table or a list"),
        ("modalities=3", "modalities: expected a table or a list"),
        ("training.steps.more=3", "override 'training.steps.more=3': 'steps' is a value, not a table"),
        ("training.steps", "override 'training.steps' should read path.to.field=value"),
        ("=3", "override '=3' should read path.to.field=value"),
    ],
)
def test_wrong_values_are_refused_with_their_place(override, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.from_dict(SMALL).override([override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'\n[backbone]\nname='b'", "the key 'seconds' is missing; the key 'modalities' is missing"),
        ("name = ", "recipe: not TOML: "),
        ("name = 'x'\nseconds = 1\nmodalities = {}\nbackbone = 'b'", "a recipe needs at least one modality"),
        ("name = 'x'\nseconds = 1\nbackbone = {width = 3}\nmodalities = {v = 3}", "modalities.v: expected a plugin's name.*backbone: expected a plugin's name|backbone: .*modalities.v: "),
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused(text, message):
    with pytest.raises(RecipeError, match=message):
        Recipe.from_toml(text)


def test_recipes_load_by_file_and_by_name(host, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(Recipe.from_dict(SMALL).to_toml(), encoding="utf-8")
    assert load_recipe(host, str(path), ["name='other'"]) == attrs.evolve(Recipe.from_dict(SMALL), name="other")
    for name in host.names("recipe"):
        assert load_recipe(host, name).name == name
    with pytest.raises(RecipeError, match="there is no recipe file .*missing.toml"):
        load_recipe(host, str(tmp_path / "missing.toml"))
    with pytest.raises(PluginError, match="there is no recipe named 'avdit-420'; did you mean 'avdit-420m'"):
        load_recipe(host, "avdit-420")


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("ddim", "ddim", {}),
        ("ddim:eta=0.5", "ddim", {"eta": 0.5}),
        ("cfg:interval=[0.2,0.8],weight=2", "cfg", {"interval": [0.2, 0.8], "weight": 2}),
        ("matrix:rows=[[1,0],[0,0]],note=a", "matrix", {"rows": [[1, 0], [0, 0]], "note": "a"}),
        ("coupled:shifts.audio=2,shifts.video=0.5", "coupled", {"shifts": {"audio": 2, "video": 0.5}}),
    ],
)
def test_a_component_is_read_from_one_word(text, name, parameters):
    assert Component.parse(text) == Component(name, parameters)


def test_a_schedule_that_does_not_end_in_noise_is_refused(host):
    """Sampling starts from noise alone, whatever the schedule leaves of the signal."""
    for schedule in ("{name='linear',num_levels=100}", "{name='linear',num_levels=250}"):
        with pytest.raises(RecipeError, match=r"at level T = \d+ the schedule 'linear' keeps 0\.\d+ of the signal"):
            Assembly.from_recipe(tiny_recipe(host, f"schedule={schedule}"), host)
    for schedule in ("linear", "{name='linear',num_levels=100,last=0.2}", "{name='cosine',num_levels=100}"):
        Assembly.from_recipe(tiny_recipe(host, f"schedule={schedule}"), host)


def test_what_looks_like_a_file_is_not_taken_for_a_plugins_name(host, tmp_path):
    (tmp_path / "mine").write_text("")
    for path in (tmp_path / "mine", tmp_path / "recipes" / "mine"):
        with pytest.raises(RecipeError, match=r"is not a recipe: .* ends in \.toml"):
            load_recipe(host, str(path))
