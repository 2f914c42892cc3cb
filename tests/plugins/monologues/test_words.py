"""Digits: what is said and when, and what a recogniser makes of it."""

import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import strategies as st
from mmseqdiff_monologues import words
from mmseqdiff_monologues.clips import ClipFormat, Monologue, truth_path
from mmseqdiff_monologues.metrics import WordError
from mmseqdiff_monologues.speech import resample
from mmseqdiff_monologues.text import DIGITS, dictate
from mmseqdiff_monologues.words import recognise, word_error

from mmseqdiff import random
from mmseqdiff.errors import PluginError
from mmseqdiff.protocols import Comparison
from mmseqdiff.testing import MetricContract

SECONDS = Fraction(3)
FORMAT = ClipFormat(SECONDS, 16, 8, 16000, "digits")
FIRST_SOUND = dict(zip(DIGITS, ("z", "w", "t", "θ", "f", "f", "s", "s", "e", "n")))


@pytest.fixture(scope="module")
def dictated():
    return [Monologue.make(seed, FORMAT) for seed in range(8)]


def test_digits_differ_between_seeds_and_use_every_word():
    texts = [dictate(seed, 7) for seed in range(40)]
    assert len(set(texts)) == 40
    assert texts[3] == dictate(3, 7)
    words = [word.strip(",.") for text in texts for word in text.split()]
    assert len(words) == 40 * 7
    assert set(words) == set(DIGITS)


def test_every_word_begins_with_its_first_sound(dictated):
    """Or with the sound that links it to the word before: "seve-neight"."""
    for clip in dictated:
        said = clip.truth.digits(Fraction(0), SECONDS)
        assert len(said) >= 3
        for word, start, stop in said:
            sounds = [each.symbol for each in clip.truth.phonemes if start <= each.start < stop and each.symbol]
            assert any(sound.lstrip("ˈˌ").startswith(FIRST_SOUND[word]) for sound in sounds[:2]), (word, sounds)


def test_what_is_said_within_a_stretch_is_whole(dictated):
    truth = dictated[0].truth
    whole = truth.digits(Fraction(0), SECONDS)
    assert truth.digits(Fraction(whole[0][1]) + Fraction(1, 100), SECONDS) == whole[1:]
    assert truth.digits(Fraction(0), Fraction(whole[1][2]) - Fraction(1, 100)) == whole[:1]


def test_a_word_error_counts_what_it_takes_to_correct():
    said = ["one", "two", "three", "four"]
    assert word_error(said, said) == 0
    assert word_error(["one", "three", "three", "four"], said) == 0.25
    assert word_error(["one", "three", "four"], said) == 0.25
    assert word_error([], said) == 1
    assert word_error(["nine"] * 8, said) == 2


def comparison(folder, dictated, n, sound, given=0):
    samples = torch.zeros(len(sound), dtype=torch.bool)
    samples[:given] = True
    return Comparison(
        generated={"audio": sound},
        real={"audio": dictated[n].audio},
        given={"audio": samples},
        rates={"audio": Fraction(16000)},
        file=folder / f"{n}.mp4",
        start=Fraction(0),
    )


@pytest.fixture(scope="module")
def folder(dictated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    for n, clip in enumerate(dictated):
        clip.truth.write(truth_path(folder / f"{n}.mp4"))
    return folder


def test_a_missing_recogniser_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    words._decoder.cache_clear()
    with pytest.raises(PluginError, match=r"pip install 'mmseqdiff-monologues\[words\]'"):
        recognise(torch.zeros(16000), 16000)


class TestRecognised:
    """With pocketsphinx."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("pocketsphinx")

    def test_voices_are_understood_better_than_each_others_digits_and_noise(self, dictated):
        right, wrong, noise = [], [], []
        for n, clip in enumerate(dictated):
            (_, first, _), *_, (_, _, last) = clip.truth.digits(Fraction(0), SECONDS)
            heard = recognise(clip.audio[round(first * 16000) : round(last * 16000)], 16000)
            for errors, other in ((right, n), (wrong, (n + 1) % len(dictated))):
                errors.append(
                    word_error(heard, [word for word, _, _ in dictated[other].truth.digits(Fraction(0), SECONDS)])
                )
            hiss = 0.1 * random.normal(random.example_keys(n, range(1)), "hiss", clip.audio.shape)[0]
            noise.append(
                word_error(recognise(hiss, 16000), [word for word, _, _ in clip.truth.digits(Fraction(0), SECONDS)])
            )
        mean = [sum(errors) / len(errors) for errors in (right, wrong, noise)]
        assert mean[0] < 0.6
        assert mean[0] < mean[1] - 0.3
        assert mean[0] < mean[2] - 0.3

    def test_it_hears_the_same_whatever_it_heard_before_and_at_any_rate(self, dictated):
        first = recognise(dictated[0].audio, 16000)
        recognise(0.9 * dictated[1].audio.flip(0), 16000)
        assert recognise(dictated[0].audio, 16000) == first
        twice = resample(dictated[0].audio.numpy(), 16000, 32000)
        assert recognise(torch.from_numpy(twice), 32000) == first

    def test_an_excess_is_over_the_real_clips_error(self, dictated, folder):
        metric = WordError()
        same = metric(comparison(folder, dictated, 0, dictated[0].audio))
        assert same["excess"] == 0
        assert metric(comparison(folder, dictated, 0, torch.zeros(48000))) == {"error": 1, "excess": 1 - same["error"]}

    def test_it_says_nothing_of_sentences_or_of_given_sound(self, dictated, folder, monologues, tmp_path):
        metric = WordError()
        assert metric(comparison(folder, dictated, 0, dictated[0].audio, given=1)) == {}
        assert metric(comparison(tmp_path, dictated, 0, dictated[0].audio)) == {}
        for text in ("no JSON", "[1, 2]", '{"seed": 1}'):
            (tmp_path / "0.json").write_text(text)
            assert metric(comparison(tmp_path, dictated, 0, dictated[0].audio)) == {}, "somebody else's file"
        monologues[0].truth.write(tmp_path / "0.json")
        assert metric(comparison(tmp_path, dictated, 0, dictated[0].audio)) == {}


class TestWordError(MetricContract):
    """It reads the truth beside the real file."""

    @pytest.fixture(autouse=True)
    def clips(self, dictated, folder):
        pytest.importorskip("pocketsphinx")
        self.made = folder, dictated

    def build(self):
        return WordError()

    def comparison(self, data):
        folder, dictated = self.made
        n, other = (data.draw(st.integers(0, 1)) for _ in range(2))
        return comparison(folder, dictated, other, dictated[n].audio, given=data.draw(st.sampled_from([0, 0, 100])))
