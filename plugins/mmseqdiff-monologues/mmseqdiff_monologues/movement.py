"""From speech to movement: the mouth follows the phonemes, the head and the eyes follow the prosody.

The mouth is the dominance model of Cohen and Massaro ("Modeling coarticulation in synthetic visual speech", 1993), with
dominance functions that are phonemes blurred by a Gaussian. Phoneme i sounds in [a_i, b_i), wants the value τ_i (an
opening or a width) and insists on it with strength α_i; Φ is the normal distribution function:

    (1) D_i(t) = α_i [Φ((b_i − t) / σ) − Φ((a_i − t) / σ)]
    (2) value(t) = Σ_i D_i(t) τ_i / Σ_i D_i(t)

Everything is a function of continuous time, so any frame rate can be asked for.
"""

import numpy as np
import torch
from jaxtyping import Float

from mmseqdiff_monologues.pose import PoseTrack
from mmseqdiff_monologues.seeds import Draws
from mmseqdiff_monologues.speech import Phoneme, Speech

__all__ = ["VISEMES", "mouth", "move"]

_BLUR = 0.06  # σ of Eq. (1), seconds: slow enough for 8 frames a second
_NEUTRAL = (0.25, 0.6, 1.0)
VISEMES: dict[str, tuple[float, float, float]] = {
    "a": (0.95, 0.75, 1.0), "ɑ": (1.0, 0.70, 1.0), "ɐ": (0.65, 0.65, 1.0), "æ": (0.90, 0.85, 1.0),
    "ʌ": (0.75, 0.65, 1.0), "ɔ": (0.80, 0.40, 1.0), "o": (0.65, 0.25, 1.0), "ʊ": (0.40, 0.20, 1.0),
    "u": (0.35, 0.10, 1.2), "ə": (0.45, 0.60, 0.8), "ɚ": (0.42, 0.45, 1.0), "ɜ": (0.48, 0.45, 1.0),
    "ɛ": (0.65, 0.80, 1.0), "e": (0.60, 0.85, 1.0), "ɪ": (0.45, 0.80, 1.0), "i": (0.38, 1.00, 1.0),
    "ᵻ": (0.42, 0.75, 0.8), "p": (0.0, 0.60, 4.0), "b": (0.0, 0.60, 4.0), "m": (0.0, 0.60, 4.0),
    "f": (0.06, 0.65, 2.5), "v": (0.06, 0.65, 2.5), "w": (0.18, 0.05, 1.5), "θ": (0.20, 0.70, 1.0),
    "ð": (0.20, 0.70, 1.0), "t": (0.18, 0.70, 0.8), "d": (0.20, 0.70, 0.8), "n": (0.20, 0.70, 0.8),
    "l": (0.28, 0.65, 0.8), "ɾ": (0.22, 0.70, 0.8), "s": (0.12, 0.85, 1.2), "z": (0.12, 0.85, 1.2),
    "ʃ": (0.18, 0.25, 1.2), "ʒ": (0.18, 0.25, 1.2), "k": (0.30, 0.65, 0.6), "ɡ": (0.30, 0.65, 0.6),
    "ŋ": (0.25, 0.65, 0.6), "h": (0.40, 0.65, 0.5), "ɹ": (0.25, 0.30, 1.0), "j": (0.25, 0.90, 1.0),
    "ʔ": (0.25, 0.65, 0.6), "": (0.0, 0.60, 1.5),
}  # fmt: skip
"""Opening, width and dominance of the mouth for every IPA letter; silence is ``""``."""

_MARKS = "ˈˌːʲ̩̃"


def letters(symbol: str) -> tuple[str, ...]:
    """The IPA letters of a phoneme without its marks: two for a diphthong or an affricate, ``""`` for silence."""
    return tuple(letter for letter in symbol if letter not in _MARKS) or ("",)


