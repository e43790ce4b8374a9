"""The data room: from a name or a folder of images to batches of uint8 tensors."""

from cutaway.data.augment import Augmentation, augment
from cutaway.data.dataset import Dataset, Quarantined
from cutaway.data.decode import Undecodable, decode
from cutaway.data.load import load_data
from cutaway.data.order import sample_order
from cutaway.data.part import Batch, Split
from cutaway.data.recorded import load_recorded

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "Quarantined",
    "Split",
    "Undecodable",
    "augment",
    "decode",
    "load_data",
    "load_recorded",
    "sample_order",
]
