"""espeak-ng by ctypes: text to a waveform with the times of its words and phonemes.

The library comes from the package espeakng-loader, an optional extra because espeak-ng is under the GPL. It keeps
phases, flutter and echo from one call to the next, so it is loaded afresh for every call: the same text and voice then
give the same samples, whatever was said before.
"""

import _ctypes
import ctypes
import sys
import threading
from types import ModuleType

import attrs
import numpy as np
from jaxtyping import Float

from mmseqdiff.errors import PluginError
from mmseqdiff_monologues.identity import Voice

__all__ = ["RATE", "Event", "synthesise"]

RATE = 22050
"""Samples a second of what espeak makes."""

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA, _DO_NOT_EXIT = 2, 1, 2, 0x8000
_SPEED, _PITCH, _PITCH_RANGE = 1, 3, 4
_UTF8 = 1
_WORD, _PHONEME = 1, 7

_ONE_AT_A_TIME = threading.Lock()
_unload = _ctypes.FreeLibrary if sys.platform == "win32" else _ctypes.dlclose


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@attrs.frozen
class Event:
    """Something that begins in the waveform.

    Attributes:
        kind: ``"word"`` or ``"phoneme"``.
        sample: where, in samples at :data:`RATE`.
        symbol: the phoneme in IPA, ``""`` for a pause; for a word ``""``.
    """

    kind: str
    sample: int
    symbol: str


def synthesise(text: str, voice: Voice) -> tuple[Float[np.ndarray, " sample"], tuple[Event, ...]]:
    """Speaks ``text``.

    Returns:
        The waveform, float32 in [−1, 1] at :data:`RATE`, and its events in order.

    Raises:
        PluginError: if espeak-ng is not installed, does not start or does not know the voice.
    """
    loader = _loader()
    with _ONE_AT_A_TIME:
        library = ctypes.CDLL(loader.get_library_path())
        try:
            return _speak(library, loader.get_data_path(), text, voice)
        finally:
            library.espeak_Terminate()
            _unload(library._handle)


def _loader() -> ModuleType:
    try:
        import espeakng_loader
    except ImportError:
        raise PluginError(
            "The monologues speak with espeak-ng, which is not installed because it is under the GPL-3. "
            "Install it with: pip install 'mmseqdiff-monologues[speech]'"
        ) from None
    return espeakng_loader


def _speak(
    library: ctypes.CDLL, data: str, text: str, voice: Voice
) -> tuple[Float[np.ndarray, " sample"], tuple[Event, ...]]:
    waves: list[np.ndarray] = []
    events: list[Event] = []

    @_Callback
    def receive(wave: object, count: int, batch: object) -> int:
        if count > 0:
            waves.append(np.ctypeslib.as_array(wave, shape=(count,)).copy())
        n = 0
        while batch[n].type:
            event = batch[n]
            if event.type == _WORD:
                events.append(Event("word", event.sample, ""))
            elif event.type == _PHONEME:
                events.append(Event("phoneme", event.sample, event.id.string.decode()))
            n += 1
        return 0

    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _PHONEME_EVENTS | _IPA | _DO_NOT_EXIT)
    if rate != RATE:
        raise PluginError(f"espeak-ng did not start: it answered {rate}, not {RATE}. Its data should be in {data}")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    library.espeak_SetSynthCallback(receive)
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise PluginError(
            f"espeak-ng has no voice {voice.name!r}. Its voices are listed by: espeak-ng --voices=variant"
        )
    library.espeak_SetParameter(_SPEED, voice.words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, voice.pitch, 0)
    library.espeak_SetParameter(_PITCH_RANGE, voice.pitch_range, 0)
    spoken = text.encode()
    library.espeak_Synth(spoken, ctypes.c_size_t(len(spoken) + 1), 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    if not waves:
        raise PluginError(f"espeak-ng made no sound of the text {text!r}")
    return np.concatenate(waves).astype(np.float32) / np.float32(32768), tuple(events)
