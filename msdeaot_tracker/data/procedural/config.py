"""What procedural clips are drawn from."""

import numbers
from dataclasses import dataclass, fields

_LIMITS = {
    "height": (32, 4096), "width": (32, 4096), "frames": (1, 100_000),
    "min_objects": (1, 255), "max_objects": (1, 255), "max_distractors": (0, 255), "background_shapes": (0, 10_000),
    "vigour": (0.0, 10.0), "object_size": (0.02, 1.5), "speed": (0.0, 1.0), "min_area": (0.0, 0.5),
    "min_visibility": (0.0, 1.0), "deformation": (0.0, 0.5), "shake": (0.0, 0.2), "noise": (0.0, 100.0),
    "jpeg_quality": (1, 100),
}  # fmt: skip


@dataclass(frozen=True)
class ClipConfig:
    """What clips are drawn from. Pairs are (low, high) ranges; lengths in short sides are shares of min(height, width).

    Raises ValueError naming the field and its value when one makes no sense.
    """

    height: int = 192  # pixels
    width: int = 192  # pixels
    frames: int = 3
    min_objects: int = 1  # tracked objects visible in the first frame
    max_objects: int = 4
    max_distractors: int = 3  # objects that are not labelled; a third of them are copies of a tracked one
    object_size: tuple[float, float] = (0.1, 0.75)  # diameter, short sides; log-uniform
    min_area: float = 0.0015  # visible in the first frame, share of the image
    min_visibility: float = 0.25  # visible in the first frame, share of the object
    articulated_probability: float = 0.5  # objects with limbs
    turning_probability: float = 0.5  # objects that turn about their own axis and show another side
    companion_probability: float = 0.3  # objects that touch and follow another one
    camouflage_probability: float = 0.4  # things coloured like the background or a neighbour
    vigour: tuple[float, float] = (0.25, 1.7)  # units of motion time per frame; log-uniform, one per clip
    speed: float = 0.04  # median speed, short sides per unit of motion time
    deformation: float = 0.07  # largest non-rigid displacement, share of the object's diameter
    shake: float = 0.008  # hand-held camera jitter, short sides (standard deviation), in a third of the clips
    absence_probability: float = 0.08  # tracked objects that leave the image or are covered for a while
    occluder_probability: float = 0.35  # clips with things passing in front
    screen_probability: float = 0.08  # clips seen through a fence or foliage
    background_shapes: int = 45  # at most
    blurred_background_probability: float = 0.3
    shadow_probability: float = 0.35
    lighting_probability: float = 0.4  # clips whose illumination changes
    motion_blur_probability: float = 0.35
    defocus_probability: float = 0.2
    noise: tuple[float, float] = (0.0, 9.0)  # grey values, standard deviation
    jpeg_probability: float = 0.5
    jpeg_quality: tuple[int, int] = (30, 95)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = _LIMITS.get(field.name, (0.0, 1.0))
            pair, whole = field.type not in (int, float), field.type in (int, tuple[int, int])
            ends = value if pair else (value,)
            if not isinstance(ends, tuple) or len(ends) != 1 + pair:
                raise ValueError(f"{field.name}={value!r}: expected a pair (low, high)")
            kind = numbers.Integral if whole else numbers.Real
            if any(isinstance(end, bool) or not isinstance(end, kind) or not low <= end <= high for end in ends):
                what = "an integer" if whole else "a number"
                raise ValueError(f"{field.name}={value!r}: expected {what} in [{low}, {high}]")
            if ends[0] > ends[-1]:
                raise ValueError(f"{field.name}={value!r}: low exceeds high")
        if self.vigour[0] <= 0:
            raise ValueError(f"vigour={self.vigour!r}: must be positive")
        if self.min_objects > self.max_objects:
            raise ValueError(f"min_objects={self.min_objects} exceeds max_objects={self.max_objects}")


DEFAULT_CONFIG = ClipConfig()
