"""The closed form of the probability flow against SciPy's integration of the world's own optimal denoiser."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from mmseqdiff import random
from mmseqdiff.testing.gaussian import GaussianWorld
from mmseqdiff.testing.gaussian_flow import GaussianFlow
from mmseqdiff.testing.strategies import Arc, given_cells, layouts


@settings(max_examples=5)
@given(
    data=st.data(),
    layout=layouts(max_modalities=2, max_segments=2),
    parts=st.tuples(st.floats(0.2, 1), st.floats(0, 1)),
)
def test_the_flow_is_what_scipy_integrates(data, layout, parts):
    """dy / d kappa = epsilon for y = z / alpha and kappa = sigma / alpha (arXiv:2010.02502 Eq. 14)."""
    world, schedule, given = GaussianWorld.random(layout), Arc(8, 1.5), data.draw(given_cells(layout))
    denoiser, conditional = world.denoiser(schedule), world.conditional(given)
    fact = world.flatten(world.sample(random.example_keys(0, [0])))
    t, s = 8 * parts[0], 8 * parts[0] * parts[1]

    def scales(level):
        level = torch.tensor(level, dtype=torch.float64)
        return float(schedule.alpha(level)), float(schedule.sigma(level))

    def slope(kappa, y):
        angle = np.arctan(kappa)
        z = fact.clone()
        z[0, conditional.free] = torch.from_numpy(y * np.cos(angle))
        level = angle * 8 / 1.5 * (layout.valid & ~given)
        epsilon = denoiser(world.unflatten(z), level[None].double(), given=given, keys=None).epsilon
        return world.flatten(epsilon)[0, conditional.free].numpy()

    start = torch.linspace(-2, 2, int(conditional.free.sum()), dtype=torch.float64)
    (a, b), (c, d) = scales(t), scales(s)
    solved = integrate.solve_ivp(slope, (b / a, d / c), start.numpy() / a, rtol=1e-9, atol=1e-11, method="DOP853")
    flow = GaussianFlow.of(conditional, fact, schedule)
    np.testing.assert_allclose(flow.move(start[None], t, s)[0].numpy(), solved.y[:, -1] * c, rtol=1e-6, atol=1e-6)


@settings(max_examples=5)
@given(data=st.data(), layout=layouts(max_modalities=2, max_segments=2), t=st.floats(0.1, 8))
def test_it_carries_the_marginals_and_denoises_as_the_world_does(data, layout, t):
    world, schedule, given = GaussianWorld.random(layout), Arc(8, 1.5), data.draw(given_cells(layout))
    conditional, fact = world.conditional(given), world.flatten(world.sample(random.example_keys(0, [0])))
    flow = GaussianFlow.of(conditional, fact, schedule)
    basis = torch.cat([flow.mean_at(t)[None], flow.mean_at(t) + flow.factor_at(t).T])
    clean = flow.move(basis, t, 0.0)
    columns = (clean[1:] - clean[0]).T
    torch.testing.assert_close(clean[0], conditional.mean(fact)[0])
    torch.testing.assert_close(columns @ columns.T, conditional.covariance)
    z = fact.expand(len(basis), -1).clone()
    z[:, conditional.free] = basis
    level = t * (layout.valid & ~given).double().expand(len(basis), -1, -1)
    x0 = world.flatten(world.posterior_mean(world.unflatten(z), level, schedule))[:, conditional.free]
    torch.testing.assert_close(flow.denoise(basis, t), x0)
