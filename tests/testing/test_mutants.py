"""The public contracts catch what goes wrong in plugins: mutants of the built-in ones, each killed by the law it breaks.

A mutant is a built-in plugin of whose source one place reads otherwise. The plugin as it is keeps the same law.
"""

import importlib
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import attrs
import pytest

from mmseqdiff.testing.contracts import CONTRACTS
from mmseqdiff.testing.verdicts import FAILS, HOLDS, verdict_of

NOISE, SAMPLERS, GUIDANCE = "mmseqdiff_noise", "mmseqdiff_samplers", "mmseqdiff_guidance"
TINY_VIDEO = {"channels": 4, "multipliers": (1, 1, 1, 1), "blocks": 1, "latent_channels": 4}
TINY_AUDIO = {"channels": 2, "latent_channels": 4}
TINY_NET = {"layers": 1, "dimension": 16, "heads": 2}


@attrs.frozen
class Mutant:
    """A plugin that is wrong in one place.

    Attributes:
        name: what is wrong.
        kind: of the plugin.
        law: of its contract, that it breaks.
        module: whose source is changed.
        old: what stands there, once.
        new: what stands there in the mutant.
        plugin: the class or function that makes the plugin, in the last of these modules.
        parameters: of it.
        through: modules that import from those before them, down to the one that has the plugin, where that is not ``module``.
    """

    name: str
    kind: str
    law: str
    module: str
    old: str
    new: str
    plugin: str
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    through: tuple[str, ...] = ()

    def build(self, mutated: bool) -> Callable[..., Any]:
        """What builds the plugin, as it is or mutated."""
        made = changed(self.module, self.old, self.new if mutated else self.old)
        with mock.patch.dict(sys.modules, {self.module: made}):
            for name in self.through:
                made = sys.modules[name] = changed(name)
        make = getattr(made, self.plugin)
        if self.kind == "modality":
            return lambda: make(
                **{key: value() if callable(value) else value for key, value in self.parameters.items()}
            )
        return lambda *layout: make(*layout, **self.parameters)


def changed(name: str, old: str = "", new: str = "") -> types.ModuleType:
    """A copy of a module of which one place reads otherwise."""
    source = inspect.getsource(importlib.import_module(name))
    assert not old or source.count(old) == 1, f"{name} has {old!r} {source.count(old)} times"
    made = types.ModuleType(name)
    exec(compile(source.replace(old, new) if old else source, name, "exec"), made.__dict__)
    return made


def tiny_audio_codec():
    from mmseqdiff_soundstream.codec import SoundStream

    return SoundStream(sample_rate=4000, **TINY_AUDIO)


POLICIES, TASKS, PLANS = f"{NOISE}.policies", f"{NOISE}.tasks", f"{NOISE}.plans"
COVERED = "layout.covered(self.known(layout))"
DRAWN = "return tied_levels(self.ties(layout)[0], keys, num_levels)"
DDIM, HISTORY = f"{SAMPLERS}.ddim", f"{SAMPLERS}.history"
AUDIO, VIDEO = "mmseqdiff_soundstream.codec", "mmseqdiff_magvit2.codec"
AVDIT = "mmseqdiff_avdit.backbone"
TRANSITION = "mmseqdiff.transition"
STOCHASTIC = {"eta": 0.5}
IN_DDIM = {"plugin": "DDIM", "through": (DDIM,)}

