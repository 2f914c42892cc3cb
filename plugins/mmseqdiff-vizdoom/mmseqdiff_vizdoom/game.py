"""One clip of play: pictures, stereo sound and the player's actions, tied to the game's tics.

The game runs at 35 tics a second, and the player holds an action for TICS of them, a step:

    picture n    the screen at tic n · TICS, before action n; the mean of 4 × 4 pixels of 256 × 192
    action n     held over the tics n · TICS … (n + 1) · TICS − 1
    sound        630 samples a tic at 22.05 kHz, left and right

Everything follows from the clip's key, to the last bit, and not from what the same game played before: a clip starts
after WARM_UP steps of play that are not recorded, in which what was still heard of the last episode fades away.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.errors import PluginError
from mmseqdiff_vizdoom.actions import ACTIONS
from mmseqdiff_vizdoom.player import Player

if TYPE_CHECKING:
    import vizdoom

__all__ = ["HEIGHT", "SAMPLE_RATE", "STEP_RATE", "TICS", "WIDTH", "Play", "open_game", "record"]

TICS = 4
"""Tics of one step."""
STEP_RATE = Fraction(35, TICS)
"""Steps, and pictures, a second."""
SAMPLE_RATE = 22_050
"""Samples a second, of each channel."""
HEIGHT = 48
"""Rows of a picture."""
WIDTH = 64
"""Columns of a picture."""
WARM_UP = 24
"""Steps before the first that is recorded."""
TURN = 1.5
"""Degrees a tic."""
SCENARIO = "deathmatch.wad"
"""An arena with monsters, weapons and rooms of different colours; it comes with ViZDoom."""
_ZOOM = 4

_BUTTONS = ("MOVE_FORWARD", "MOVE_BACKWARD", "ATTACK", "TURN_LEFT_RIGHT_DELTA")
_PRESSED = {
    "still": (0, 0, 0, 0),
    "forward": (1, 0, 0, 0),
    "backward": (0, 1, 0, 0),
    "left": (0, 0, 0, -TURN),
    "right": (0, 0, 0, TURN),
    "shoot": (0, 0, 1, 0),
}


@attrs.frozen(eq=False)
class Play:
    """One clip.

    Attributes:
        video: in [0, 1].
        audio: in [−1, 1], left and right.
        actions: one-hot, in the order of :data:`mmseqdiff_vizdoom.actions.ACTIONS`.
    """

    video: Float[Tensor, "step height width 3"]
    audio: Float[Tensor, "sample 2"]
    actions: Float[Tensor, "step symbol"]


@contextmanager
def open_game() -> Iterator["vizdoom.DoomGame"]:
    """A running game, without a window, whose player cannot die and has no end of ammunition.

    Raises:
        PluginError: if ViZDoom is not installed or does not start.
    """
    try:
        import vizdoom
    except ImportError as error:
        raise PluginError(
            f"recording needs the game ({error}): pip install 'mmseqdiff-vizdoom[game]', and for its sound OpenAL, "
            "which Debian has as libopenal1"
        ) from None
    os.environ.setdefault("ALSOFT_DRIVERS", "null")  # sound is rendered, not played: no sound card is needed
    game = vizdoom.DoomGame()
    game.set_doom_scenario_path(os.path.join(vizdoom.scenarios_path, SCENARIO))
    game.set_doom_map("map01")
    game.set_doom_skill(1)
    game.set_episode_timeout(0)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_256X192)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_render_hud(False)
    game.set_render_messages(False)
    game.set_audio_buffer_enabled(True)
    game.set_audio_sampling_rate(vizdoom.SamplingRate.SR_22050)
    game.set_audio_buffer_size(TICS)
    game.add_game_args("+snd_efx 0 +sv_infiniteammo 1")  # with sound effects it dies where there is no sound card
    game.set_available_buttons([getattr(vizdoom.Button, name) for name in _BUTTONS])
    game.set_available_game_variables([vizdoom.GameVariable.POSITION_X, vizdoom.GameVariable.POSITION_Y])
    with tempfile.TemporaryDirectory() as folder:
        game.set_doom_config_path(os.path.join(folder, "vizdoom.ini"))
        try:
            game.init()
        except Exception as error:
            raise PluginError(f"ViZDoom does not start: {type(error).__name__}: {error}") from error
        try:
            yield game
        finally:
            game.close()


def record(game: "vizdoom.DoomGame", key: int, steps: int) -> Play:
    """The clip of a key.

    Args:
        game: from :func:`open_game`.
        key: an int64 key; see :mod:`mmseqdiff.random`.
        steps: of the clip.

    Raises:
        PluginError: if the game ends before the clip does, or has no sound.
    """
    game.set_seed(random.integers(torch.tensor(key), "game", 0, 2**31 - 1).item())
    game.new_episode()
    game.send_game_command("god")
    player, place, moved = Player(key, WARM_UP + steps), None, 0.0
    pictures, sounds, held = [], [], []
    for n in range(WARM_UP + steps):
        state = game.get_state()
        position = np.array(state.game_variables)
        moved, place = 0.0 if place is None else float(np.hypot(*(position - place))), position
        action, picture = player.act(moved), _shrink(state.screen_buffer)
        game.make_action(list(_PRESSED[action]), TICS)
        after = game.get_state()
        if after is None:
            raise PluginError(f"ViZDoom ended the episode of key {key} after {n + 1} of {WARM_UP + steps} steps")
        if n >= WARM_UP:
            pictures.append(picture)
            sounds.append(np.array(after.audio_buffer))
            held.append(ACTIONS.index(action))
    sound = np.concatenate(sounds)
    if not sound.any():
        raise PluginError("ViZDoom gives no sound: it needs OpenAL, which Debian has as libopenal1")
    return Play(
        video=torch.from_numpy(np.stack(pictures)).to(torch.float32) / 255,
        audio=torch.from_numpy(sound.astype(np.float32) / 32767).clamp(-1, 1),
        actions=torch.eye(len(ACTIONS))[held],
    )


def _shrink(screen: np.ndarray) -> np.ndarray:
    """The mean of every ``_ZOOM`` × ``_ZOOM`` pixels, rounded."""
    blocks = screen.reshape(HEIGHT, _ZOOM, WIDTH, _ZOOM, 3).astype(np.uint16)
    return ((blocks.sum((1, 3)) + _ZOOM**2 // 2) // _ZOOM**2).astype(np.uint8)
