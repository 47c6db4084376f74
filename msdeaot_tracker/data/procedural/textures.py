"""Textures: a bank of periodic grey fields, and painting with random crops of them in random colours.

The bank is made once per process from a fixed seed, so that what a clip looks like depends on its own seed alone.
"""

import colorsys
import functools

import cv2
import numpy as np

FIELD_SIZE = 256  # pixels; every field is periodic with this period
FIELDS_PER_KIND = 16
BANK_SEED = 20230915

Colour = np.ndarray  # float32 [3], RGB, 0..255


def _normalized(field: np.ndarray) -> np.ndarray:
    """Zero mean and unit deviation."""
    return (field - field.mean()) / (field.std() + 1e-6)


def _spectral(rng: np.random.Generator, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Periodic Gaussian field [S, S] whose amplitude falls as 1/f^exponent, stretched along a random direction."""
    fy = np.fft.fftfreq(FIELD_SIZE)[:, None] * FIELD_SIZE
    fx = np.fft.rfftfreq(FIELD_SIZE)[None] * FIELD_SIZE
    angle = rng.uniform(0, np.pi)
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = fy * np.cos(angle) - fx * np.sin(angle)
    radius = np.sqrt((along * stretch) ** 2 + across**2)
    radius[0, 0] = 1.0
    shape = radius.shape
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * radius**-exponent
    spectrum[0, 0] = 0.0
    return _normalized(np.fft.irfft2(spectrum, s=(FIELD_SIZE, FIELD_SIZE)))


def _to_grey(field: np.ndarray, contrast: float = 55.0) -> np.ndarray:
    """uint8, mean 128, standard deviation about `contrast`."""
    return np.clip(128 + contrast * _normalized(field), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator) -> np.ndarray:
    return _to_grey(_spectral(rng, rng.uniform(0.5, 2.2), rng.choice([1.0, 1.0, 3.0, 8.0])))


def _grain(rng: np.random.Generator) -> np.ndarray:
    """Rough down to the pixel."""
    return _to_grey(_spectral(rng, rng.uniform(0.2, 1.0), rng.choice([1.0, 1.0, 2.5])))


def _folded(rng: np.random.Generator) -> np.ndarray:
    """Ridges and marble: a smooth field folded by |.| or a sine."""
    field = _spectral(rng, rng.uniform(1.6, 2.6), rng.choice([1.0, 2.0, 5.0]))
    if rng.random() < 0.4:
        return _to_grey(np.abs(field))
    return _to_grey(np.sin(rng.uniform(3, 11) * field))


def _levels(rng: np.random.Generator) -> np.ndarray:
    """Patches with crisp borders: a field cut at 1 to 4 levels (camouflage, spots, spilled paint)."""
    field = _spectral(rng, rng.uniform(1.3, 2.4), rng.choice([1.0, 1.0, 3.0]))
    field += 0.15 * _spectral(rng, 1.0)
    cuts = np.sort(rng.uniform(-1.2, 1.2, rng.integers(1, 5)))
    heights = rng.standard_normal(len(cuts) + 1)
    cut = heights[np.searchsorted(cuts, field)]
    return cv2.GaussianBlur(_to_grey(cut), (3, 3), 0, borderType=cv2.BORDER_REFLECT_101)


def _phase(rng: np.random.Generator, bend: float, waves: tuple[int, int]) -> np.ndarray:
    """A bent plane wave's phase in radians; integer wave numbers keep it periodic."""
    ky, kx = rng.integers(-waves[1], waves[1] + 1, 2)
    if abs(ky) + abs(kx) < waves[0]:
        kx += waves[0]
    y, x = np.mgrid[:FIELD_SIZE, :FIELD_SIZE] / FIELD_SIZE
    return 2 * np.pi * (kx * x + ky * y) + bend * _spectral(rng, 2.4)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    phase = _phase(rng, rng.choice([0.0, 0.5, 2.0, 4.0]), (4, 22))
    sharpness = rng.choice([1.0, 3.0, 12.0])
    wave = np.tanh(sharpness * (np.sin(phase) + rng.uniform(-0.6, 0.6)))
    return _to_grey(wave + rng.uniform(0, 0.5) * _spectral(rng, 1.2))


def _checkers(rng: np.random.Generator) -> np.ndarray:
    bend = rng.choice([0.0, 0.4, 1.5])
    sharpness = rng.choice([1.5, 8.0])
    first = np.tanh(sharpness * np.sin(_phase(rng, bend, (3, 14))))
    second = np.tanh(sharpness * np.sin(_phase(rng, bend, (3, 14))))
    wave = first * second if rng.random() < 0.5 else np.maximum(first, second)
    return _to_grey(wave + rng.uniform(0, 0.6) * _spectral(rng, 1.2))


def _cells(rng: np.random.Generator) -> np.ndarray:
    """Voronoi cells: flat, shaded to the centre, or outlined."""
    count, size = int(rng.integers(15, 110)), FIELD_SIZE // 2
    centres = rng.uniform(0, size, (count, 2)).astype(np.float32)
    grid = np.arange(size, dtype=np.float32)[:, None]
    dy, dx = (np.abs(grid - centres[:, axis]) for axis in (0, 1))
    dy, dx = np.minimum(dy, size - dy), np.minimum(dx, size - dx)
    distance = dy[:, None, :] ** 2 + dx[None, :, :] ** 2
    nearest = distance.argmin(axis=2)
    first = np.sqrt(np.take_along_axis(distance, nearest[..., None], axis=2)[..., 0])
    cells = rng.standard_normal(count).astype(np.float32)[nearest]
    style = rng.integers(3)
    if style == 1:
        cells = cells - 0.12 * first
    elif style == 2:
        np.put_along_axis(distance, nearest[..., None], np.inf, axis=2)
        gap = np.sqrt(distance.min(axis=2)) - first
        cells = 0.5 * cells + 2.5 * np.tanh(0.6 * gap)
    cells = cv2.resize(cells, (FIELD_SIZE, FIELD_SIZE), interpolation=cv2.INTER_LINEAR)
    return _to_grey(cells + rng.uniform(0, 0.4) * _spectral(rng, 1.0))


def _draw_wrapped(canvas: np.ndarray, draw, centre: np.ndarray, reach: float) -> None:
    """Call draw(centre) at every copy of `centre` that reaches into the periodic canvas."""
    for oy in (-FIELD_SIZE, 0, FIELD_SIZE):
        for ox in (-FIELD_SIZE, 0, FIELD_SIZE):
            x, y = centre[0] + ox, centre[1] + oy
            if -reach < x < FIELD_SIZE + reach and -reach < y < FIELD_SIZE + reach:
                draw(canvas, (int(x), int(y)))


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Dead leaves: opaque ellipses or rectangles of power-law size, each hiding what lies below."""
    canvas = np.full((FIELD_SIZE, FIELD_SIZE), 128, np.uint8)
    largest, flat = rng.uniform(14, 60), rng.random() < 0.4
    for _ in range(int(rng.integers(120, 420))):
        size = max(2.0, largest * rng.random() ** 2.5)
        axes = (int(size) + 1, int(size * rng.uniform(0.3, 1.0)) + 1)
        angle, grey = float(rng.uniform(0, 180)), int(rng.integers(10, 246))

        def draw(image, at, axes=axes, angle=angle, grey=grey):
            if flat:
                box = cv2.boxPoints((at, axes, angle))
                cv2.fillConvexPoly(image, np.round(box).astype(np.int32), grey, cv2.LINE_AA)
            else:
                cv2.ellipse(image, at, axes, angle, 0, 360, grey, -1, cv2.LINE_AA)

        _draw_wrapped(canvas, draw, rng.uniform(0, FIELD_SIZE, 2), 1.5 * size + 2)
    return _to_grey(canvas + rng.uniform(0, 25) * _spectral(rng, 1.2))


def _marks(rng: np.random.Generator) -> np.ndarray:
    """Sparse dots, dashes and strokes on a quiet ground (fur, grass, lettering, buttons)."""
    canvas = np.full((FIELD_SIZE, FIELD_SIZE), 128, np.uint8)
    length, thickness = rng.uniform(1, 24), int(rng.integers(1, 5))
    direction, spread = rng.uniform(0, 2 * np.pi), rng.choice([0.1, 0.6, 3.2])
    two_sided = rng.random() < 0.6
    for _ in range(int(rng.integers(60, 700))):
        angle = direction + rng.normal(0, spread)
        step = length * rng.uniform(0.4, 1.2) * np.array([np.cos(angle), np.sin(angle)])
        grey = int(rng.choice([40, 220])) if two_sided else int(rng.integers(190, 256))

        def draw(image, at, step=step, grey=grey):
            to = (int(at[0] + step[0]), int(at[1] + step[1]))
            cv2.line(image, at, to, grey, thickness, cv2.LINE_AA)

        _draw_wrapped(canvas, draw, rng.uniform(0, FIELD_SIZE, 2), length * 1.3 + 6)
    return _to_grey(canvas + rng.uniform(0, 30) * _spectral(rng, 1.4))


@functools.cache
def texture_bank() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """All fields, each as (uint8 [256, 256], the same at half the resolution); made once per process."""
    rng = np.random.Generator(np.random.PCG64(BANK_SEED))
    kinds = (_noise, _folded, _levels, _stripes, _checkers, _cells, _leaves, _marks)
    fields = [make(rng) for make in kinds for _ in range(FIELDS_PER_KIND)]
    fields += [_grain(rng) for _ in range(FIELDS_PER_KIND)]
    half = (FIELD_SIZE // 2, FIELD_SIZE // 2)
    return tuple((field, cv2.resize(field, half, interpolation=cv2.INTER_AREA)) for field in fields)


def sample_field(
    rng: np.random.Generator, height: int, width: int, scale: tuple[float, float] = (0.5, 2.5), rough: bool = False
) -> np.ndarray:
    """A random field of the bank, turned, magnified by a log-uniform factor of `scale`: uint8 [height, width].

    rough: only of those that are rough down to the pixel.
    """
    bank = texture_bank()
    levels = bank[rng.integers(len(bank) - FIELDS_PER_KIND if rough else 0, len(bank))]
    zoom = float(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]))))
    stretch, angle = float(np.exp(rng.normal(0, 0.2))), float(rng.uniform(0, 2 * np.pi))
    offset = rng.uniform(0, FIELD_SIZE, 2)
    # shrinking reads the half-resolution copy, or the bilinear lookup would alias
    field, zoom = (levels[0], zoom) if zoom > 0.8 else (levels[1], 2 * zoom)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    inverse = np.array([[cos * stretch, -sin, offset[0]], [sin * stretch, cos, offset[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(field, inverse, (width, height), flags=flags, borderMode=cv2.BORDER_WRAP)


def random_colour(rng: np.random.Generator) -> Colour:
    """A base colour: mostly muted as in photographs, sometimes vivid, sometimes nearly grey."""
    hue = rng.random() if rng.random() < 0.6 else rng.choice([0.07, 0.1, 0.25, 0.33, 0.58]) + rng.normal(0, 0.04)
    saturation = rng.beta(1.2, 4.0) if rng.random() < 0.85 else rng.uniform(0.4, 1.0)
    value = rng.beta(1.8, 1.6)
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, 0.06 + 0.94 * value), np.float32) * 255


def random_palette(rng: np.random.Generator, base: Colour) -> np.ndarray:
    """A colour per grey value around `base`, with 2 to 5 stops: uint8 [256, 1, 3]."""
    stops = int(rng.integers(2, 6))
    contrast = float(np.exp(rng.uniform(np.log(8.0), np.log(90.0))))
    chroma = contrast * (0.5 if rng.random() < 0.2 else 0.15)
    colours = base + contrast * rng.normal(0, 1, (stops, 1)) + chroma * rng.normal(0, 1, (stops, 3))
    if rng.random() < 0.12:
        colours[rng.integers(stops)] = random_colour(rng)
    colours = colours - 0.6 * (colours.mean(axis=0) - base)
    table = cv2.resize(colours[:, None].astype(np.float32), (1, 256), interpolation=cv2.INTER_LINEAR)
    return cv2.add(table.reshape(256, 1, 3), np.zeros(4), dtype=cv2.CV_8U)


def nearby_colour(rng: np.random.Generator, base: Colour, spread: float = 14.0) -> Colour:
    """A colour that differs from `base` by about `spread` grey values."""
    shift = rng.normal(0, spread) + rng.normal(0, 0.4 * spread, 3)
    return np.clip(base + shift, 0, 255).astype(np.float32)


def paint(rng: np.random.Generator, height: int, width: int, base: Colour) -> np.ndarray:
    """A coloured surface uint8 [height, width, 3] RGB: one or two textures around `base`, grain, uneven light."""
    surface = cv2.applyColorMap(sample_field(rng, height, width), random_palette(rng, base))
    if rng.random() < 0.45:
        second = cv2.applyColorMap(sample_field(rng, height, width), random_palette(rng, base))
        if rng.random() < 0.5:
            surface = cv2.addWeighted(surface, 0.5, second, 0.5, 0)
        else:
            where = sample_field(rng, height, width, (0.8, 3.0)) > rng.integers(90, 170)
            np.copyto(surface, second, where=where[..., None])
    if rng.random() < 0.8:
        # photographs are rough down to the pixel: fine detail in brightness over everything else
        grain = cv2.cvtColor(sample_field(rng, height, width, (0.8, 1.6), rough=True), cv2.COLOR_GRAY2RGB)
        strength = float(np.exp(rng.uniform(np.log(0.08), np.log(0.8))))
        surface = cv2.addWeighted(surface, 1.0, grain, strength, -128 * strength)
    if rng.random() < 0.5:
        low = rng.uniform(0.65, 1.2, (3, 3)).astype(np.float32)
        gain = cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)
        surface = cv2.multiply(surface, cv2.merge((gain, gain, gain)), dtype=cv2.CV_8U)
    return surface
