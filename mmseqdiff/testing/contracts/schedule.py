"""The laws of noise schedules."""

import torch
from jaxtyping import Float
from torch import Tensor

from mmseqdiff.protocols import NoiseSchedule
from mmseqdiff.testing.contracts.contract import Contract, law, not_applicable

__all__ = ["ScheduleContract"]

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class ScheduleContract(Contract):
    """The laws of a :class:`~mmseqdiff.protocols.NoiseSchedule`, at whole levels and quarters between them.

    A schedule with ``variance_preserving = False`` is not held to alpha² + sigma² = 1.
    """

    kind = "schedule"
    plugin: NoiseSchedule

    @property
    def levels(self) -> Float[Tensor, " level"]:
        """All whole levels, and three between any two."""
        return torch.linspace(0, self.plugin.num_levels, 4 * self.plugin.num_levels + 1, dtype=torch.float64)

    @law(2)
    def test_level_0_is_exactly_clean(self) -> None:
        """At level 0 alpha is 1, sigma 0 and log_snr +inf, exactly, in every precision."""
        for dtype in DTYPES:
            clean = torch.zeros(1, dtype=dtype)
            found = [float(scale(clean)) for scale in (self.plugin.alpha, self.plugin.sigma, self.plugin.log_snr)]
            assert found == [1, 0, torch.inf], f"(alpha, sigma, log_snr) at level 0 are {found}, expected (1, 0, inf)"

    @law(2)
    def test_every_level_is_noisier_than_the_one_below(self) -> None:
        """With every level alpha falls, sigma rises and log_snr falls, strictly."""
        t = self.levels
        for name, scale, sign in (
            ("alpha", self.plugin.alpha, -1),
            ("sigma", self.plugin.sigma, 1),
            ("log_snr", self.plugin.log_snr, -1),
        ):
            wrong = (~(sign * scale(t).diff() > 0)).nonzero().flatten().tolist()
            assert not wrong, f"{name} does not {'rise' if sign > 0 else 'fall'} from level {t[wrong[0]]:g} on"

    @law(2)
    def test_variance_is_preserved(self) -> None:
        """alpha² + sigma² is 1 at every level."""
        if not getattr(self.plugin, "variance_preserving", True):
            raise not_applicable("the schedule says that it does not preserve variance")
        variance = self.plugin.alpha(self.levels) ** 2 + self.plugin.sigma(self.levels) ** 2
        torch.testing.assert_close(variance, torch.ones_like(variance), msg=lambda why: f"alpha² + sigma²: {why}")

    @law(2)
    def test_log_snr_is_that_of_the_scales(self) -> None:
        """log_snr is log(alpha² / sigma²)."""
        alpha, sigma = self.plugin.alpha(self.levels), self.plugin.sigma(self.levels)
        share = alpha**2 / (alpha**2 + sigma**2)
        found = torch.sigmoid(self.plugin.log_snr(self.levels))
        torch.testing.assert_close(found, share, msg=lambda why: f"sigmoid(log_snr) and alpha²: {why}")

    @law(2)
    def test_level_inverts_log_snr(self) -> None:
        """level gives back the level that log_snr came from; +inf is level 0, −inf level T."""
        t, top = self.levels, float(self.plugin.num_levels)
        torch.testing.assert_close(self.plugin.level(self.plugin.log_snr(t)), t, msg=lambda why: f"levels: {why}")
        ends = self.plugin.level(torch.tensor([torch.inf, -torch.inf])).tolist()
        assert ends == [0, top], f"level(inf) and level(−inf) are {ends}, expected [0, {top:g}]"

    @law(5)
    def test_scales_are_elementwise_in_any_shape(self) -> None:
        """A level's scales do not depend on the tensor that it lies in."""
        t = self.levels
        for name in ("alpha", "sigma", "log_snr"):
            scale = getattr(self.plugin, name)
            for shape in ((1, -1, 1), (-1,)):
                assert scale(t.reshape(shape)).shape == t.reshape(shape).shape, f"{name} changes the shape of levels"
            assert torch.equal(scale(t[:1]), scale(t)[:1]), f"{name} of a level depends on the others"
            assert torch.equal(scale(t.flip(0)).flip(0), scale(t)), f"{name} of a level depends on its place"

    @law(2)
    def test_results_are_never_below_float32(self) -> None:
        """Scales have the dtype of the levels, but never less than float32."""
        for dtype in DTYPES:
            for name in ("alpha", "sigma", "log_snr", "level"):
                found = getattr(self.plugin, name)(torch.ones(1, dtype=dtype)).dtype
                expected = torch.promote_types(dtype, torch.float32)
                assert found == expected, f"{name} of {dtype} is {found}, expected {expected}"
