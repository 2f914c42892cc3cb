"""Noise schedules, timestep policies, tasks and sampling plans."""

from mmseqdiff.host import hookimpl


@hookimpl
def register(add):
    """Declares schedules, policies, tasks and plans."""
    schedules = "mmseqdiff_noise.schedules"
    add("schedule", "linear", f"{schedules}:linear", summary="betas rising linearly, 1e-4 to 0.02 (the paper's)")
    add("schedule", "cosine", f"{schedules}:cosine", summary="alpha_bar falling as a squared cosine")
    add(
        "schedule",
        "zero_terminal_snr",
        f"{schedules}:zero_terminal_snr",
        summary="another schedule, ending in pure noise",
    )

    policies = "mmseqdiff_noise.policies"
    add("policy", "vanilla", f"{policies}:Vanilla", summary="one level for all cells")
    add("policy", "per_modality", f"{policies}:PerModality", summary="one level per modality")
    add(
        "policy",
        "per_segment",
        f"{policies}:PerSegment",
        summary="one level per time-segment, shared across modalities",
    )
    add("policy", "per_segment_modality", f"{policies}:PerSegmentModality", summary="a level of its own for every cell")
    add("policy", "mixture", f"{policies}:Mixture", summary="any policies, with weights, drawn per example")
    add("policy", "monl", f"{policies}:monl", summary="the mixture of noise levels: the four above, uniformly")
    add("policy", "pt_pm_ptm", f"{policies}:pt_pm_ptm", summary="the mixture without vanilla (the paper's ablation)")
    add(
        "policy",
        "task",
        f"{policies}:TaskPolicy",
        summary="one task's conditional distribution (the task-specific baseline)",
    )
    add("policy", "restricted", f"{policies}:Restricted", summary="one policy on some modalities, another on the rest")
    add(
        "policy",
        "with_clean",
        f"{policies}:WithClean",
        summary="a policy in which a task's cells are clean with some probability",
    )
    add("policy", "monotone", "mmseqdiff_noise.monotone:Monotone", summary="levels that never fall along the clip")
    add(
        "policy",
        "uniform_future",
        "mmseqdiff_noise.future:UniformFuture",
        summary="a level per segment of the context, one for all that follows",
    )
    add(
        "policy",
        "dual_time",
        "mmseqdiff_noise.dual:DualTime",
        summary="two levels, the smaller one for a random minority of segments",
    )
    add(
        "policy",
        "coupled",
        "mmseqdiff_noise.coupled:Coupled",
        summary="one time for all modalities, shifted for each",
    )
    add(
        "policy",
        "rolling_window",
        "mmseqdiff_noise.rolling:RollingWindow",
        summary="the phases of a window that rolls from noise to clean",
    )

    tasks = "mmseqdiff_noise.tasks"
    add("task", "joint", f"{tasks}:joint", summary="nothing is given")
    add("task", "cross_modal", f"{tasks}:CrossModal", summary="whole modalities are given")
    add("task", "a2v", f"{tasks}:a2v", summary="audio is given, video generated")
    add("task", "v2a", f"{tasks}:v2a", summary="video is given, audio generated")
    add("task", "continue", f"{tasks}:continuation", summary="the first part of every modality is given")
    add("task", "inpaint", f"{tasks}:inpainting", summary="all but a stretch of time is given")
    add("task", "interpolate", f"{tasks}:interpolation", summary="the first and the last part are given")
    add(
        "task",
        "ranges",
        f"{tasks}:parse_ranges",
        summary="any stretches of time per modality, as video:0-0.625 audio:0-2",
    )

    plans = "mmseqdiff_noise.plans"
    add("plan", "full", f"{plans}:Full", summary="all cells that are not given go from T to 0 together")
    add("plan", "autoregressive", f"{plans}:autoregressive", summary="segment by segment")
    add(
        "plan", "block_autoregressive", f"{plans}:BlockAutoregressive", summary="some segments together, block by block"
    )
    add("plan", "pyramid", f"{plans}:Pyramid", summary="every block starts some rows after the one before it")
    add("plan", "trapezoid", f"{plans}:Trapezoid", summary="both ends first, or the middle first")
    add("plan", "ar_step", f"{plans}:ArStep", summary="every block stays some steps behind the one before it")
    add("plan", "keyframes", f"{plans}:Keyframes", summary="every so many segments first, then what lies between")
    add("plan", "cascade", f"{plans}:Cascade", summary="some modalities lead")
    add("plan", "repaint", "mmseqdiff_noise.repaint:RePaint", summary="as full, with jumps back up (RePaint)")
    add("plan", "matrix", "mmseqdiff_noise.matrix:Matrix", summary="any levels of your own, from a list or a JSON file")
