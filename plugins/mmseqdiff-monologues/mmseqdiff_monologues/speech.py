"""What is heard: a person's voice speaking composed sentences or digits, with the times of the phonemes and words."""

import math
from fractions import Fraction

import attrs
import av
import numpy as np
from jaxtyping import Float

from mmseqdiff_monologues import espeak
from mmseqdiff_monologues.identity import Voice
from mmseqdiff_monologues.seeds import Draws
from mmseqdiff_monologues.text import compose, dictate

__all__ = ["Phoneme", "Speech", "speak"]

_LOUDNESS = 0.1  # root mean square of every waveform
_FADE = 0.02  # seconds at the end, where the speaker may be cut short
_SENTENCE, _DIGIT = 2, 0.2  # seconds: hardly a composed sentence or a digit is shorter


@attrs.frozen
class Phoneme:
    """One phoneme and when it sounds, in seconds.

    Attributes:
        symbol: IPA as espeak writes it, with its stress mark; ``""`` is silence.
        start: of the sound.
        stop: of the sound, the start of the next.
    """

    symbol: str
    start: float
    stop: float


@attrs.frozen(eq=False)
class Speech:
    """A waveform and what is in it.

    Attributes:
        text: what is said; the end of it may lie beyond the waveform.
        waveform: float32 in [−1, 1], ``(samples,)``.
        sample_rate: samples a second.
        phonemes: they cover the waveform from 0 to its end without a gap.
        words: when each word starts, in seconds.
    """

    text: str
    waveform: Float[np.ndarray, " sample"]
    sample_rate: int
    phonemes: tuple[Phoneme, ...]
    words: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.waveform) / self.sample_rate


def speak(seed: int, voice: Voice, seconds: Fraction, sample_rate: int, says: str = "sentences") -> Speech:
    """Speaks the ``"sentences"`` or ``"digits"`` of a clip seed for exactly ``seconds``.

    Raises:
        PluginError: if espeak-ng is not installed.
    """
    if says == "digits":
        text = dictate(seed, digits=math.ceil(seconds / _DIGIT))
    else:
        text = compose(seed, sentences=math.ceil(seconds / _SENTENCE) + 1)
    wave, events = espeak.synthesise(text, voice)
    pause = Draws(seed, "speech").uniform("pause", 0.0, 0.35)  # before the first word
    count = int(seconds * sample_rate)
    quiet = np.zeros(round(pause * sample_rate), np.float32)
    waveform = np.concatenate([quiet, resample(wave, espeak.RATE, sample_rate)])[:count]
    waveform = np.pad(waveform, (0, count - len(waveform)))
    end = count / sample_rate

    def begin(kind: str) -> list[tuple[str, float]]:
        times = ((event.symbol, round(pause + event.sample / espeak.RATE, 5)) for event in events if event.kind == kind)
        return [(symbol, time) for symbol, time in times if time < end]

    starts = [("", 0.0), *begin("phoneme")]
    stops = [start for _, start in starts[1:]] + [end]
    return Speech(
        text=text,
        waveform=_level(waveform, sample_rate),
        sample_rate=sample_rate,
        phonemes=tuple(Phoneme(symbol, start, stop) for (symbol, start), stop in zip(starts, stops) if start < stop),
        words=tuple(start for _, start in begin("word")),
    )


def resample(wave: Float[np.ndarray, " sample"], rate: int, new_rate: int) -> Float[np.ndarray, " new_sample"]:
    """The same sound at another sample rate."""
    if rate == new_rate:
        return wave
    resampler = av.AudioResampler(format="flt", layout="mono", rate=new_rate)
    frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
    frame.sample_rate = rate
    parts = [part.to_ndarray()[0] for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts)


def _level(waveform: Float[np.ndarray, " sample"], sample_rate: int) -> Float[np.ndarray, " sample"]:
    """The waveform at the common loudness, never clipped, and faded out at its end."""
    fade = min(round(_FADE * sample_rate), len(waveform))
    waveform = waveform.copy()
    waveform[len(waveform) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    loudness, peak = float(np.sqrt(np.mean(waveform**2))), float(np.abs(waveform).max())
    return waveform * np.float32(min(_LOUDNESS / max(loudness, 1e-6), 0.95 / max(peak, 1e-6)))
