"""What moves: the pose of the head and the face in every frame."""

import attrs
import numpy as np
from jaxtyping import Float

__all__ = ["PoseTrack"]


def _floats(values: object) -> Float[np.ndarray, " frame"]:
    return np.asarray(values, dtype=np.float64)


@attrs.frozen(eq=False)
class PoseTrack:
    """One number per frame for each movement.

    Attributes:
        opening: height of the mouth's inside, 0 (closed) … 1 (widest).
        width: width of the mouth, 0 (rounded) … 1 (spread).
        x: head to the right, as a fraction of the picture's short side.
        y: head down, as a fraction of the picture's short side.
        tilt: head clockwise, in radians.
        blink: 0 (eyes open) … 1 (closed).
        brow: 0 (rest) … 1 (raised).
    """

    opening: Float[np.ndarray, " frame"] = attrs.field(converter=_floats)
    width: Float[np.ndarray, " frame"] = attrs.field(converter=_floats)
    x: Float[np.ndarray, " frame"] = attrs.field(converter=_floats)
    y: Float[np.ndarray, " frame"] = attrs.field(converter=_floats)
    tilt: Float[np.ndarray, " frame"] = attrs.field(converter=_floats)
    blink: Float[np.ndarray, " frame"] = attrs.field(converter=_floats)
    brow: Float[np.ndarray, " frame"] = attrs.field(converter=_floats)

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(type(self)):
            shape = getattr(self, field.name).shape
            if shape != self.opening.shape or len(shape) != 1:
                raise ValueError(
                    f"pose track: {field.name} has shape {shape}, opening {self.opening.shape}; expected (frames,)"
                )

    def __len__(self) -> int:
        return len(self.opening)

    def __getitem__(self, frames: slice) -> "PoseTrack":
        return PoseTrack(**{field.name: getattr(self, field.name)[frames] for field in attrs.fields(type(self))})

    @classmethod
    def still(cls, frames: int) -> "PoseTrack":
        """A head at rest with the mouth closed."""
        zero = np.zeros(frames)
        return cls(opening=zero, width=zero + 0.6, x=zero, y=zero, tilt=zero, blink=zero, brow=zero)
