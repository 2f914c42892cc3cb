"""`mmseqdiff demo` with a tiny model: a page that opens from disk and shows every task."""

import re
import shutil
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import av
import pytest
import tiny

from mmseqdiff import cli
from mmseqdiff.demo.run import TASKS

OWN = 'my <b>film & "more".mp4'


@pytest.fixture(scope="module")
def made(host, tmp_path_factory):
    """A tiny model, its clips, a file of the user's, and the folder of a page."""
    folder = tmp_path_factory.mktemp("demo")
    clips = tiny.tiny_clips(host, folder / "clips", count=2)
    own = shutil.copy(clips / "000001.mp4", folder / OWN)
    return clips, tiny.tiny_run(host, folder, clips), own, folder / "page"


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["mmseqdiff", "demo", *map(str, words)])
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


@pytest.fixture(scope="module")
def page(made):
    clips, model, own, out = made
    with pytest.MonkeyPatch.context() as patch:
        options = ("--num", 2, "--steps", 2, "--training-seconds", 2)
        assert run(patch, "--out", out, "--model", model, "--clips", clips, "--video", own, *options) == 0
    return out


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("src", "href", "poster") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []

    def handle_data(self, data):
        self.text += data


def test_every_task_is_on_the_page_and_everything_it_refers_to_lies_beside_it(page):
    text = (page / "index.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert read.ids == [*TASKS, "training"]
    files = [link for link in read.links if not link.startswith(("#", "data:,"))]
    for link in files:
        parts = urlsplit(link)
        assert (parts.scheme, parts.netloc, link[0] == "/") == ("", "", False), link
        assert (page / unquote(parts.path)).is_file(), link
    for task in TASKS:
        assert f"{task}-plan.png" in files
        assert f"{task}-0-generated.mp4" in files
        assert (f"{task}-0-given.mp4" in files) == (task != "joint")
        assert (f"{task}-2-generated.mp4" in files) == (task != "joint"), "the user's own"
    assert "http" not in text
    assert str(page.parent) not in text
    assert not [path for path in page.iterdir() if path.name.startswith(".")]


def test_file_names_are_text_and_not_markup(page):
    text = (page / "index.html").read_text(encoding="utf-8")
    assert "<b>film" not in text
    assert f"your file: {OWN}" in Reader(text).text


def test_what_was_measured_is_on_the_page(page):
    text = Reader((page / "index.html").read_text(encoding="utf-8")).text
    for shown in (
        "mouth alignment",
        "correlation ↑",
        "identity consistency",
        "distance ↓",
        "p = ",
        "same noise, same levels",
    ):
        assert shown in text
    assert len(re.findall(r"of 2 clips \(paired test", text)) == 4, "of every task that is given something"
    assert (page / "training.png").read_bytes().startswith(b"\x89PNG")


def test_the_media_play_in_a_browser_and_the_given_file_shows_what_is_given_alone(page):
    for path in page.glob("*.mp4"):
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
            assert container.streams.audio[0].codec_context.name == "aac"

    def brightness(name):
        with av.open(str(page / name)) as container:
            return [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]

    def loudness(name):
        with av.open(str(page / name)) as container:
            return max(abs(frame.to_ndarray()).max() for frame in container.decode(audio=0))

    assert max(brightness("a2v-0-given.mp4")) < 5
    assert min(brightness("v2a-0-given.mp4")) > 20
    assert min(brightness("continue-0-given.mp4")[:5]) > 20 > max(brightness("continue-0-given.mp4")[5:])
    assert loudness("a2v-0-given.mp4") > 0.01 > loudness("v2a-0-given.mp4")


def test_what_cannot_be_shown_is_refused_before_anything_is_made(made, monkeypatch, capsys, tmp_path):
    clips, model, own, _ = made
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    (tmp_path / "taken").touch()
    for words, message in (
        (("--video", tmp_path / "broken.mp4"), "broken.mp4"),
        (("--video", own, "--start", 1), "1"),
        (("--num", 1), "--num must be at least 2"),
        (("--clips", "no-such-data"), "no-such-data"),
        (("--out", tmp_path / "taken"), "taken cannot hold the page"),
    ):
        words = ("--out", tmp_path / "page", "--model", model, "--clips", clips, *words)
        assert run(monkeypatch, *words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "page").exists()
