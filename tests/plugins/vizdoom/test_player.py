"""The scripted player, without a game."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_vizdoom.actions import ACTIONS
from mmseqdiff_vizdoom.player import LONGEST, SHORTEST, Player, choose

KEYS = st.integers(-(2**63), 2**63 - 1)
FREE, WALL = 33.0, 0.0


def play(key, steps, moved):
    player = Player(key, steps)
    return [player.act(moved(n)) for n in range(steps)]


@given(key=KEYS)
def test_actions_are_held_for_a_while_and_follow_from_the_key(key):
    made = play(key, 60, lambda n: FREE)
    assert made == play(key, 60, lambda n: FREE)
    assert made[:20] == play(key, 20, lambda n: FREE), "whatever the length"
    runs = [len(list(run)) for _, run in groupby(made)]
    assert all(SHORTEST <= run <= LONGEST for run in runs[:-1])
    assert set(made) <= set(ACTIONS)


@given(key=KEYS)
def test_against_a_wall_the_player_turns(key):
    made = play(key, 120, lambda n: WALL)
    runs = [(name, len(list(run))) for name, run in groupby(made)]
    for (name, length), (following, _) in zip(runs, runs[1:]):
        if name == "forward":
            assert length == 2
            assert following in ("left", "right")


def test_forward_is_what_a_free_player_does_most():
    made = [name for key in range(40) for name in play(key, 200, lambda n: FREE)]
    shares = {name: made.count(name) / len(made) for name in ACTIONS}
    assert max(shares, key=shares.get) == "forward"
    assert 0.2 < shares["forward"] < 0.35
    assert min(shares.values()) > 0.08


def test_choices_go_by_weight():
    names = [choose(("still", "forward"), (n + 0.5) / 500) for n in range(500)]
    assert names.count("forward") == 420
