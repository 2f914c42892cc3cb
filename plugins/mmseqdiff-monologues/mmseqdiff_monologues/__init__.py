"""Monologues: a synthetic talking-head data set with exact ground truth, and the metrics that go with it.

Importing this module loads nothing heavy.
"""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add) -> None:
    """Declares the data set and its metrics."""
    add(
        "dataset",
        "monologues",
        "mmseqdiff_monologues.dataset:Monologues",
        summary="synthetic people who speak, with the truth of who they are and how their mouths move",
    )
    add(
        "metric",
        "mouth_alignment",
        "mmseqdiff_monologues.metrics:MouthAlignment",
        summary="monologues: does the mouth in the picture move as the true one of the given sound",
    )
    add(
        "metric",
        "identity_consistency",
        "mmseqdiff_monologues.metrics:IdentityConsistency",
        summary="monologues: colours and shape in the picture against the given person's",
    )
    add(
        "metric",
        "word_error",
        "mmseqdiff_monologues.metrics:WordError",
        summary="monologues that say digits: are they understood, and as well as the real clip's",
    )
