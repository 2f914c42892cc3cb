"""Draws a person: flat shapes over one another, each with soft one-pixel edges.

A shape is a signed distance d, in fractions of the picture's short side, negative inside. With pixels of size p a shape
covers a pixel by

    (1) coverage  = clip(1/2 − d / p, 0, 1)
    (2) picture   ← picture + coverage · (colour − picture)

The distance to an ellipse of radii r is, to first order (Taubin 1991), for a point q

    (3) d = k_1 (k_1 − 1) / k_2,   k_1 = |q / r|,  k_2 = |q / r²|

The inside of the mouth is covered by its exact height in every column instead, because it gets thinner than a pixel.
"""

import numpy as np
from jaxtyping import Float

from mmseqdiff_monologues.identity import MOUTH_INTERIOR, Colour, Identity, blend
from mmseqdiff_monologues.pose import PoseTrack

__all__ = ["MOUTH_HEIGHT", "render"]

MOUTH_HEIGHT = 0.16
"""Height of the inside of the mouth at opening 1, as a fraction of the picture's short side."""

_HEAD_CENTRE = -0.03  # middle of a resting head, below the middle of the picture
_UPPER_LIP = 0.10  # where the mouth opens, below the middle of the head
_SMILE = 1.8  # curvature of the mouth
_CHUNK = 32  # frames drawn at once, which bounds the memory
_WHITE: Colour = (0.97, 0.97, 0.97)
_PUPIL: Colour = (0.06, 0.06, 0.08)

# Hair behind the head, by style: ellipses (x, y, radius x, radius y) in units of the head's half width and half height.
_BACK_HAIR = {
    "short": ((0.0, -0.28, 1.09, 0.86),),
    "parted": ((0.0, -0.26, 1.11, 0.90),),
    "bob": ((0.0, 0.02, 1.28, 1.10), (-0.85, 0.40, 0.42, 0.50), (0.85, 0.40, 0.42, 0.50)),
    "long": ((0.0, 0.0, 1.20, 1.12), (0.0, 0.75, 1.28, 0.95)),
    "bun": ((0.0, -0.28, 1.09, 0.86), (0.0, -1.12, 0.42, 0.28)),
    "curls": ((0.0, -0.25, 1.40, 1.06), (-1.0, 0.05, 0.45, 0.45), (1.0, 0.05, 0.45, 0.45)),
}
# The part of the face that hair leaves free, likewise.
_FREE_FACE = {
    "short": (0.0, 0.42, 1.12, 1.05),
    "parted": (0.28, 0.42, 1.15, 1.12),
    "bob": (0.0, 0.45, 0.92, 0.95),
    "long": (-0.12, 0.40, 0.95, 1.05),
    "bun": (0.0, 0.38, 1.05, 1.10),
    "curls": (0.0, 0.42, 0.97, 0.98),
}


def render(
    identity: Identity, pose: PoseTrack, size: tuple[int, int] = (64, 64)
) -> Float[np.ndarray, "frame height width 3"]:
    """The frames of a person who moves as ``pose`` says.

    Args:
        identity: who.
        pose: one pose per frame.
        size: height and width in pixels.

    Returns:
        float32 RGB in [0, 1], ``(frames, height, width, 3)``.
    """
    chunks = [_Canvas(identity, pose[start : start + _CHUNK], size).draw() for start in range(0, len(pose), _CHUNK)]
    return np.concatenate(chunks) if chunks else np.zeros((0, *size, 3), np.float32)


