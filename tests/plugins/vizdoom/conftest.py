"""Recordings that need no game: a wall of tiles that the actions move, and a sound that says which action is held."""

import attrs
import mmseqdiff_vizdoom
import pytest
import torch
from mmseqdiff_vizdoom.actions import ACTIONS
from mmseqdiff_vizdoom.dataset import write_recording
from mmseqdiff_vizdoom.game import HEIGHT, SAMPLE_RATE, STEP_RATE, WIDTH, Play

from mmseqdiff import load_plugins

SHIFT = {"left": 4, "right": -4}


@pytest.fixture(scope="session")
def host():
    """A host with every installed plugin, and this one also where it is only on the path."""
    host = load_plugins()
    if ("dataset", "vizdoom") not in {(entry.kind, entry.name) for entry in host.registrations()}:
        host.add_plugin(mmseqdiff_vizdoom, "vizdoom")
    return host


def made_up_play(seed: int, steps: int) -> Play:
    """Play that shows what was done: turns shift the picture by four columns, shots are loud."""
    generator = torch.Generator().manual_seed(seed)
    wall = torch.rand(HEIGHT // 8, 32, 3, generator=generator).repeat_interleave(8, 0).repeat_interleave(8, 1)
    held = torch.randint(len(ACTIONS), (steps // 3 + 1,), generator=generator).repeat_interleave(3)[:steps]
    place, pictures, samples = 0, [], int(SAMPLE_RATE / STEP_RATE)
    noise = torch.rand(steps, samples, 2, generator=generator) - 0.5
    for action in held.tolist():
        pictures.append(wall.roll(place, 1)[:, :WIDTH])
        place += SHIFT.get(ACTIONS[action], 0)
    loud = torch.where(held == ACTIONS.index("shoot"), 0.8, 0.1)
    return Play(torch.stack(pictures), (noise * loud[:, None, None]).flatten(0, 1), torch.eye(len(ACTIONS))[held])


@attrs.frozen
class Recordings:
    folder: object
    plays: list


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Three files of 21 steps, and what they hold."""
    folder, plays = tmp_path_factory.mktemp("play"), [made_up_play(seed, 21) for seed in range(3)]
    for n, play in enumerate(plays):
        write_recording(play, folder / f"{n:06d}.mkv")
    return Recordings(folder, plays)
