"""Draws docs/pictures/{policies,tasks,plans}.svg: ``python docs/pictures/matrix.py``. Every level is the library's own.

The clip is that of the shipped model: 2.125 seconds, 5 video and 106 audio segments.
"""

from pathlib import Path

import torch

import mmseqdiff
from mmseqdiff import random
from mmseqdiff.assembly import build_modalities, layout_of
from mmseqdiff.picture import matrices_as_svg
from mmseqdiff.recipe import load_recipe

EXAMPLES = 4
SEED = 102
"""With it the four examples of the mixture are of its four kinds."""
STEPS = 4
POLICIES = ("vanilla", "per_modality", "per_segment", "per_segment_modality", "monl")
TASKS = ("joint", "a2v", "v2a", "continue", "inpaint")
PLANS = {
    "full": {},
    "cascade": {"leads": {"audio": 1}},
    "pyramid": {"uncertainty": 2},
    "autoregressive": {},
    "keyframes": {},
}
"""Of ``joint``."""


def draw() -> dict[str, str]:
    """File name → the picture's text."""
    host = mmseqdiff.load_plugins()
    recipe = load_recipe(host, "avdit-demo")
    with torch.device("meta"):  # of the codecs only the geometry is needed
        layout = layout_of(recipe, build_modalities(recipe, host))
    num_levels = recipe.schedule.build(host, "schedule").num_levels
    keys = random.example_keys(SEED, range(EXAMPLES))
    drawn = {name: host.build("policy", name).sample(layout, keys, num_levels=num_levels) for name in POLICIES}

    def shown(task: str, plan: str, columns: int, **parameters: object) -> tuple[torch.Tensor, torch.Tensor]:
        given = host.build("task", task).given(layout)
        made = host.build("plan", plan, steps=STEPS, **parameters)(layout, given, num_levels=num_levels)
        rows = torch.linspace(0, made.steps, columns).round().long()
        return made.levels[rows], given

    tasks = {name: shown(name, "full", STEPS + 1) for name in TASKS}
    plans = {name: shown("joint", name, 6, **parameters)[0] for name, parameters in PLANS.items()}
    fifths = ["start", *(f"{k}/5" for k in range(1, 5)), "end"]
    return {
        "policies.svg": matrices_as_svg(drawn, [f"example {n + 1}" for n in range(EXAMPLES)], layout, num_levels),
        "tasks.svg": matrices_as_svg(
            {name: levels for name, (levels, _) in tasks.items()},
            [f"step {r}" for r in range(STEPS + 1)],
            layout,
            num_levels,
            {name: given for name, (_, given) in tasks.items()},
        ),
        "plans.svg": matrices_as_svg(plans, fifths, layout, num_levels),
    }


def main() -> None:
    """Writes the files beside this one."""
    for name, text in draw().items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
