"""The frozen description of an assembled model and its training, and its way to and from TOML.

A recipe names plugins and their parameters; it holds no tensor and imports no plugin. The same description goes into
every checkpoint's manifest, so that training and generating cannot disagree.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import cattrs
import tomli_w

from mmseqdiff.errors import RecipeError
from mmseqdiff.host.registry import Host
from mmseqdiff.values import closest, make_converter, reasons

__all__ = [
    "CodecTraining", "Component", "Recipe", "Sampling", "Training", "built", "completed", "load_recipe",
    "parsed", "set_value",
]  # fmt: skip


def _positive(instance: object, attribute: attrs.Attribute, value: float | Fraction) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name} must be positive, got {value}")


def _not_negative(instance: object, attribute: attrs.Attribute, value: float | Fraction) -> None:
    if not value >= 0:
        raise ValueError(f"{attribute.name} must not be negative, got {value}")


def _seed(instance: object, attribute: attrs.Attribute, value: int) -> None:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{attribute.name} must be a whole number of 64 bits with its sign, got {value}")


def _rate(instance: object, attribute: attrs.Attribute, value: float | Fraction) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must lie in [0, 1], got {value}")


def _plain(value: Any) -> Any:
    """The value as TOML would give it back: tables and lists of numbers and strings, without None."""
    if isinstance(value, Component):
        return {"name": value.name, **value.parameters}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Fraction) else value


def _beta(instance: object, attribute: attrs.Attribute, value: tuple[float, float]) -> None:
    if not all(0 <= beta < 1 for beta in value):
        raise ValueError(f"{attribute.name} must lie in [0, 1), got {value}")


def _weights(instance: object, attribute: attrs.Attribute, value: Mapping[str, float]) -> None:
    for name, weight in value.items():
        if not weight >= 0:
            raise ValueError(f"{attribute.name} of {name!r} must not be negative, got {weight}")


@attrs.frozen
class Component:
    """A plugin by name, with its parameters; in TOML a table with a ``name``, or the bare name.

    Attributes:
        name: of the plugin, within the kind that the field asks for.
        parameters: what else the table holds: plain values, which become what the plugin's annotations say when it is built.
    """

    name: str
    parameters: Mapping[str, Any] = attrs.field(
        factory=dict, converter=lambda items: MappingProxyType(_plain(items)), hash=False
    )

    @classmethod
    def parse(cls, text: str) -> "Component":
        """A component as the command line has it: ``ddim``, or ``cfg:scale=2,interval=[0.2,0.8]``.

        Raises:
            RecipeError: if the text does not read so.
        """
        name, _, listing = text.partition(":")
        parameters: dict[str, Any] = {}
        for part in filter(None, re.split(r",(?=[\w.-]+=)", listing)):  # not at the commas of a list
            set_value(parameters, part)
        return cls(name, parameters)

    def build(self, host: Host, kind: str) -> Any:
        """Builds it. Raises PluginError as :meth:`mmseqdiff.host.Host.build` does."""
        return host.build(kind, self.name, **self.parameters)


def parsed(part: Any) -> Any:
    """The component that a text stands for, as the command line has it; what is no text is returned as it is."""
    return Component.parse(part) if isinstance(part, str) else part


def built(host: Host, kind: str, part: Any) -> Any:
    """A plugin's object: built from a :class:`Component` or from text, as the command line has it; any other is one already.

    Raises:
        PluginError: as :meth:`mmseqdiff.host.Host.build` does.
        RecipeError: if the text does not read so.
    """
    part = parsed(part)
    return part.build(host, kind) if isinstance(part, Component) else part


@attrs.frozen(kw_only=True)
class Training:
    """How the denoiser is trained (arXiv:2405.13762 App. B; what the paper leaves open: docs/architecture.md).

    Attributes:
        steps: optimiser steps.
        batch_size: examples a step, over all processes.
        accumulate: micro-batches that one step is split into.
        learning_rate: AdamW's peak.
        warmup_steps: linear warm-up; a cosine to 0 follows.
        betas: AdamW's.
        weight_decay: AdamW's.
        clip_norm: the gradient norm's limit.
        ema_decay: of the averaged weights; early on min(decay, (1 + step) / (10 + step)).
        self_condition_rate: share of examples that see their own first estimate.
        loss_weights: weight of a modality's loss; 1 where not named.
        reduction: ``mean`` per modality, or ``element``: one mean over all numbers of all modalities.
        precision: ``float32`` or ``bfloat16`` (autocast); a CPU without instructions for bfloat16 uses float32.
        seed: of every random number in training.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validation losses.
        sample_every: steps between samples written as media; 0 for none.
    """

    steps: int = attrs.field(default=400_000, validator=_positive)
    batch_size: int = attrs.field(default=256, validator=_positive)
    accumulate: int = attrs.field(default=1, validator=_positive)
    learning_rate: float = attrs.field(default=5e-4, validator=_positive)
    warmup_steps: int = attrs.field(default=5_000, validator=_not_negative)
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.99), validator=_beta)
    weight_decay: float = attrs.field(default=0.0, validator=_not_negative)
    clip_norm: float = attrs.field(default=1.0, validator=_positive)
    ema_decay: float = attrs.field(default=0.9999, validator=_rate)
    self_condition_rate: float = attrs.field(default=0.9, validator=_rate)
    loss_weights: Mapping[str, float] = attrs.field(factory=dict, validator=_weights, hash=False)
    reduction: str = attrs.field(default="mean", validator=attrs.validators.in_(("mean", "element")))
    precision: str = attrs.field(default="float32", validator=attrs.validators.in_(("float32", "bfloat16")))
    seed: int = attrs.field(default=0, validator=_seed)
    checkpoint_every: int = attrs.field(default=1_000, validator=_positive)
    validate_every: int = attrs.field(default=1_000, validator=_positive)
    sample_every: int = attrs.field(default=0, validator=_not_negative)

    def __attrs_post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} cannot be split into {self.accumulate} equal micro-batches")


@attrs.frozen(kw_only=True)
class CodecTraining:
    """How one modality's codec is trained.

    Attributes:
        steps: optimiser steps.
        batch_size: clips a step.
        accumulate: micro-batches that one step is split into, with ``image_batch_size`` as well. What a loss takes from a whole
            batch, such as the latents' spread, it then takes from a micro-batch, and a quantiser's codebooks move with each.
        seconds: length of a training clip; the recipe's where None.
        image_steps: for codecs that can be inflated, how many of the steps train on single frames first.
        image_batch_size: frames a step in that stage.
        image_learning_rate: Adam's peak on single frames; ``learning_rate`` where None. Inflation starts most temporal
            weights at 0, and Adam moves all of them at once, so clips want a lower rate than frames.
        learning_rate: Adam's peak; a linear warm-up and a cosine to 0.
        warmup_steps: of both stages.
        betas: Adam's.
        clip_norm: the gradient norm's limit.
        ema_decay: of the averaged weights.
        precision: ``float32`` or ``bfloat16`` (autocast); a CPU without instructions for bfloat16 uses float32.
        seed: of every random number in training.
        checkpoint_every: steps between checkpoints.
        adversarial_from: from which step on, of all ``steps``, a network learns to tell reconstructions from signals and
            the codec to deceive it; 0 in the papers, and never where None. Single frames are trained without.
        adversary_learning_rate: that network's peak; ``learning_rate`` where None.
        perceptual: a network whose features the codec should keep; none where None.
        frozen: parts of the codec, by their attributes' names, that stay as they are. With ``encoder`` frozen, a codec that was
            trained before keeps its latents, and models of these stay valid, while its decoder learns on.
    """

    steps: int = attrs.field(default=100_000, validator=_positive)
    batch_size: int = attrs.field(default=16, validator=_positive)
    accumulate: int = attrs.field(default=1, validator=_positive)
    seconds: Fraction | None = None
    image_steps: int = attrs.field(default=0, validator=_not_negative)
    image_batch_size: int = attrs.field(default=64, validator=_positive)
    image_learning_rate: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    learning_rate: float = attrs.field(default=1e-4, validator=_positive)
    warmup_steps: int = attrs.field(default=500, validator=_not_negative)
    betas: tuple[float, float] = attrs.field(default=(0.5, 0.99), validator=_beta)
    clip_norm: float = attrs.field(default=1.0, validator=_positive)
    ema_decay: float = attrs.field(default=0.999, validator=_rate)
    precision: str = attrs.field(default="float32", validator=attrs.validators.in_(("float32", "bfloat16")))
    seed: int = attrs.field(default=0, validator=_seed)
    checkpoint_every: int = attrs.field(default=500, validator=_positive)
    adversarial_from: int | None = attrs.field(default=None, validator=attrs.validators.optional(_not_negative))
    adversary_learning_rate: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    perceptual: Component | None = None
    frozen: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Sampling:
    """How the model samples unless told otherwise (arXiv:2405.13762 App. B: 250 DDIM steps).

    Attributes:
        sampler: takes every cell from one level to the next.
        plan: makes the levels that are visited, for any task.
        guidance: wraps the denoiser; none where None.
    """

    sampler: Component = Component("ddim")
    plan: Component = Component("full", {"steps": 250})
    guidance: Component | None = None


@attrs.frozen(kw_only=True)
class Recipe:
    """A model, assembled.

    Attributes:
        name: of the recipe.
        seconds: length of a clip.
        output_seconds: what generated clips are cropped to after decoding; ``seconds`` where None.
        modalities: modality → its plugin; the order is that of the rows of the timestep matrix and of the tokens.
        backbone: the network.
        schedule: the noise schedule.
        policy: where training takes its timestep matrices from.
        prediction: ``epsilon``, ``x0``, ``v`` or ``velocity``.
        self_condition_limit: what the network sees of its own estimates is clamped to ± this.
        training: how the denoiser is trained.
        codec_training: modality → how its codec is trained.
        sampling: how it samples unless told otherwise.
    """

    name: str
    seconds: Fraction = attrs.field(validator=_positive)
    output_seconds: Fraction | None = None
    modalities: Mapping[str, Component] = attrs.field(hash=False)
    backbone: Component
    schedule: Component = Component("linear")
    policy: Component = Component("monl")
    prediction: str = attrs.field(default="epsilon", validator=attrs.validators.in_(("epsilon", "x0", "v", "velocity")))
    self_condition_limit: float = attrs.field(default=4.0, validator=_positive)
    training: Training = Training()
    codec_training: Mapping[str, CodecTraining] = attrs.field(factory=dict, hash=False)
    sampling: Sampling = Sampling()

    def __attrs_post_init__(self) -> None:
        if not self.modalities:
            raise ValueError("a recipe needs at least one modality")
        if self.output_seconds is not None and not 0 < self.output_seconds <= self.seconds:
            raise ValueError(
                f"output_seconds {self.output_seconds} must be positive and at most seconds {self.seconds}"
            )
        for field, names in (
            ("codec_training", self.codec_training),
            ("training.loss_weights", self.training.loss_weights),
        ):
            for name in names:
                if name not in self.modalities:
                    raise ValueError(f"{field} names {name!r}; {closest(name, self.modalities)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as TOML and JSON have them."""
        return _without_none(_CONVERTER.unstructure(self))

    def to_toml(self) -> str:
        """The recipe as TOML; reading it back gives an equal recipe."""
        return tomli_w.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """A recipe from plain values.

        Raises:
            RecipeError: on a missing or unknown key (the closest known one is named), a wrong type, or sizes that
                contradict each other.
        """
        try:
            return _CONVERTER.structure(values, cls)
        except cattrs.BaseValidationError as error:
            raise RecipeError("recipe: " + "; ".join(reasons(error))) from error

    @classmethod
    def from_toml(cls, text: str) -> "Recipe":
        """A recipe from TOML.

        Raises:
            RecipeError: as :meth:`from_dict`, or if the text is not TOML.
        """
        try:
            return cls.from_dict(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"recipe: not TOML: {error}") from error

    def override(self, overrides: Sequence[str]) -> "Recipe":
        """This recipe with overrides such as ``training.steps=100``.

        Raises:
            RecipeError: as :meth:`from_dict`, or if an override does not read so.
        """
        values = self.to_dict()
        for override in overrides:
            set_value(values, override)
        return type(self).from_dict(values)


