"""Drawing one frame of a scene, with the labels of what is seen and the areas of what would be."""

import cv2
import numpy as np

from .compositing import cast_shadow, paste
from .scene import Layer, Scene
from .sprites import blur_along, place, smear

_LONGEST_SMEAR = 0.12  # of the short side: longer blur would leave nothing to see
_SHORTEST_SMEAR = 1.5  # pixels

Drawing = tuple[np.ndarray, np.ndarray, np.ndarray]  # frame, labels, areas


def draw_frame(scene: Scene, index: int) -> Drawing:
    """The scene at frame `index` before the camera's look: (uint8 [H, W, 3] RGB, labels uint8 [H, W], areas [n]).

    areas: pixels of each object's whole silhouette, hidden and outside parts included; 0 when it is far outside.
    """
    frame = _draw_background(scene, index)
    labels = np.zeros(frame.shape[:2], np.uint8)
    areas = np.zeros(scene.object_count)
    for layer in scene.layers:
        if _far_outside(scene, layer, index):
            continue
        canvas = layer.sprite.draw(float(layer.clock[index]), float(layer.turn[index]))
        matrix = layer.trajectory.matrix(index, layer.sprite.canvas)
        patch, x, y = place(canvas, matrix, layer.sprite.displacement(float(layer.clock[index])))
        way = _smear_way(scene, layer.trajectory.velocity(index))
        if way is not None:
            patch, x, y = smear(patch, x, y, way)
        if scene.shadow is not None:
            right, down, strength, softness = scene.shadow
            blur = max(3, int(softness * layer.diameter) | 1)
            at = x + int(right * layer.diameter), y + int(down * layer.diameter)
            cast_shadow(frame, patch, *at, strength, blur)
        paste(frame, labels, patch, x, y, layer.label)
        if layer.label:
            areas[layer.label - 1] = np.count_nonzero(patch[..., 3] >= 128)
    if scene.screen is not None:
        patch = cv2.warpAffine(scene.screen, scene.view[index], scene.size, borderMode=cv2.BORDER_REFLECT_101)
        paste(frame, labels, patch, 0, 0, 0)
    return frame, labels, areas


def _far_outside(scene: Scene, layer: Layer, index: int) -> bool:
    """No pixel of the layer, blurred or in shadow, can be in the image."""
    reach = layer.sprite.extent * layer.trajectory.scale[index].max() * 1.3 + 0.5 * layer.diameter
    reach += _LONGEST_SMEAR * min(scene.size)
    centre = layer.trajectory.centre[index]
    return bool(np.any(centre < -reach) or np.any(centre > np.array(scene.size) + reach))


def _smear_way(scene: Scene, velocity: np.ndarray) -> np.ndarray | None:
    """The way (x, y) in pixels over which something of this velocity (pixels per frame) blurs; None if it does not."""
    way = scene.shutter * velocity
    length = np.hypot(*way)
    if length < _SHORTEST_SMEAR:
        return None
    return way * min(1.0, _LONGEST_SMEAR * min(scene.size) / length)


def _draw_background(scene: Scene, index: int) -> np.ndarray:
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101
    view = scene.view[index]
    if scene.sway is None:
        frame = cv2.warpAffine(scene.background, view, scene.size, flags=flags, borderMode=border)
    else:
        width, height = scene.size
        (a, b, c), (d, e, f) = cv2.invertAffineTransform(view)
        xs, ys = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
        shift = cv2.resize(scene.sway[index], scene.size, interpolation=cv2.INTER_CUBIC)
        map_x = (np.float32(a) * xs + (np.float32(b) * ys + np.float32(c))) + shift[..., 0]
        map_y = (np.float32(d) * xs + (np.float32(e) * ys + np.float32(f))) + shift[..., 1]
        frame = cv2.remap(scene.background, map_x, map_y, flags, borderMode=border)
    middle = np.array([scene.background.shape[1] / 2, scene.background.shape[0] / 2, 1.0])
    before, after = max(index - 1, 0), min(index + 1, len(scene.view) - 1)
    way = _smear_way(scene, (scene.view[after] - scene.view[before]) @ middle / max(after - before, 1))
    return frame if way is None else blur_along(frame, way, border)