MUTANTS = [
    Mutant("a level too high by one", "policy", "test_levels_are_whole_numbers_of_1_to_t", POLICIES,
           DRAWN, f"{DRAWN} + layout.valid", "Vanilla"),
    Mutant("levels that never reach T", "policy", "test_marginals_are_as_stated", POLICIES,
           DRAWN, DRAWN.replace("num_levels)", "max(num_levels - 1, 1))"), "PerSegment"),
    Mutant("a tie across the wrong axis", "policy", "test_levels_are_equal_within_a_group", POLICIES,
           DRAWN, DRAWN.replace("self.ties(layout)[0]", "torch.where(layout.valid, torch.arange(layout.N), PADDING)"),
           "PerModality"),
    Mutant("a tie where none is stated", "policy", "test_groups_are_free_of_each_other", POLICIES,
           DRAWN, DRAWN.replace("self.ties(layout)[0]", "self.ties(layout)[0].clamp(max=0)"), "PerModality"),
    Mutant("levels of one key for the whole batch", "policy", "test_the_batch_does_not_matter", POLICIES,
           DRAWN, DRAWN.replace("keys,", "keys[:1].expand_as(keys),"), "Vanilla"),
    Mutant("levels that follow from no key", "policy", "test_every_key_draws_anew", POLICIES,
           DRAWN, DRAWN.replace("keys,", "torch.zeros_like(keys),"), "Vanilla"),
    Mutant("noise in the padding", "policy", "test_padding_has_level_0", POLICIES,
           "torch.where(layout.valid, self.groups(layout), PADDING)", "self.groups(layout)", "Vanilla"),
    Mutant("a mixture drawn once per batch", "policy", "test_the_batch_does_not_matter", POLICIES,
           'random.uniform(keys, "mixture").contiguous()',
           'random.uniform(keys.sum().expand_as(keys), "mixture").contiguous()', "monl"),
    Mutant("a mixture that names the wrong component", "policy", "test_levels_are_equal_within_a_group", POLICIES,
           "found.append(offset + policy.component(inner))", "found.append(policy.component(inner))", "monl"),
    Mutant("a given cell outside the layout", "task", "test_given_cells_exist", TASKS,
           COVERED, f"{COVERED} | ~layout.valid", "joint"),
    Mutant("a task that depends on the order of the tracks", "task", "test_the_order_of_the_tracks_does_not_matter",
           TASKS, "whole if name in self.modalities else ()", "whole if layout.row(name) == 0 else ()", "v2a"),
    Mutant("a given cell that may not be read", "task", "test_given_cells_may_be_read", TASKS,
           COVERED, f"{COVERED} | torch.roll({COVERED}, 1, 1) & layout.valid", "continuation", {"length": 0.25}),
    Mutant("a task that reads what it does not give", "task", "test_what_may_be_read_whole_is_given", TASKS,
           COVERED, "torch.zeros_like(layout.valid)", "a2v"),
    Mutant("a plan that never reaches 0", "plan", "test_every_cell_ends_at_0", PLANS,
           "torch.linspace(num_levels, 0, steps + 1", "torch.linspace(num_levels, 0.5, steps + 1", "Full", {"steps": 40}),
    Mutant("a plan that rises", "plan", "test_levels_fall", PLANS,
           "(self.steps + lag - rows[:, None, None]).clamp", "(self.steps + lag - rows[:, None, None]).abs().clamp",
           "Pyramid", {"steps": 3}),
    Mutant("a plan on which given cells are noisy", "plan", "test_given_cells_are_clean_throughout", PLANS,
           "free = layout.valid & ~given", "free = layout.valid", "Full", {"steps": 3}),
    Mutant("a plan for nothing", "plan", "test_nothing_to_generate_is_refused", PLANS,
           "if not (layout.valid & ~given).any():", "if False:", "Full", {"steps": 3}),
    Mutant("a given cell changed in its last bit", "sampler", "test_given_cells_leave_a_run_as_they_came", TRANSITION,
           "new.to(old.dtype), old)", "new.to(old.dtype), old * (1 + 2**-23))", **IN_DDIM),
    Mutant("cells with s = t that are stepped", "sampler", "test_cells_whose_level_does_not_change_are_copied",
           TRANSITION, "layout.split(t != s)", "layout.split(t >= s)", **IN_DDIM),
    Mutant("zero divided by zero", "sampler", "test_steps_and_their_gradients_are_finite", TRANSITION,
           "torch.where(self.sigma_t == 0, 1, self.sigma_t**2)", "self.sigma_t**2", "Heun",
           through=(f"{SAMPLERS}.heun",)),
    Mutant("a signal at the wrong level", "sampler", "test_steps_lead_from_signal_to_signal", DDIM,
           "(move.alpha_s, lambda: prediction.x0)", "(move.alpha_t, lambda: prediction.x0)", "DDIM"),
    Mutant("too much noise after a step", "sampler", "test_steps_lead_to_the_noise_of_their_level", DDIM,
           "(move.sigma_s**2 - variance)", "(move.sigma_s**2 + variance)", "DDIM", STOCHASTIC),
    Mutant("noise not keyed by cell", "sampler", "test_a_cell_steps_by_what_is_its_own", DDIM,
           'lambda: noise("ddim")',
           'lambda: {name: x[:, :1].expand_as(x) for name, x in noise("ddim").items()}', "DDIM", STOCHASTIC),
    Mutant("noise from a generator", "sampler", "test_the_batch_does_not_matter", DDIM,
           'lambda: noise("ddim")', "lambda: {name: x.clone().normal_() for name, x in z.items()}", "DDIM", STOCHASTIC),
    Mutant("one level for the whole matrix", "sampler", "test_uncoupled_cells_run_alone", DDIM,
           "Transition.between(prediction.schedule, t, s)",
           "Transition.between(prediction.schedule, t, s.amax((1, 2), True).expand_as(s))", "DDIM"),
    Mutant("a history that cells share", "sampler", "test_a_pause_is_not_remembered", HISTORY,
           "pushes = moves & (prediction.schedule.alpha(t) > 0)",
           "pushes = moves.any((1, 2), True) & (prediction.schedule.alpha(t) > 0)", "DPMPP2M",
           through=(f"{SAMPLERS}.exponential", f"{SAMPLERS}.dpmpp")),
    Mutant("evaluations that are not counted", "sampler", "test_evaluations_are_counted", f"{SAMPLERS}.heun",
           "evaluations = 2", "evaluations = 1", "Heun"),
    Mutant("a guided prediction at what a branch was shown", "guidance",
           "test_the_prediction_is_at_the_loops_own_latents_and_levels", f"{GUIDANCE}.branches",
           "values[0], z=z, t=t)", "values[0])", "FreeGuidance", {"scale": 3.0},
           through=(f"{GUIDANCE}.cfg",)),
    Mutant("a schedule that loses variance", "schedule", "test_variance_is_preserved", f"{NOISE}.schedules",
           "return torch.sqrt(torch.expm1(", "return 0.99 * torch.sqrt(torch.expm1(", "linear"),
    Mutant("a codec that draws at random", "codec", "test_the_same_signal_has_the_same_latents", AUDIO,
           "return self.encoder(self.crop(signal)[:, None]).transpose(1, 2)",
           "return self.encoder(torch.rand_like(self.crop(signal))[:, None]).transpose(1, 2)", "SoundStream", TINY_AUDIO),
    Mutant("a codec that looks ahead", "codec", "test_causal_codecs_do_not_look_ahead", AUDIO,
           "return self.encoder(self.crop(signal)[:, None]).transpose(1, 2)",
           "return self.encoder(self.crop(signal).flip(1)[:, None]).transpose(1, 2)", "SoundStream", TINY_AUDIO),
    Mutant("a loss that follows from no key", "codec", "test_the_training_loss_follows_from_the_keys", VIDEO,
           'random.normal(keys, "latent_noise", latents.shape[1:], latents.dtype)', "torch.randn_like(latents)", "Magvit2",
           {**TINY_VIDEO, "latent_noise": 0.5}),
    Mutant("a codec with another track than latents", "codec", "test_the_track_lies_on_the_signal", "mmseqdiff.geometry",
           "Fraction(1 + self.stride * n)", "Fraction(1 + self.stride * (n + 1))", "Magvit2", TINY_VIDEO, through=(VIDEO,)),
    Mutant("hidden sound that is heard", "modality", "test_what_is_hidden_changes_no_bit", "mmseqdiff.data.audio",
           "filled = torch.zeros_like(signal)", "filled = signal.clone()", "audio",
           {"codec": tiny_audio_codec, "sample_rate": 4000},
           through=("mmseqdiff_soundstream.modality",)),
    Mutant("sound that loses what is below zero", "modality", "test_what_is_written_is_read", "mmseqdiff.data.audio",
           "resampled[skipped : skipped + count], -1, 1)", "resampled[skipped : skipped + count], 0, 1)", "audio",
           {"codec": tiny_audio_codec, "sample_rate": 4000},
           through=("mmseqdiff_soundstream.modality",)),
    Mutant("sound that ends before what is asked for", "modality", "test_what_is_not_there_is_refused",
           "mmseqdiff.data.audio", "stream.require(start, seconds)",
           "stream.require(start, seconds - seconds); seconds = min(seconds, stream.measure() - start); count = self.shape(seconds)[0]",
           "audio", {"codec": tiny_audio_codec, "sample_rate": 4000},
           through=("mmseqdiff_soundstream.modality",)),
    Mutant("a network that mixes the batch", "backbone", "test_the_batch_does_not_matter", AVDIT,
           "x = block(x, rows, self.spans, self.angles, self.nearness)",
           "x = block(x, rows, self.spans, self.angles, self.nearness) + x.mean(0, keepdim=True)", "AVDiT", TINY_NET),
    Mutant("a network that does not read its level", "backbone", "test_every_level_is_read", AVDIT,
           "self.layout.split(t).values()", "self.layout.split(0 * t).values()", "AVDiT", TINY_NET),
]  # fmt: skip


def judged(mutant, mutated, examples):
    contract = CONTRACTS[mutant.kind].of(mutant.build(mutated), mutant.kind)()
    law = next(law for law in contract.laws() if law.name == mutant.law)
    return verdict_of(contract, law, examples * law.cost, shrink=False)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught_by_the_law_that_it_breaks(mutant):
    found = judged(mutant, True, 200)
    assert found.outcome == FAILS
    assert found.message


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_plugin_as_it_is_keeps_that_law(mutant):
    found = judged(mutant, False, 30)
    assert found.outcome == HOLDS, (found.message, found.example)


def test_there_are_mutants_of_every_kind():
    # The built-in metrics need clips of their own: their laws are tried beside them, and a mutant would be one of these tests.
    assert {mutant.kind for mutant in MUTANTS} == set(CONTRACTS) - {"metric"}
    assert len(MUTANTS) >= 20
