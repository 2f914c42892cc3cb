import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mmseqdiff_monologues.movement import VISEMES, letters, mouth, move
from mmseqdiff_monologues.speech import Phoneme, speak

SYMBOLS = sorted(VISEMES)
spoken = st.lists(st.tuples(st.sampled_from(SYMBOLS), st.floats(0.03, 0.4)), min_size=1, max_size=12)


def phonemes(parts):
    edges = np.cumsum([0.0, *(length for _, length in parts)])
    return tuple(Phoneme(symbol, start, stop) for (symbol, _), start, stop in zip(parts, edges[:-1], edges[1:]))


@given(spoken, st.floats(-1, 1))
def test_the_mouth_stays_within_its_targets_and_moves_with_the_clock(parts, shift):
    said = phonemes(parts)
    times = np.linspace(0, said[-1].stop, 30)
    opening, width = mouth(said, times)
    openings, widths, _ = np.array([VISEMES[symbol] for symbol, _ in parts]).T
    assert np.all(opening >= 0.8 * openings.min() - 1e-9)
    assert np.all(opening <= openings.max() + 1e-9)
    assert np.all(width >= widths.min() - 1e-9)
    assert np.all(width <= widths.max() + 1e-9)
    later = tuple(Phoneme(phoneme.symbol, phoneme.start + shift, phoneme.stop + shift) for phoneme in said)
    np.testing.assert_allclose(mouth(later, times + shift)[0], opening, atol=1e-6)


def test_long_phonemes_reach_their_targets():
    said = phonemes([("m", 0.5), ("ˈɑː", 0.5), ("i", 0.5), ("", 0.5)])
    opening, width = mouth(said, np.array([0.25, 0.75, 1.25, 1.75]))
    np.testing.assert_allclose(opening, [0, 1.0, 0.8 * VISEMES["i"][0], 0], atol=1e-3)
    np.testing.assert_allclose(width[1:3], [VISEMES["ɑ"][1], VISEMES["i"][1]], atol=1e-3)


def test_lips_close_for_m_between_vowels_but_not_for_k():
    def least(consonant):
        said = phonemes([("ˈɑː", 0.25), (consonant, 0.09), ("ˈɑː", 0.25)])
        return mouth(said, np.linspace(0.2, 0.4, 50))[0].min()

    assert least("m") < 0.35 < 0.6 < least("k")


def test_a_diphthong_moves_from_its_first_letter_to_its_second():
    opening, _ = mouth(phonemes([("ˈaɪ", 0.6)]), np.array([0.1, 0.5]))
    np.testing.assert_allclose(opening, [VISEMES["a"][0], VISEMES["ɪ"][0]], atol=0.02)


def test_every_phoneme_that_is_spoken_has_a_viseme(monologues):
    said = {letter for clip in monologues for phoneme in clip.truth.phonemes for letter in letters(phoneme.symbol)}
    assert len(said) > 25
    assert said <= VISEMES.keys()


def test_movement_is_a_function_of_time_alone(monologues):
    """Every third frame at 24 a second is a frame at 8 a second."""
    truth = monologues[0].truth
    speech = speak(truth.seed, truth.identity.voice, truth.format.seconds, truth.format.sample_rate)
    fine = move(truth.seed, speech, np.arange(51) / 24)
    coarse = move(truth.seed, speech, np.arange(17) / 8)
    for name in ("opening", "width", "x", "y", "tilt", "blink", "brow"):
        np.testing.assert_allclose(getattr(fine, name)[::3], getattr(coarse, name), atol=1e-12)
        assert np.ptp(getattr(fine, name)) > 0 or name == "brow"


def test_the_head_moves_only_as_far_as_the_metrics_allow(monologues):
    for clip in monologues:
        truth = clip.truth
        speech = speak(truth.seed, truth.identity.voice, truth.format.seconds, truth.format.sample_rate)
        pose = move(truth.seed, speech, truth.format.frame_times)
        np.testing.assert_allclose(pose.opening, truth.opening, atol=1e-5)
        assert np.abs(pose.x).max() <= 0.022
        assert np.abs(pose.y).max() <= 0.022
        assert np.abs(pose.tilt).max() <= 0.07
        assert 0 <= pose.blink.min() <= pose.blink.max() <= 1
