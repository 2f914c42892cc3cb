"""Distances between a sound and its reconstruction: multi-scale mel (arXiv:2107.03312 Eq. 4–5, after arXiv:2008.01160).

With S^s the 64-bin mel magnitude spectrogram of window s and hop s / 4, one column per frame:

    (1) mel = Σ_{s = 2^6 … 2^11} mean_frames ( |S^s − Ŝ^s|_1 + α_s |log S^s − log Ŝ^s|_2 ),   α_s = sqrt(s / 2)

The paper sums over frames; the mean makes (1) independent of the crop. Norms run over the 64 mels. The transform of a
window shorter than 512 samples is zero-padded to 512 points: with fewer, the lowest mel filters fall between two
frequencies and hold nothing but the floor of the logarithm. Mel filters are HTK's triangles of height 1.

The paper gives the logarithm no floor. Here it is 0.01, some 50 dB below the loud mel magnitudes of speech: pauses take
most of the gradient as it is, and more with a lower floor; a higher one did not make speech any better.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MelDistance", "mel_filters"]

SCALES = tuple(2**power for power in range(6, 12))
_SHORTEST_TRANSFORM = 512
_FLOOR = 1e-2


def mel_filters(points: int, mels: int, rate: int) -> Float[Tensor, "frequency mel"]:
    """HTK's triangular filters, from 0 Hz to rate / 2, for the magnitudes of a real transform of ``points`` samples.

    A filter rises from its left neighbour's centre to 1 at its own and falls to its right neighbour's; centres are
    evenly spaced in mel(f) = 2595 log10(1 + f / 700).
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    centres = 700 * (10 ** (torch.linspace(0, top, mels + 2, dtype=torch.float64) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, points // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = centres[:-2], centres[1:-1], centres[2:]
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0).float()


class MelDistance(nn.Module):
    """Eq. (1), for signals of ``rate`` samples a second. Has no parameters and no entry in a state dict."""

    def __init__(self, rate: int, mels: int = 64) -> None:
        super().__init__()
        for scale in SCALES:
            points = max(scale, _SHORTEST_TRANSFORM)
            self.register_buffer(f"window_{scale}", torch.hann_window(scale), persistent=False)
            self.register_buffer(f"filters_{scale}", mel_filters(points, mels, rate), persistent=False)

    def spectrogram(self, signal: Float[Tensor, "batch sample"], scale: int) -> Float[Tensor, "batch frame mel"]:
        """S^s: mel magnitudes of windows of ``scale`` samples, the first centred on the first sample."""
        spectrum = torch.stft(
            signal,
            n_fft=max(scale, _SHORTEST_TRANSFORM),
            hop_length=scale // 4,
            win_length=scale,
            window=self.get_buffer(f"window_{scale}"),
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum.abs().transpose(-1, -2) @ self.get_buffer(f"filters_{scale}")

    def forward(
        self, signal: Float[Tensor, "batch sample"], reconstruction: Float[Tensor, "batch sample"]
    ) -> Float[Tensor, " batch"]:
        """Eq. (1) of every example; computed in the signals' own precision also within autocast."""
        total = signal.new_zeros(len(signal))
        with torch.autocast(signal.device.type, enabled=False):
            for scale in SCALES:
                true, guess = self.spectrogram(signal, scale), self.spectrogram(reconstruction, scale)
                linear = (true - guess).abs().sum(-1)
                logarithmic = (true.clamp(min=_FLOOR).log() - guess.clamp(min=_FLOOR).log()).norm(dim=-1)
                total = total + (linear + math.sqrt(scale / 2) * logarithmic).mean(-1)
        return total
