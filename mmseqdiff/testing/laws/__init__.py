"""The laws that plugins must keep, as checks that raise AssertionError; call them from tests of your own.

    @given(data=st.data(), layout=strategies.layouts(), schedule=strategies.schedules(), keys=strategies.keys())
    def test_my_sampler(data, layout, schedule, keys):
        t, s = data.draw(strategies.steps(layout, schedule.num_levels))
        z = data.draw(strategies.latents(layout))
        laws.check_unmoved_cells_are_copied(MySampler(), CellwiseDenoiser(layout, schedule, "v"), z, t, s, keys)

The laws are numbered as in the project's design:

    1   a cell whose level does not change is copied bit for bit; given cells leave as they came
    2   no 0/0: level 0 and level T are exact, forward and backward
    4   levels are equal within a tied group and whole numbers of 1 … T
    5   a constant matrix is the ordinary scalar-time model
    7   a plan takes every cell that is not given from T to 0
    8   uncoupled cells on different plans equal separate runs; a pause changes nothing, nor does the order of the tracks
    9   the same key gives the same sample, whatever the batch
    12  what lies outside the known stretches changes no bit
"""

from mmseqdiff.testing.laws.networks import check_backbone, check_guidance
from mmseqdiff.testing.laws.parts import (
    bits,
    check_hidden_signal_does_not_matter,
    check_plan,
    check_policy,
    check_schedule,
    check_task,
    kinds_for,
)
from mmseqdiff.testing.laws.samplers import (
    check_constant_matrix_is_scalar,
    check_order_of_tracks_does_not_matter,
    check_reset_forgets,
    check_sample_is_the_keys,
    check_steps_are_finite,
    check_uncoupled_cells_run_alone,
    check_unmoved_cells_are_copied,
)

__all__ = [
    "bits",
    "check_backbone",
    "check_constant_matrix_is_scalar",
    "check_guidance",
    "check_hidden_signal_does_not_matter",
    "check_order_of_tracks_does_not_matter",
    "check_plan",
    "check_policy",
    "check_reset_forgets",
    "check_sample_is_the_keys",
    "check_schedule",
    "check_steps_are_finite",
    "check_task",
    "check_uncoupled_cells_run_alone",
    "check_unmoved_cells_are_copied",
    "kinds_for",
]
