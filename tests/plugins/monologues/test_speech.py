import sys
from fractions import Fraction

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseqdiff_monologues import espeak
from mmseqdiff_monologues.identity import Identity, Voice
from mmseqdiff_monologues.seeds import SPLITS, clip_seed
from mmseqdiff_monologues.speech import resample, speak
from mmseqdiff_monologues.text import compose

from mmseqdiff.errors import PluginError

VOICE = Voice("en-us+m2", pitch=45, pitch_range=50, words_per_minute=130)

seeds = st.tuples(st.sampled_from(SPLITS), st.integers(0, 2**30 - 1), st.integers(0, 2**32 - 1))


@given(seeds, seeds)
def test_no_two_clips_share_a_seed(first, second):
    assert (clip_seed(*first) == clip_seed(*second)) == (first == second)
    assert 0 <= clip_seed(*first) < 2**63


def test_the_same_words_sound_the_same_whatever_was_said_before():
    first, events = espeak.synthesise("My mother bought a beautiful boat.", VOICE)
    espeak.synthesise("Somebody else, quite loud!", Voice("en-us+klatt2", 80, 90, 200))
    again, same_events = espeak.synthesise("My mother bought a beautiful boat.", VOICE)
    np.testing.assert_array_equal(first, again)
    assert events == same_events


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**40), st.fractions(Fraction(1, 2), 6, max_denominator=8), st.sampled_from([8000, 16000, 44100]))
def test_speech_fills_the_asked_time_and_its_phonemes_cover_it(seed, seconds, sample_rate):
    speech = speak(seed, Identity.draw(seed).voice, seconds, sample_rate)
    assert speech.waveform.shape == (int(seconds * sample_rate),)
    assert speech.waveform.dtype == np.float32
    assert np.abs(speech.waveform).max() <= 0.951
    assert speech.phonemes[0].start == 0
    assert speech.phonemes[-1].stop == pytest.approx(float(seconds), abs=1e-3)
    assert all(one.stop == other.start for one, other in zip(speech.phonemes, speech.phonemes[1:]))
    assert all(phoneme.start < phoneme.stop for phoneme in speech.phonemes)


def test_phoneme_times_agree_with_the_sound():
    """What is heard while a stressed vowel is said is far louder than what is heard in a pause."""
    vowels, pauses = [], []
    for seed in range(12):
        speech = speak(seed, Identity.draw(seed).voice, Fraction(5), 16000)
        for phoneme in speech.phonemes:
            margin = 0.02 if phoneme.symbol == "" else 0.0
            sound = speech.waveform[int((phoneme.start + margin) * 16000) : int((phoneme.stop - margin) * 16000)]
            if phoneme.symbol == "" and phoneme.stop - phoneme.start > 0.1:
                pauses.append(np.sqrt(np.mean(sound**2)))
            elif "ˈ" in phoneme.symbol and phoneme.stop - phoneme.start > 0.04:
                vowels.append(np.sqrt(np.mean(sound**2)))
    assert len(pauses) > 12
    assert len(vowels) > 50
    assert np.mean(np.array(vowels) > np.quantile(pauses, 0.9)) > 0.97
    assert np.median(vowels) > 10 * np.median(pauses)


def test_resampling_keeps_a_tone_at_its_pitch_and_place():
    tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050).astype(np.float32)
    resampled = resample(tone, 22050, 16000)
    exact = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert abs(len(resampled) - 16000) <= 2
    assert np.abs(resampled[200:15800] - exact[200:15800]).max() < 5e-3


def test_sentences_differ_between_seeds_and_repeat_for_one():
    texts = [compose(seed, 3) for seed in range(50)]
    assert len(set(texts)) == 50
    assert texts[7] == compose(7, 3)


def test_a_missing_espeak_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(PluginError, match=r"pip install 'mmseqdiff-monologues\[speech\]'"):
        espeak.synthesise("Hello.", VOICE)


def test_an_unknown_voice_is_named():
    with pytest.raises(PluginError, match="xx-nobody"):
        espeak.synthesise("Hello.", attrs.evolve(VOICE, name="xx-nobody"))
