"""A constant matrix is the ordinary scalar-time model, to the last bit on CPU.

The scalar model below is written from its papers (DDPM arXiv:2006.11239, DDIM arXiv:2010.02502, v arXiv:2202.00512) in
plain Python and NumPy, with one time for everything and tables of T numbers, and shares no code with mmseqdiff. Networks
are held against scalar ones in the tests of their plugins.
"""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmseqdiff.denoiser import NetworkDenoiser
from mmseqdiff.forward import ForwardProcess, Prediction, normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.plan import SamplingPlan
from mmseqdiff.testing.strategies import keys, latents, layouts

T = 1000
LEVELS = st.integers(1, T)


def threefry(key, counter):
    """Threefry-2x32-20 (Salmon et al. 2011) on Python integers."""
    k = [key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF]
    k.append(k[0] ^ k[1] ^ 0x1BD11BDA)
    x, y = (counter >> 32) + k[0], (counter & 0xFFFFFFFF) + k[1]
    for turn, by in enumerate((13, 15, 26, 6, 17, 29, 16, 24) * 2 + (13, 15, 26, 6), start=1):
        x = x + y & 0xFFFFFFFF
        y &= 0xFFFFFFFF
        y = (y << by | y >> 32 - by) & 0xFFFFFFFF ^ x
        if turn % 4 == 0:
            x, y = x + k[turn // 4 % 3], y + k[(turn // 4 + 1) % 3] + turn // 4
    return (x & 0xFFFFFFFF) << 32 | y & 0xFFFFFFFF


def word(name):
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def normals(key, count, *path):
    """Box and Muller's normal numbers under a key that the words of a path lead to."""
    for step in (*path, "normal"):
        key = threefry(key, step if isinstance(step, int) else word(step))
    drawn = []
    for i in range((count + 1) // 2):
        pair = threefry(key, i)
        u, w = ((half + 0.5) / 2**32 for half in (pair >> 32, pair & 0xFFFFFFFF))
        drawn += [math.sqrt(-2 * math.log(u)) * wave(2 * math.pi * w) for wave in (math.cos, math.sin)]
    return np.array(drawn[:count], dtype=np.float32)


class ScalarDiffusion:
    """DDPM and DDIM with one time; tables in float64, arithmetic in float32."""

    def __init__(self):
        self.alpha_bar = np.append(1.0, np.cumprod(1 - np.linspace(1e-4, 0.02, T)))

    def scales(self, t):
        return np.float32(np.sqrt(self.alpha_bar[t])), np.float32(np.sqrt(1 - self.alpha_bar[t]))

    def corrupt(self, z0, noise, t):
        a, s = self.scales(t)
        return a * z0 + s * noise

    def x0_epsilon(self, z, t, kind, value):
        a, s = self.scales(t)
        if kind == "epsilon":
            return (z - s * value) / a, value
        if kind == "x0":
            return value, (z - a * value) / s
        return a * z - s * value, s * z + a * value

    def variance(self, t, s):
        """Of the posterior q(z_s | z_t, x0)."""
        a, b = self.alpha_bar[t], self.alpha_bar[s]
        return (1 - a / b) * (1 - b) / (1 - a)

    def ddpm(self, z, x0, t, s, noise):
        """arXiv:2006.11239 Eq. 6 and 7."""
        a, b = self.alpha_bar[t], self.alpha_bar[s]
        of_x0, of_z = np.sqrt(b) * (1 - a / b) / (1 - a), np.sqrt(a / b) * (1 - b) / (1 - a)
        return np.float32(of_z) * z + np.float32(of_x0) * x0 + np.float32(np.sqrt(self.variance(t, s))) * noise

    def ddim(self, x0, epsilon, t, s, eta, noise):
        """arXiv:2010.02502 Eq. 12 and 16."""
        b, variance = self.alpha_bar[s], eta**2 * self.variance(t, s)
        moved = np.float32(np.sqrt(b)) * x0 + np.float32(np.sqrt(1 - b - variance)) * epsilon
        return moved + np.float32(np.sqrt(variance)) * noise if eta else moved


SCALAR = ScalarDiffusion()


@pytest.fixture(scope="module")
def linear(host):
    return host.build("schedule", "linear")


def test_law_5_all_scales_are_the_scalar_tables(linear):
    scales = [SCALAR.scales(t) for t in range(T + 1)]
    for dtype in (torch.float32, torch.float64):
        t = torch.arange(T + 1, dtype=dtype)
        assert linear.alpha(t).float().tolist() == [float(a) for a, _ in scales]
        assert linear.sigma(t).float().tolist() == [float(s) for _, s in scales]


@given(layout=layouts(), keys=keys(1), count=st.integers(0, 5))
def test_law_5_noise_is_that_of_the_scalar_model(layout, keys, count):
    counts = torch.full((layout.M, layout.N), count)
    drawn = normal_latents(layout, keys, "step ddpm", counts)
    for track in layout.tracks:
        for n in range(track.segments):
            shape = (*track.grid, track.channels)
            expected = normals(int(keys), math.prod(shape), "step ddpm", track.modality, n, count)
            assert drawn[track.modality][0, n].flatten().tolist() == expected.tolist()


@given(data=st.data(), layout=layouts(), level=LEVELS)
def test_law_5_corruption_and_conversion(linear, data, layout, level):
    z0, noise, value = (data.draw(latents(layout)) for _ in range(3))
    t = torch.where(layout.valid, float(level), 0.0).expand(2, -1, -1)
    noisy = ForwardProcess(linear, layout).corrupt(z0, noise, t)
    for name in layout.modalities:
        expected = SCALAR.corrupt(z0[name].numpy(), noise[name].numpy(), level)
        assert np.array_equal(noisy[name].numpy(), expected)
    for kind in ("epsilon", "x0", "v"):
        prediction = Prediction(value=value, kind=kind, z=noisy, t=t, schedule=linear, layout=layout)
        for name in layout.modalities:
            x0, epsilon = SCALAR.x0_epsilon(noisy[name].numpy(), level, kind, value[name].numpy())
            assert np.array_equal(prediction.x0[name].numpy(), x0)
            assert np.array_equal(prediction.epsilon[name].numpy(), epsilon)


def toy_network(z, t, estimate):
    """What stands for a network: exact operations alone, so that it can be written twice."""
    return z * 0.5 + estimate * 0.25 + t / T * 0.125


RUNS = {
    ("ddpm", ("variance", "posterior")): lambda z, x0, epsilon, t, s, noise: SCALAR.ddpm(z, x0, t, s, noise("ddpm")),
    ("ddim", ("eta", 0.0)): lambda z, x0, epsilon, t, s, noise: SCALAR.ddim(x0, epsilon, t, s, 0.0, None),
    ("ddim", ("eta", 0.5)): lambda z, x0, epsilon, t, s, noise: SCALAR.ddim(x0, epsilon, t, s, 0.5, noise("ddim")),
}


@pytest.mark.parametrize("run", RUNS, ids=str)
@given(layout=layouts(), keys=keys(1), between=st.lists(st.integers(1, T - 1), max_size=3, unique=True))
def test_law_5_a_whole_run(host, linear, run, layout, keys, between):
    visited = [T, *sorted(between, reverse=True), 0]

    def backbone(z, t, *, self_condition):
        return {name: toy_network(z[name], t[0, 0, 0].float(), self_condition[name]) for name in z}

    plan = SamplingPlan(
        torch.tensor(visited, dtype=torch.float64)[:, None, None] * layout.valid, ~layout.valid & False, layout, T
    )
    sampler = host.build("sampler", run[0], **dict(run[1:]))
    made = generate(NetworkDenoiser(backbone, linear, layout, "epsilon"), sampler, plan, keys)

    for track in layout.tracks:
        for n in range(track.segments):
            shape = (*track.grid, track.channels)
            z = normals(int(keys), math.prod(shape), "start", track.modality, n)
            estimate = np.zeros_like(z)
            for move, (t, s) in enumerate(zip(visited[:-1], visited[1:])):
                value = toy_network(z, np.float32(t), estimate)
                x0, epsilon = SCALAR.x0_epsilon(z, t, "epsilon", value)
                noise = lambda stream: normals(int(keys), len(z), f"step {stream}", track.modality, n, move)  # noqa: B023
                z, estimate = RUNS[run](z, x0, epsilon, t, s, noise), x0
            assert made[track.modality][0, n].flatten().tolist() == z.tolist()