class _Canvas:
    """Frames in the making: ``(3, frames, height, width)``, with coordinates ``x`` to the right and ``y`` down."""

    def __init__(self, identity: Identity, pose: PoseTrack, size: tuple[int, int]):
        height, width = size
        self.identity, self.pose, self.pixel = identity, pose, 1 / min(size)
        self.picture = np.empty((3, len(pose), height, width), np.float32)
        self.picture[:] = np.asarray(identity.background, np.float32)[:, None, None, None]
        self.x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) * np.float32(self.pixel))[None, None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5 - height / 2) * np.float32(self.pixel))[None, :, None]
        # Coordinates that move with the head.
        x, y = self.x - self.frames(pose.x), self.y - self.frames(pose.y) - np.float32(_HEAD_CENTRE)
        cos, sin = self.frames(np.cos(pose.tilt)), self.frames(np.sin(pose.tilt))
        self.head_x, self.head_y = cos * x + sin * y, cos * y - sin * x

    @staticmethod
    def frames(values: Float[np.ndarray, " frame"]) -> Float[np.ndarray, "frame 1 1"]:
        """One number per frame, to be broadcast over the picture."""
        return np.asarray(values, np.float32)[:, None, None]

    def paint(self, coverage: Float[np.ndarray, "frame height width"], colour: Colour) -> None:
        """Eq. (2)."""
        for plane, value in zip(self.picture, colour):
            plane += coverage * (np.float32(value) - plane)

    def cover(self, distance: Float[np.ndarray, "frame height width"]) -> Float[np.ndarray, "frame height width"]:
        """Eq. (1)."""
        return np.clip(np.float32(0.5) - distance * np.float32(1 / self.pixel), 0, 1)

    def draw(self) -> Float[np.ndarray, "frame height width 3"]:
        """Everything, from the back to the front."""
        self.back_hair()
        self.body()
        self.head()
        self.eyes()
        self.mouth()
        self.front_hair()
        self.brows()
        return np.ascontiguousarray(np.clip(self.picture, 0, 1).transpose(1, 2, 3, 0))

    def scaled(self, shape: tuple[float, float, float, float]) -> Float[np.ndarray, "frame height width"]:
        """Distance to an ellipse given in units of the head's half axes."""
        width, height = self.identity.head_width, self.identity.head_height
        x, y, radius_x, radius_y = shape
        return ellipse(self.head_x - width * x, self.head_y - height * y, width * radius_x, height * radius_y)

    def skull(self, grow: float = 0.0) -> Float[np.ndarray, "frame height width"]:
        """Distance to the head; the chin follows the mouth, and the jaw narrows towards it."""
        below = np.maximum(self.head_y, 0)
        height = np.where(
            self.head_y > 0,
            self.identity.head_height + self.frames(0.035 * self.pose.opening),
            self.identity.head_height,
        )
        x = self.head_x * (1 + np.float32(self.identity.jaw / self.identity.head_height) * below)
        return ellipse(x, self.head_y, self.identity.head_width + grow, height + np.float32(grow))

    def back_hair(self) -> None:
        """Hair behind the head."""
        shapes = [self.scaled(shape) for shape in _BACK_HAIR[self.identity.hair_style]]
        self.paint(self.cover(np.minimum.reduce(shapes)), blend(self.identity.hair, (0.0, 0.0, 0.0), 0.12))

    def body(self) -> None:
        """Shoulders and neck, which follow the head a little."""
        x = self.x - self.frames(0.3 * self.pose.x)
        shoulders = ellipse(x, self.y - 0.62, self.identity.shoulders, 0.28)
        self.paint(self.cover(shoulders), self.identity.clothes)
        neck_x = self.x - self.frames(0.6 * self.pose.x)
        neck = np.maximum(np.abs(neck_x) - 0.085, np.abs(self.y - 0.25) - 0.10)
        collar = ellipse(x, self.y - 0.35, 0.13, 0.055)
        self.paint(self.cover(np.minimum(neck, collar)), blend(self.identity.skin, (0.25, 0.08, 0.05), 0.2))

    def head(self) -> None:
        """Ears, face and nose."""
        width = self.identity.head_width
        ears = ellipse(np.abs(self.head_x) - width, self.head_y - 0.02, 0.035, 0.055)
        self.paint(self.cover(np.minimum(ears, self.skull())), self.identity.skin)
        nose = ellipse(self.head_x, self.head_y - 0.055, 0.026, 0.018)
        self.paint(self.cover(nose), blend(self.identity.skin, (0.35, 0.10, 0.05), 0.22))

    def eyes(self) -> None:
        """Whites, irises, pupils and their glints, cut by the lids; a dark line where they are closed."""
        side, x, y = (
            np.sign(self.head_x),
            np.abs(self.head_x) - np.float32(self.identity.eye_distance),
            self.head_y + 0.035,
        )
        lid = self.frames(0.046 * np.maximum(1 - self.pose.blink, 0.12))
        white = np.maximum(ellipse(x, y, 0.052, lid), -0.032 - y)
        self.paint(self.cover(white), _WHITE)
        iris = ellipse(x, y, 0.034, 0.034)
        self.paint(self.cover(np.maximum(iris, white)), self.identity.eyes)
        self.paint(self.cover(np.maximum(iris + 0.015, white)), _PUPIL)
        self.paint(self.cover(np.maximum(ellipse(side * x + 0.012, y + 0.012, 0.009, 0.009), white)), _WHITE)
        closed = self.frames(np.clip(2 * self.pose.blink - 1, 0, 1))
        self.paint(self.cover(ellipse(x, y, 0.055, 0.014)) * closed, blend(self.identity.skin, (0.1, 0.05, 0.05), 0.6))

    def mouth(self) -> None:
        """Lips, and the inside of the mouth, which opens downwards; its corners are up a little."""
        half_height = self.frames(0.5 * MOUTH_HEIGHT * self.pose.opening)
        half_width = self.frames(0.055 + 0.05 * self.pose.width)
        y = self.head_y - np.float32(_UPPER_LIP) - half_height + np.float32(_SMILE) * self.head_x**2
        self.paint(self.cover(ellipse(self.head_x, y, half_width + 0.018, half_height + 0.016)), self.identity.lips)
        reach = half_height * np.sqrt(np.maximum(1 - (self.head_x / half_width) ** 2, 0))
        half_pixel = np.float32(self.pixel / 2)
        inside = np.minimum(y + half_pixel, reach) - np.maximum(y - half_pixel, -reach)
        self.paint(np.maximum(inside, 0) * np.float32(1 / self.pixel), MOUTH_INTERIOR)

    def front_hair(self) -> None:
        """Hair over the forehead."""
        hair = np.maximum(self.skull(grow=0.012), -self.scaled(_FREE_FACE[self.identity.hair_style]))
        hair = np.maximum(hair, self.head_y - np.float32(0.4 * self.identity.head_height))
        self.paint(self.cover(hair), self.identity.hair)

    def brows(self) -> None:
        """Brows, raised with emphasis."""
        x = np.abs(self.head_x) - np.float32(self.identity.eye_distance)
        y = self.head_y + 0.10 + self.frames(0.022 * self.pose.brow) - 0.18 * np.abs(x) + 0.012
        self.paint(self.cover(ellipse(x, y, 0.055, 0.013)), blend(self.identity.hair, (0.15, 0.10, 0.08), 0.45))


def ellipse(x: object, y: object, radius_x: object, radius_y: object) -> Float[np.ndarray, "frame height width"]:
    """Eq. (3): the signed distance to an ellipse around the origin."""
    near_x, near_y = x / radius_x, y / radius_y
    k1 = np.sqrt(near_x**2 + near_y**2)
    k2 = np.sqrt((near_x / radius_x) ** 2 + (near_y / radius_y) ** 2)
    return k1 * (k1 - 1) / np.maximum(k2, np.float32(1e-6))