def load_recipe(host: Host, name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by the name that a plugin gave it, or from a TOML file.

    Raises:
        RecipeError: if the file does not exist or is no recipe.
        PluginError: if there is no recipe of that name.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"there is no recipe file {path}")
        return Recipe.from_toml(path.read_text(encoding="utf-8")).override(overrides)
    if path.exists() or len(path.parts) > 1:
        raise RecipeError(
            f"{name_or_path} is not a recipe: it is the name of one that a plugin brings, or a file that ends in .toml"
        )
    return host.build("recipe", name_or_path).override(overrides)


def completed(values: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """Plain values of a :class:`Recipe` or :class:`CodecTraining`, with the defaults of fields that they leave out.

    Raises:
        RecipeError: as :meth:`Recipe.from_dict`.
    """
    try:
        return _without_none(_CONVERTER.unstructure(_CONVERTER.structure(values, cls)))
    except cattrs.BaseValidationError as error:
        raise RecipeError("recipe: " + "; ".join(reasons(error))) from error


def _without_none(value: Any) -> Any:
    """The same tables without their empty fields: TOML has no null."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


def set_value(values: dict[str, Any], override: str) -> None:
    """Sets one ``path.to.field=value`` in plain values; a value that is not TOML is taken as a string."""
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise RecipeError(f"override {override!r} should read path.to.field=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = path.strip().split(".")
    table = values
    for key in parents:
        inner = table.setdefault(key, {})
        if isinstance(inner, str):  # a component that was given by its bare name
            inner = table[key] = {"name": inner}
        if not isinstance(inner, dict):
            raise RecipeError(f"override {override!r}: {key!r} is a value, not a table")
        table = inner
    table[last] = value


def _structure_component(value: Any, _: type) -> Component:
    if isinstance(value, str):
        return Component(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise ValueError(f"expected a plugin's name, or a table with its 'name', got {value!r}")
    return Component(value["name"], {key: item for key, item in value.items() if key != "name"})


def _make_converter() -> cattrs.Converter:
    made = make_converter()
    made.register_structure_hook(Component, _structure_component)
    made.register_unstructure_hook(Component, lambda component: {"name": component.name, **component.parameters})
    return made


_CONVERTER = _make_converter()
