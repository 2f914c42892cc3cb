"""Who speaks: the colours, the shape and the voice of one person, all drawn from a seed."""

import colorsys

import attrs

from mmseqdiff_monologues.seeds import Draws

__all__ = ["HAIR_STYLES", "LIPS", "MOUTH_INTERIOR", "Colour", "Identity", "Voice", "blend"]

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""

MOUTH_INTERIOR: Colour = (0.20, 0.02, 0.06)
"""The inside of every mouth; darker than every skin, so that an opening can be measured in pixels."""

LIPS = 0.35
"""Where the colour of the lips lies on the way from the skin (0) to the inside of the mouth (1)."""

HAIR_STYLES = ("short", "parted", "bob", "long", "bun", "curls")
"""What a person's hair can look like."""

_SKINS: tuple[Colour, ...] = (
    (0.99, 0.87, 0.78),
    (0.95, 0.76, 0.61),
    (0.85, 0.63, 0.45),
    (0.71, 0.49, 0.33),
    (0.56, 0.38, 0.26),
)
_HAIRS: tuple[Colour, ...] = (
    (0.10, 0.09, 0.11), (0.29, 0.17, 0.10), (0.45, 0.27, 0.14), (0.93, 0.79, 0.42), (0.80, 0.36, 0.12),
    (0.78, 0.78, 0.80), (0.17, 0.36, 0.75), (0.83, 0.30, 0.56), (0.20, 0.55, 0.45), (0.47, 0.28, 0.66),
)  # fmt: skip
_EYES: tuple[Colour, ...] = ((0.20, 0.40, 0.70), (0.18, 0.45, 0.28), (0.32, 0.19, 0.10), (0.30, 0.32, 0.36))
_VOICES = {
    "en-us+f1": 62, "en-us+f2": 60, "en-us+f3": 58, "en-us+f4": 55, "en-us+f5": 60, "en-us+Alicia": 58,
    "en-us+Andrea": 58, "en-us+Annie": 58, "en-us+steph": 58, "en-us+linda": 55, "en-us+m1": 42, "en-us+m2": 40,
    "en-us+m3": 45, "en-us+m4": 42, "en-us+m5": 40, "en-us+m6": 42, "en-us+m7": 40, "en-us+Andy": 42,
    "en-us+Michael": 42, "en-us+Gene": 40, "en-us+Lee": 42,
}  # fmt: skip


@attrs.frozen
class Voice:
    """How espeak speaks.

    Attributes:
        name: an espeak voice with a variant, such as ``"en-us+f3"``.
        pitch: base pitch, 0 … 99.
        pitch_range: liveliness of the intonation, 0 … 99.
        words_per_minute: speed.
    """

    name: str
    pitch: int
    pitch_range: int
    words_per_minute: int


@attrs.frozen
class Identity:
    """One person in front of one wall. Lengths are fractions of the picture's short side.

    Attributes:
        background: colour of the wall.
        clothes: colour of the clothes.
        skin: colour of the skin.
        hair: colour of hair and brows.
        eyes: colour of the irises.
        hair_style: one of :data:`HAIR_STYLES`.
        head_width: half the width of the head.
        head_height: half the height of the head.
        jaw: how much the head narrows towards the chin; 0 is an ellipse.
        eye_distance: from the middle of the face to the middle of an eye.
        shoulders: half the width of the shoulders.
        voice: how the person sounds.
    """

    background: Colour
    clothes: Colour
    skin: Colour
    hair: Colour
    eyes: Colour
    hair_style: str
    head_width: float
    head_height: float
    jaw: float
    eye_distance: float
    shoulders: float
    voice: Voice

    @classmethod
    def draw(cls, seed: int) -> "Identity":
        """The person of a clip seed."""
        draws = Draws(seed, "identity")
        wall_hue, wall_saturation, wall_value = draws.within("wall", (0.0, 1.0), (0.15, 0.65), (0.55, 0.97))
        # The clothes never have the hue of the wall.
        turn, saturation, value = draws.within("clothes", (0.2, 0.8), (0.45, 0.95), (0.3, 0.9))
        shade = draws.uniform("skin", 0.0, len(_SKINS) - 1.0)
        width, height, jaw, eye_distance, shoulders = draws.within(
            "shape", (0.215, 0.245), (0.285, 0.310), (0.0, 0.22), (0.085, 0.105), (0.34, 0.46)
        )
        voice, pitch = draws.choice("voice", sorted(_VOICES.items()))
        lift, liveliness, speed = draws.within("speech", (-12.0, 12.0), (35.0, 75.0), (110.0, 140.0))
        return cls(
            background=colorsys.hsv_to_rgb(wall_hue, wall_saturation, wall_value),
            clothes=colorsys.hsv_to_rgb((wall_hue + turn) % 1, saturation, value),
            skin=blend(_SKINS[int(shade)], _SKINS[int(shade) + 1], shade % 1),
            hair=_jitter(draws.choice("hair", _HAIRS), draws.uniforms("hair shade", 3)),
            eyes=draws.choice("eyes", _EYES),
            hair_style=draws.choice("hair style", HAIR_STYLES),
            head_width=width,
            head_height=height,
            jaw=jaw,
            eye_distance=eye_distance,
            shoulders=shoulders,
            voice=Voice(voice, round(pitch + lift), round(liveliness), round(speed)),
        )

    @property
    def lips(self) -> Colour:
        """Colour of the lips."""
        return blend(self.skin, MOUTH_INTERIOR, LIPS)

    @property
    def palette(self) -> dict[str, Colour]:
        """The colours by which a person is recognised in pixels."""
        return {"background": self.background, "clothes": self.clothes, "skin": self.skin, "hair": self.hair}


def blend(first: Colour, second: Colour, part: float) -> Colour:
    """``first`` where ``part`` is 0, ``second`` where it is 1."""
    return tuple((1 - part) * one + part * other for one, other in zip(first, second))


def _jitter(colour: Colour, shades: list[float]) -> Colour:
    return tuple(min(max(value + 0.12 * (shade - 0.5), 0.0), 1.0) for value, shade in zip(colour, shades))
