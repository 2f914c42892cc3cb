"""What of a recipe a latent store is held to."""

from mmseqdiff.recipe import load_recipe
from mmseqdiff.testing.tiny import tiny_recipe
from mmseqdiff.train.latents import encoded_with


def test_a_store_is_held_to_its_clips_and_not_to_how_the_codec_was_named(host):
    recipe = tiny_recipe(host)
    same = ("modalities.video.codec.motion_weight=0.5", "training.steps=7", "backbone.layers=2")
    other = ("seconds=17/4", "modalities.video.frame_rate=4", "modalities.audio.sample_rate=8000")
    assert set(encoded_with(recipe)) == {"seconds", "modalities"}
    assert set(encoded_with(recipe)["modalities"]) == {"video", "audio"}
    for override in same:
        assert encoded_with(tiny_recipe(host, override)) == encoded_with(recipe), override
    for override in other:
        assert encoded_with(tiny_recipe(host, override)) != encoded_with(recipe), override


def test_where_a_pretrained_codec_lay_does_not_matter(host):
    def recipe(model):
        codec = f'modalities.video.codec={{name="diffusers_video",model="{model}"}}'
        return load_recipe(host, "avdit-demo", [codec])

    assert encoded_with(recipe("models/one")) == encoded_with(recipe("moved/two"))
