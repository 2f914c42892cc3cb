"""Guidance schemes."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares the guidance schemes."""
    for name, address, summary in (
        ("cfg", "cfg:FreeGuidance", "classifier-free guidance for free: the condition re-noised at T"),
        ("history", "history:HistoryGuidance", "several windows of the condition, each with a weight"),
        ("cross_modal", "cross_modal:CrossModalGuidance", "each modality against what it would be without the others"),
        ("stabilise", "stabilised:Stabilised", "finished cells shown a little noisy"),
        ("autoguidance", "autoguidance:Autoguidance", "away from a weaker model"),
        ("replacement", "replacement:Replacement", "baseline: the condition noised like the rest, for a joint model"),
        ("reconstruction", "reconstruction:Reconstruction", "baseline: replacement, and the condition's gradient"),
        ("mmd_gradient", "gradient:Gradient", "baseline: MM-Diffusion's gradient of the stepped condition"),
    ):
        add("guidance", name, f"mmseqdiff_guidance.{address}", summary=summary)
