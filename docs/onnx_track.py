"""Track a video with onnxruntime and numpy alone: `python onnx_track.py GRAPHS FRAMES.npy LABELS.npy OUT.npy`.

GRAPHS is a folder that `msdeaot export-onnx` wrote, FRAMES uint8 [T, H, W, 3] RGB of the size it was written for,
LABELS int [H, W] the objects of the first frame (0 is background). OUT gets uint8 [T, H, W]. When memory is full, its
oldest frame leaves.
"""

import json
import sys
from collections import deque
from pathlib import Path

import numpy as np
import onnxruntime

GRAPHS = ("encode", "reference", "propagate", "memorize")


def load(folder):
    for name in ("msdeaot.json", *(f"{graph}.onnx" for graph in GRAPHS)):
        if not (folder / name).is_file():
            sys.exit(f"{folder} has no {name}: it is no folder of msdeaot export-onnx, or not whole")
    about = json.loads((folder / "msdeaot.json").read_text())
    return {graph: onnxruntime.InferenceSession(folder / f"{graph}.onnx") for graph in GRAPHS}, about


def run(session, inputs):
    wanted = {each.name: inputs[each.name] for each in session.get_inputs()}
    return dict(zip((each.name for each in session.get_outputs()), session.run(None, wanted), strict=True))


def track(folder, frames, labels):
    sessions, about = load(folder)
    gap, limit, lag = (about["memory"][key] for key in ("long_term_gap", "long_term_max", "short_term_lag"))
    if list(frames.shape[1:3]) != about["size"] or labels.shape != frames.shape[1:3]:
        sys.exit(f"frames {frames.shape[1:3]}, labels {labels.shape}: the graphs are for {about['size']}")
    recent, held, last, objects = deque(maxlen=lag), [], 0, int(labels.max())
    for t, image in enumerate(frames):
        features = run(sessions["encode"], {"image": image})
        if t == 0:
            tokens = run(sessions["reference"], {**features, "labels": labels})
        else:
            long = {name: np.concatenate([one[name] for one in held], axis=1) for name in held[0]}
            found = run(sessions["propagate"], {**features, **recent[0], **long})
            labels = found["logits"][: objects + 1].argmax(axis=0)
            tokens = run(sessions["memorize"], {**found, "labels": labels})
        recent.append({name: value for name, value in tokens.items() if name.startswith("short")})
        if t == 0 or (gap is not None and limit != 1 and t - last >= gap):
            if limit is not None and len(held) >= limit:
                del held[1]  # the reference stays
            held, last = [*held, {name: value for name, value in tokens.items() if name.startswith("long")}], t
        yield labels.astype(np.uint8)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__.splitlines()[0])
    folder, frames, labels, out = map(Path, sys.argv[1:])
    for file in (frames, labels):
        if not file.is_file():
            sys.exit(f"{file} is not there")
    np.save(out, np.stack(list(track(folder, np.load(frames), np.load(labels).astype(np.int64)))))
