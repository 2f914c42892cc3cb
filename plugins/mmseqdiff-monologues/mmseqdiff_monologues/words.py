"""Which digits a recogniser hears: pocketsphinx with a grammar of ten words and nothing else.

Its acoustic model comes inside the package pocketsphinx, an optional extra; nothing is fetched. It was made from
recordings of people, so synthetic voices are a baseline to compare with, not understood whole. Digital silence, which no
microphone gives, misleads it: a soft noise, the same for every waveform of one length, is added to what it hears.
"""

from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff import random
from mmseqdiff.errors import PluginError
from mmseqdiff_monologues.speech import resample
from mmseqdiff_monologues.text import DIGITS

__all__ = ["recognise", "word_error"]

_RATE = 16000  # of the acoustic model
_NOISE = 1e-3  # standard deviation: 40 dB below a monologue
_GRAMMAR = f"#JSGF V1.0; grammar digits; public <digits> = ({' | '.join(DIGITS)})+;"


def recognise(waveform: Float[Tensor, " sample"], sample_rate: int) -> list[str]:
    """The digits that are heard in a waveform in [−1, 1], as words.

    Raises:
        PluginError: if pocketsphinx is not installed.
    """
    wave = torch.from_numpy(resample(waveform.to("cpu", torch.float32).numpy(), sample_rate, _RATE))
    wave = wave + _NOISE * random.normal(random.example_keys(0, range(1)), "recognise", wave.shape)[0]
    decoder = _decoder()
    decoder.reinit_feat()  # forgets how loud and through which microphone the last waveform was
    decoder.start_utt()
    decoder.process_raw((wave.clamp(-1, 1) * 32767).short().numpy().tobytes(), full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    return best.hypstr.split() if best else []


def word_error(heard: list[str], said: list[str]) -> float:
    """Substitutions, deletions and insertions over the number of words said: 0 is right, and it may exceed 1."""
    from torchmetrics.functional.text import word_error_rate  # takes a second to import, and only digits need it

    return float(word_error_rate([" ".join(heard)], [" ".join(said)]))


@cache
def _decoder():
    sphinx = _pocketsphinx()
    model = Path(sphinx.get_model_path("en-us"))
    decoder = sphinx.Decoder(
        hmm=str(model / "en-us"), dict=str(model / "cmudict-en-us.dict"), lm=None, loglevel="FATAL"
    )
    decoder.add_jsgf_string("digits", _GRAMMAR)
    decoder.activate_search("digits")
    return decoder


def _pocketsphinx() -> ModuleType:
    try:
        import pocketsphinx
    except ImportError as error:
        raise PluginError(
            f"digits are recognised with pocketsphinx, which cannot be imported ({error}): "
            "pip install 'mmseqdiff-monologues[words]'"
        ) from error
    return pocketsphinx
