"""TREK-150 in the layout of its own toolkit: `settings.trek150_path`/<sequence>/{groundtruth_rect.txt, img/*.jpg}."""

from pathlib import Path

import numpy as np
from pytracking.evaluation.data import BaseDataset, Sequence, SequenceList
from pytracking.evaluation.datasets import DatasetInfo, dataset_dict


class TREK150Dataset(BaseDataset):
    """All sequences of the folder, by name. Where the object is not to be seen the truth is -1,-1,-1,-1."""

    def __init__(self):
        super().__init__()
        path = getattr(self.env_settings, "trek150_path", "")
        self.base_path = Path(path)
        self.sequence_list = sorted(file.parent.name for file in self.base_path.glob("*/groundtruth_rect.txt"))
        if not path or not self.sequence_list:
            raise ValueError(
                f"no TREK-150 sequences in {path!r}: set settings.trek150_path in pytracking/evaluation/local.py"
            )

    def __len__(self):
        return len(self.sequence_list)

    def get_sequence_list(self):
        return SequenceList([self._sequence(name) for name in self.sequence_list])

    def _sequence(self, name):
        folder = self.base_path / name
        truth = np.loadtxt(folder / "groundtruth_rect.txt", delimiter=",", ndmin=2)
        frames = sorted(str(path) for path in (folder / "img").glob("*.jpg"))
        if truth.shape != (len(frames), 4):
            raise ValueError(f"{folder}: {len(frames)} frames, truth of {truth.shape}")
        visible = (truth[:, 2:] > 0).all(axis=1)
        return Sequence(name, frames, "trek150", truth, target_visible=visible)


def register():
    """Make `get_dataset("trek150")` known: pytracking's list of datasets cannot be extended by a new file alone."""
    dataset_dict["trek150"] = DatasetInfo(module=__name__, class_name="TREK150Dataset", kwargs={})