def mouth(
    phonemes: tuple[Phoneme, ...], times: Float[np.ndarray, " frame"]
) -> tuple[Float[np.ndarray, " frame"], Float[np.ndarray, " frame"]]:
    """Opening and width of the mouth at some times: Eq. (1) and (2)."""
    starts, stops, targets = [], [], []
    for phoneme in phonemes:
        parts = letters(phoneme.symbol)
        edges = np.linspace(phoneme.start, phoneme.stop, len(parts) + 1)
        stress = 1.0 if "ˈ" in phoneme.symbol or "ˌ" in phoneme.symbol else 0.8
        for part, start, stop in zip(parts, edges[:-1], edges[1:]):
            opening, width, dominance = VISEMES.get(part, _NEUTRAL)
            starts.append(start)
            stops.append(stop)
            targets.append((opening * stress, width, dominance))
    starts[0], stops[-1] = -np.inf, np.inf
    opening, width, dominance = np.array(targets).T
    weight = dominance * (
        _normal_cdf((np.array(stops) - times[:, None]) / _BLUR)
        - _normal_cdf((np.array(starts) - times[:, None]) / _BLUR)
    )
    weight /= weight.sum(axis=1, keepdims=True)
    return weight @ opening, weight @ width


def move(seed: int, speech: Speech, times: Float[np.ndarray, " frame"]) -> PoseTrack:
    """How a person moves while speaking.

    Args:
        seed: of the clip.
        speech: what is said.
        times: of the frames, in seconds.
    """
    opening, width = mouth(speech.phonemes, times)
    draws = Draws(seed, "movement")
    energy = _energy(speech, times)
    words = [start for start, part in zip(speech.words, draws.uniforms("nods", len(speech.words))) if part < 0.6]
    nod = sum((_bump(times - start - 0.12, 0.09) for start in words), np.zeros_like(times))
    stressed = [phoneme.start for phoneme in speech.phonemes if "ˈ" in phoneme.symbol]
    raised = [start for start, part in zip(stressed, draws.uniforms("brows", len(stressed))) if part < 0.25]
    brow = sum((_bump(times - start - 0.1, 0.15) for start in raised), np.zeros_like(times))
    liveliness = 0.5 + 0.5 * energy
    return PoseTrack(
        opening=opening,
        width=width,
        x=0.022 * liveliness * _sway(draws, "x", times),
        y=0.010 * liveliness * _sway(draws, "y", times) + 0.012 * np.minimum(nod, 1) * energy,
        tilt=0.07 * liveliness * _sway(draws, "tilt", times),
        blink=np.clip(
            sum((_bump(times - start, 0.06) for start in _blinks(draws, speech)), np.zeros_like(times)) * 1.5, 0, 1
        ),
        brow=np.minimum(brow, 1),
    )


def _energy(speech: Speech, times: Float[np.ndarray, " frame"]) -> Float[np.ndarray, " frame"]:
    """Loudness around each time, blurred over a quarter of a second: 0 in silence, 1 in loud speech."""
    step = speech.sample_rate // 100
    blocks = speech.waveform[: len(speech.waveform) // step * step].reshape(-1, step)
    loudness = np.sqrt((blocks.astype(np.float64) ** 2).mean(axis=1))
    kernel = _bump(np.arange(-50, 51) / 100, 0.12)
    smooth = np.convolve(loudness, kernel / kernel.sum(), mode="same")
    middles = (np.arange(len(smooth)) + 0.5) / 100
    return np.minimum(np.interp(times, middles, smooth) / max(float(loudness.mean()) * 1.5, 1e-6), 1)


def _sway(draws: Draws, name: str, times: Float[np.ndarray, " frame"]) -> Float[np.ndarray, " frame"]:
    """A slow smooth movement in [−1, 1]: three sines of seeded speed and phase."""
    speed, phase = np.array(draws.uniforms(name, 6)).reshape(2, 3, 1)
    return np.sin(2 * np.pi * ((0.15 + 0.45 * speed) * times + phase)).mean(axis=0)


def _blinks(draws: Draws, speech: Speech) -> list[float]:
    """When the eyes blink: at the word starts nearest to seeded times, some two to four seconds apart."""
    times, now = [], draws.uniform("first blink", 0.2, 2.5)
    while now < speech.seconds:
        times.append(min(speech.words, key=lambda start: abs(start - now), default=now))
        now += draws.uniform(f"blink {len(times)}", 1.8, 4.0)
    return times


def _bump(offset: Float[np.ndarray, " frame"], width: float) -> Float[np.ndarray, " frame"]:
    return np.exp(-0.5 * (offset / width) ** 2)


def _normal_cdf(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return torch.special.ndtr(torch.from_numpy(values)).numpy()
