"""Networks: built in, from torchvision and timm, from the user's own code, and from runs."""

from cutaway.models.builtin import build, model_names
from cutaway.models.freezing import freeze_backbone, train_mode
from cutaway.models.init import SCHEMES, initialize
from cutaway.models.load import load_model
from cutaway.models.model import Model, Preprocessing

__all__ = [
    "SCHEMES",
    "Model",
    "Preprocessing",
    "build",
    "freeze_backbone",
    "initialize",
    "load_model",
    "model_names",
    "train_mode",
]
