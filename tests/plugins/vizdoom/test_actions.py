"""Actions from files to latents and back: exact, and nothing hidden gets through."""

import json
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_vizdoom.actions import ACTIONS, ActionFormat
from mmseqdiff_vizdoom.one_hot import OneHot

from mmseqdiff.data.media import write_clip
from mmseqdiff.errors import MediaError, PluginError
from mmseqdiff.modality import Modality, Statistics
from mmseqdiff.testing import CodecContract, ModalityContract
from mmseqdiff.testing.verdicts import FAILS, verdicts

RATES = st.fractions("1/3", 40, max_denominator=12)
HELD = st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=12)


def one_hot(names):
    return torch.tensor([[float(name == other) for other in ACTIONS] for name in names])


@given(names=HELD, rate=RATES, data=st.data())
def test_what_is_written_is_read_whole_and_in_part(names, rate, data, tmp_path_factory):
    path, media = tmp_path_factory.mktemp("a") / "clip.mkv", ActionFormat(rate)
    media.write(path.with_suffix(".actions"), one_hot(names))
    assert media.duration(path) == len(names) / rate
    first = data.draw(st.integers(0, len(names) - 1))
    last = data.draw(st.integers(first + 1, len(names)))
    for place in (path, path.with_suffix(".actions")):
        part = media.read(place, first / rate, (last - first) / rate)
        assert torch.equal(part, one_hot(names[first:last]))


@given(names=HELD, own=RATES, rate=RATES)
def test_at_another_rate_an_action_is_the_one_held_then(names, own, rate, tmp_path_factory):
    path = tmp_path_factory.mktemp("a") / "clip.json"
    path.write_text(json.dumps({"rate": str(own), "actions": names}))
    media, seconds = ActionFormat(rate), len(names) / own
    expected = []
    while len(expected) < int(seconds * rate):
        time = len(expected) / rate
        expected.append(next(name for n, name in enumerate(names) if n / own <= time < (n + 1) / own))
    assert torch.equal(media.read(path, Fraction(0), seconds).argmax(-1), one_hot(expected).reshape(-1, 6).argmax(-1))


def test_a_clip_has_them_in_a_file_beside_it(recordings):
    names = json.loads((recordings.folder / "000001.actions").read_text())["actions"]
    assert torch.equal(one_hot(names), recordings.plays[1].actions)
    assert sorted(path.name for path in recordings.folder.iterdir())[:2] == ["000000.actions", "000000.mkv"]


def test_generated_actions_are_written_beside_the_clip(tmp_path):
    media = ActionFormat(Fraction(2))
    written = write_clip(tmp_path / "out.mp4", {"actions": one_hot(["left", "shoot"])}, {"actions": media})
    assert [path.name for path in written] == ["out.actions"]
    assert json.loads(written[0].read_text()) == {"rate": "2", "actions": ["left", "shoot"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no file of actions"),
        ('{"rate": "2"}', "actions"),
        ('{"rate": "2", "actions": ["jump"]}', "still, forward"),
        ('{"rate": "0", "actions": ["left"]}', "positive rate"),
        ('{"rate": "2", "actions": ["left"]}', "holds 0.5 s of actions"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, content, message):
    (tmp_path / "clip.actions").write_text(content)
    with pytest.raises(MediaError, match=message) as raised:
        ActionFormat(Fraction(2)).read(tmp_path / "clip.mkv", Fraction(0), Fraction(1))
    assert "clip.actions" in str(raised.value)


def test_a_missing_file_says_where_the_actions_should_be(tmp_path):
    with pytest.raises(MediaError, match=r"there is no clip\.actions"):
        ActionFormat(Fraction(2)).duration(tmp_path / "clip.mp4")


@given(names=HELD)
def test_the_codec_returns_what_it_was_given(names):
    signal, codec = one_hot(names)[None], OneHot()
    assert not codec.state_dict()
    assert torch.equal(codec.decode(codec.encode(signal)), signal)
    gram = codec.encode(torch.eye(6)[None])[0]
    gram = (gram - gram.mean(0)) @ (gram - gram.mean(0)).T
    torch.testing.assert_close(
        gram - gram.diagonal().diag(), torch.full((6, 6), gram[0, 1]) - gram[0, 1] * torch.eye(6)
    )
    track = codec.track("actions", tuple(signal.shape[1:]), Fraction(35, 4))
    assert (track.segments, track.grid, track.channels) == (len(names), (), 6)
    assert track.intervals[-1] == (Fraction(4 * len(names) - 4, 35), Fraction(4 * len(names), 35))


@given(chances=st.lists(st.integers(1, 50), min_size=6, max_size=6, unique=True), data=st.data())
def test_the_most_probable_action_is_decoded_whatever_normalises(chances, data):
    """The best estimate of normalised latents is their mean over the posterior."""
    share = torch.tensor(data.draw(st.lists(st.floats(0.01, 0.99), min_size=6, max_size=6)))
    statistics = Statistics(2 * share - 1, 2 * (share * (1 - share)).sqrt())
    modality = Modality(OneHot(), ActionFormat(Fraction(1)), statistics)
    posterior = torch.tensor(chances, dtype=torch.float64) / sum(chances)
    estimate = (posterior[:, None] * modality.encode(torch.eye(6)[None])[0]).sum(0)
    found = modality.decode(estimate[None, None].float())[0, 0]
    assert found.argmax() == posterior.argmax()
    assert found.sum() == 1


@pytest.mark.parametrize(
    "contract",
    [
        CodecContract.of(OneHot, "OneHotLaws", shapes=((9, 6),)),
        ModalityContract.of(
            lambda: Modality(OneHot(), ActionFormat(Fraction(35, 4))),
            "ActionLaws",
            lengths=(Fraction(36, 35),),
            suffix=".actions",
        ),
    ],
)
def test_the_laws_hold_but_for_the_one_of_signals_that_are_no_actions(contract):
    """Any numbers can be encoded; what is written is the likeliest action, so that only actions are read as written."""
    broken = {verdict.law.name for verdict in verdicts(contract(), 10) if verdict.outcome == FAILS}
    assert broken <= {"test_what_is_written_is_read"}


def test_a_file_that_is_read_and_not_named_is_found_out():
    class Secretive(ActionFormat):
        def files(self, path):
            return (path,)

    contract = ModalityContract.of(
        lambda: Modality(OneHot(), Secretive(Fraction(35, 4))),
        "Secretive",
        lengths=(Fraction(36, 35),),
        suffix=".actions",
    )
    broken = {verdict.law.name for verdict in verdicts(contract(), 3) if verdict.outcome == FAILS}
    assert "test_its_files_are_all_that_it_reads" in broken


def test_the_plugin_builds_them(host):
    modality = host.build("modality", "actions", codec="one_hot", rate="35/4")
    assert modality.track("actions", Fraction(68, 35)).shape == (17, 6)
    own = host.build("modality", "actions", codec="one_hot", rate=5, symbols=["up", "down"])
    assert own.format.shape(Fraction(1)) == (5, 2)
    with pytest.raises(PluginError, match="different names"):
        host.build("modality", "actions", codec="one_hot", rate=5, symbols=["up", "up"])
