"""The page as a file: what it escapes, and what its strips show."""

from html.parser import HTMLParser

import pytest
import torch

from mmseqdiff.demo.page import Example, Number, Page, Player, Section, Training, strip, write_page

NASTY = "<script>alert(1)</script> & \"quotes\" 'n' ümläut.mp4"


class Reader(HTMLParser):
    """Attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def page(**changed):
    players = tuple(
        Player(
            kind,
            f"{kind} #1?.mp4",
            (strip("video", torch.zeros(4, 2, 2, 3), torch.ones(4, dtype=torch.bool)),),
            (NASTY,),
        )
        for kind in ("given", "generated", "original")
    )
    number = Number(NASTY, NASTY, 0.25, 0.5, "lower")
    section = Section(NASTY, NASTY, NASTY, "plan.png", (NASTY,), NASTY, NASTY, (Example(NASTY, players, (number,)),))
    return Page(
        **{"facts": (NASTY,), "sections": (section,), "training": Training("t.png", NASTY, 2.0, 1.5), **changed}
    )


def test_whatever_is_written_on_the_page_is_text(tmp_path):
    write_page(page(), tmp_path / "index.html")
    written = (tmp_path / "index.html").read_text(encoding="utf-8")
    plain = write_and_read(page(sections=(), facts=()), tmp_path / "plain.html")
    read = Reader(written)
    assert [tag for tag, _ in read.tags].count("script") == [tag for tag, _ in plain.tags].count("script") == 1
    assert read.text.count(NASTY) >= 8
    sources = [attributes["src"] for _, attributes in read.tags if "src" in attributes]
    assert "given%20%231%3F.mp4" in sources


def write_and_read(made, path):
    write_page(made, path)
    return Reader(path.read_text(encoding="utf-8"))


def test_without_training_there_is_no_section_for_it(tmp_path):
    assert "training" in [attributes.get("id") for _, attributes in write_and_read(page(), tmp_path / "a.html").tags]
    read = write_and_read(page(training=None), tmp_path / "b.html")
    assert "training" not in [attributes.get("id") for _, attributes in read.tags]


def test_a_number_wins_in_its_own_direction():
    assert Number("m", "v", 1.0, 2.0, "lower").wins
    assert Number("m", "v", 2.0, 1.0, "higher").wins
    assert not Number("m", "v", 1.0, 1.0, "lower").wins


@pytest.mark.parametrize("length", [1, 17, 34000])
def test_a_strip_covers_the_clip_and_shows_what_is_given(length):
    given = torch.arange(length) >= length // 2
    sound, video = torch.linspace(-1, 1, length), torch.zeros(length, 2, 2, 3)
    for signal in (sound, video):
        bars = strip("any", signal, given).bars
        assert bars[0].left == 0
        assert bars[-1].left + bars[-1].width == pytest.approx(100, abs=0.01)
        assert len(bars) <= 68
        share = sum(bar.width for bar in bars if bar.given)
        assert share == pytest.approx(100 * given.float().mean().item(), abs=100 / len(bars))
    assert {bar.height for bar in strip("any", video, given).bars} == {100}


def test_a_sounds_bars_are_as_high_as_it_is_loud():
    loud = torch.cat([torch.zeros(6800), torch.ones(6800) / 2])
    heights = [bar.height for bar in strip("audio", loud, loud > 0).bars]
    assert heights[:34] == [6] * 34
    assert heights[34:] == [100] * 34
    silent = strip("audio", torch.zeros(100), torch.zeros(100, dtype=torch.bool))
    assert {bar.height for bar in silent.bars} == {6}


def test_a_discrete_signal_shows_each_symbol_in_a_lane_of_its_own():
    signal = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, 0, 0]])
    bars = strip("any", signal, torch.tensor([True, False, False]), ("a", "b", "c")).bars
    assert [bar.height for bar in bars] == [33.3, 33.3, 0]
    assert [bar.middle for bar in bars][:2] == [16.7, 83.3]
    assert [bar.label for bar in bars][:2] == ["a", "c"]
    assert [bar.given for bar in bars] == [True, False, False]
