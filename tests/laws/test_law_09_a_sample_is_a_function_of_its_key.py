"""The same key gives the same sample whatever the batch (noise to the last bit) or device (noise to 1e-6): draws are
keyed by seed, sample, modality name, segment, stream and the cell's own move count.
"""

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseqdiff import random
from mmseqdiff.forward import normal_latents
from mmseqdiff.generate import generate
from mmseqdiff.layout import Layout
from mmseqdiff.testing.cellwise import CellwiseDenoiser
from mmseqdiff.testing.strategies import Arc, given_cells, keys, latents, layouts, plans

SEEDS = st.integers(-(2**63), 2**63 - 1)


@given(seed=SEEDS, layout=layouts(), samples=st.lists(st.integers(0, 2**40), min_size=1, max_size=4), data=st.data())
def test_law_9_noise_does_not_depend_on_the_batch(seed, layout, samples, data):
    counts = torch.tensor(data.draw(st.lists(st.integers(0, 5), min_size=layout.N, max_size=layout.N))).expand(
        layout.M, -1
    )
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    together = normal_latents(layout, random.example_keys(seed, samples), "step", counts, dtype)
    for b, sample in enumerate(samples):
        alone = normal_latents(layout, random.example_keys(seed, [sample]), "step", counts, dtype)
        assert all(torch.equal(alone[name][0], together[name][b]) for name in alone)


@given(keys=keys(1), layout=layouts(), data=st.data())
def test_law_9_a_cells_noise_depends_on_its_own_name_segment_and_count_alone(keys, layout, data):
    counts = torch.zeros(layout.M, layout.N, dtype=torch.int64)
    before = normal_latents(layout, keys, "step", counts)
    m, n = data.draw(st.sampled_from(layout.valid.nonzero().tolist()))
    counts[m, n] = 1
    order = data.draw(st.permutations(range(layout.M)))
    other = Layout([layout.tracks[k] for k in order])
    after = normal_latents(other, keys, "step", counts[order])
    for k, track in enumerate(layout.tracks):
        for segment in range(track.segments):
            same = torch.equal(before[track.modality][:, segment], after[track.modality][:, segment])
            assert same == ((k, segment) != (m, n))


@given(seed=SEEDS, layout=layouts(max_modalities=1))
def test_law_9_other_seeds_samples_and_streams_give_other_noise(seed, layout):
    keys = random.example_keys(seed, [0, 1])
    drawn = [
        normal_latents(layout, keys[:1], "start"),
        normal_latents(layout, keys[1:], "start"),
        normal_latents(layout, keys[:1], "step ddpm"),
        normal_latents(layout, random.example_keys(seed ^ 1, [0]), "start"),
        normal_latents(Layout([attrs.evolve(layout.tracks[0], modality="other")]), keys[:1], "start"),
    ]
    values = torch.stack([next(iter(latents.values())).flatten() for latents in drawn])
    assert (values[:, None] != values).any(-1).sum() == len(drawn) * (len(drawn) - 1)


@given(data=st.data(), layout=layouts(), keys=keys())
def test_law_9_noise_does_not_depend_on_the_device(device, data, layout, keys):
    if device == "cpu":
        pytest.skip("needs a second device: --device cuda")
    here, there = normal_latents(layout, keys, "start"), normal_latents(layout, keys.to(device), "start")
    assert torch.equal(
        random.integers(keys, "levels", 1, 1000, (7,)), random.integers(keys.to(device), "levels", 1, 1000, (7,)).cpu()
    )
    for name in here:
        torch.testing.assert_close(there[name].cpu(), here[name], rtol=0, atol=1e-6)


@settings(max_examples=12)
@given(data=st.data(), layout=layouts(), keys=keys())
def test_law_9_a_sample_does_not_depend_on_the_device(device, sampler, host, data, layout, keys):
    if device == "cpu":
        pytest.skip("needs a second device: --device cuda")
    schedule = Arc()
    given = data.draw(given_cells(layout))
    plan, clean = data.draw(plans(layout, given, schedule.num_levels)), data.draw(latents(layout))
    denoiser = host.build("guidance", "cfg")(CellwiseDenoiser(layout, schedule))
    here = generate(denoiser, sampler, plan, keys, given=clean)
    there = generate(denoiser, sampler, plan, keys.to(device), given={name: z.to(device) for name, z in clean.items()})
    for name in here:
        assert there[name].device.type == torch.device(device).type
        torch.testing.assert_close(there[name].cpu(), here[name], rtol=1e-5, atol=1e-5)
