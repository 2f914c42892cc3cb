"""A third modality: recorded first-person play with its sound and the player's actions, and what can be asked of it.

Importing this module loads nothing heavy.
"""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add) -> None:
    """Declares the data set, the modality with its codec, the recipe, the tasks and the metrics."""
    add(
        "dataset",
        "vizdoom",
        "mmseqdiff_vizdoom.dataset:VizDoom",
        summary="play of Doom with stereo sound and the player's actions, recorded anew from a seed",
    )
    add(
        "modality",
        "actions",
        "mmseqdiff_vizdoom.actions:actions",
        summary="what a player does, one action a step, in a file beside the media file",
    )
    add(
        "codec",
        "one_hot",
        "mmseqdiff_vizdoom.one_hot:OneHot",
        summary="symbols as orthogonal vectors, decoded by argmax; exact and without weights",
    )
    add(
        "recipe",
        "avdit-vizdoom",
        "mmseqdiff_vizdoom.recipes:avdit_vizdoom",
        summary="a small AVDiT over video, audio and actions that trains in half an hour on two CPU cores",
    )
    add(
        "task",
        "world_model",
        "mmseqdiff_vizdoom.tasks:world_model",
        summary="All actions and the beginning of everything are given: what does the player see and hear?",
    )
    add(
        "task",
        "inverse_dynamics",
        "mmseqdiff_vizdoom.tasks:inverse_dynamics",
        summary="All of the picture is given: what did the player do, and what was there to hear?",
    )
    add(
        "task",
        "behaviour",
        "mmseqdiff_vizdoom.tasks:behaviour",
        summary="The beginning of the picture is given: what did the player do, and what comes next?",
    )
    add(
        "metric",
        "inverse_dynamics",
        "mmseqdiff_vizdoom.metrics:InverseDynamics",
        summary="actions between given pictures: how many are right, beside guessing",
    )
    add(
        "metric",
        "behaviour",
        "mmseqdiff_vizdoom.metrics:Behaviour",
        summary="actions after the last given picture: how many are right, beside guessing",
    )
    add(
        "metric",
        "prediction_error",
        "mmseqdiff_vizdoom.metrics:PredictionError",
        summary="play: pictures after a given one, beside repeating that one",
    )
