"""A plugin of somebody else's: a third modality, and a policy for it."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    add("codec", "pulse_pairs", "mmseqdiff_heartbeat.modality:PulsePairs", summary="two numbers to a latent")
    add("modality", "heartbeat", "mmseqdiff_heartbeat.modality:heartbeat", summary="a pulse curve beside the file")
    add("policy", "alternating", "mmseqdiff_heartbeat.policy:Alternating", summary="even and odd segments differ")
