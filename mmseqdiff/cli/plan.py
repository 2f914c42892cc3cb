"""``mmseqdiff plan``: the timestep matrix of a task over the steps, or what levels a policy draws."""

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["plan"]


def plan(
    task: Annotated[
        str | None, typer.Argument(help="NAME, NAME:key=value,… or given ranges as 'video:0-0.625 audio:0-2'.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A recipe's name, or a TOML file such as a run's.")] = "avdit-demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Overrides the recipe: path.to.field=value.")] = None,
    plan: Annotated[str | None, typer.Option(help="NAME or NAME:key=value,…; the recipe's if not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of every cell; the plan's own if not given.")] = None,
    guidance: Annotated[str | None, typer.Option(help="NAME or NAME:key=value,… to count evaluations with.")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Show what this policy draws in training instead: NAME or NAME:key=value,….")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Also draw what is shown into this PNG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how the levels of TASK's cells fall step by step, and what that costs; or the levels that --policy draws."""
    import torch

    from mmseqdiff.assembly import build_modalities, build_policy, layout_of
    from mmseqdiff.errors import UserError
    from mmseqdiff.host import load_plugins
    from mmseqdiff.marginals import marginals
    from mmseqdiff.picture import draw_marginals, draw_plan, marginals_as_text, plan_as_text
    from mmseqdiff.pipeline import build_task, plan_task
    from mmseqdiff.recipe import Component, built, load_recipe
    from mmseqdiff.support import off_support_warning

    if (task is None) == (policy is None):
        raise UserError("name a task to plan, or a policy with --policy: one of the two")
    host = load_plugins()
    described = load_recipe(host, recipe, set_ or [])
    with torch.device("meta"):  # a plan needs the codecs' geometry, not their weights
        modalities = build_modalities(described, host)
    layout, schedule = layout_of(described, modalities), described.schedule.build(host, "schedule")
    if policy is not None:
        found = marginals(build_policy(Component.parse(policy), host, layout, schedule), layout, schedule.num_levels)
        print(json.dumps(found.to_dict()) if as_json else marginals_as_text(found))
        if png is not None:
            draw_marginals(found, png)
        return
    made = plan_task(described, host, layout, schedule, build_task(host, task), plan, steps)

    evaluations = int(made.falls.sum()) * described.sampling.sampler.build(host, "sampler").evaluations
    guide = built(host, "guidance", described.sampling.guidance if guidance is None else guidance)
    if guide is not None:
        evaluations *= guide.evaluations(layout, made.given)
    warning = off_support_warning(made, build_policy(described.policy, host, layout, schedule))
    if as_json:
        given = {name: row.tolist() for name, row in layout.split(made.given).items()}
        levels = [{name: row.tolist() for name, row in layout.split(matrix).items()} for matrix in made.levels]
        told = {"steps": made.steps, "evaluations": evaluations, "given": given, "levels": levels, "warning": warning}
        print(json.dumps(told))
    else:
        print(plan_as_text(made))
        print(f"{made.steps} steps, {evaluations} network evaluations of one clip")
        if made.rises.any():
            print(f"{int(made.rises.sum())} of the steps re-noise cells")
        if warning:
            print(f"warning: {warning}")
    if png is not None:
        draw_plan(made, png)
