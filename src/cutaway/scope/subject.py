"""The subject of every lens: a network, and all that is known of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cutaway.computing.content import content, digest
from cutaway.data import Dataset, Split, load_recorded
from cutaway.errors import InputError
from cutaway.lenses.capture import bare
from cutaway.lenses.certificate import Certificate
from cutaway.models import Model, Preprocessing, load_model
from cutaway.progress import Progress
from cutaway.restoring import lock_of
from cutaway.runs import Run, means_run, resolve
from cutaway.scope.inputs import Images, Inputs, read_inputs
from cutaway.showing import Card, Shown
from cutaway.version import __version__


class Subject(Shown):
    """A network with its classes, its preprocessing, its name and its run. Lens functions take one.

    Args:
        model: a `Model`, any `torch.nn.Module`, or what `load_model` takes: `runs/faces-1@7`, `torchvision:resnet18`.
        classes: the names of the classes, where the model does not bring them.
        preprocessing: how pixels become the network's input, where the model does not say.
        weights: for a model by name, as in `load_model`.
        trust: whether code that this machine has not trained with may run; as in `load_model`.

    Attributes:
        network: used where it is, on its device, and left as it was by every lens.
        classes: () where nobody names them.
        preprocessing: None where nobody says it.
        shape: (C, H, W) of its input; None where nobody says it.
        spec: what `load_model` was given; "" for a network that came as an object.
        name: for people.
    """

    def __init__(
        self,
        model: Model | nn.Module | str | Path,
        *,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        weights: str | Path | None = None,
        trust: bool | str = False,
    ) -> None:
        self.spec = str(model) if isinstance(model, (str, Path)) else ""
        if isinstance(model, (str, Path)):
            model = load_model(model, classes=classes, preprocessing=preprocessing, weights=weights, trust=trust)
        if isinstance(model, Model):
            self.spec = self.spec or model.spec
            classes = classes or model.classes
            preprocessing = preprocessing or model.preprocessing
        elif not isinstance(model, nn.Module):
            raise InputError(
                f"Scope looks into a Model, a torch.nn.Module or a model's name; found {type(model).__name__}"
            )
        network = model.network if isinstance(model, Model) else model
        self.network: nn.Module = bare(network)
        self.classes: tuple[str, ...] = tuple(classes or ())
        self.preprocessing: Preprocessing | None = preprocessing
        self.shape = preprocessing.shape if preprocessing else model.shape if isinstance(model, Model) else None
        self.name: str = self.spec or type(self.network).__name__
        self._known: tuple[object, str] = (None, "")

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape)) if self.shape else "any input"
        return f"{type(self).__name__}({self.name}, {len(self.classes) or 'unnamed'} classes, {shape})"

    def card(self) -> Card:
        """Whose network it is, and what goes in and comes out."""
        parameters = sum(tensor.numel() for tensor in self.network.parameters())
        facts = {
            "classes": self.classes or "without names",
            "input": "×".join(map(str, self.shape)) if self.shape else "any",
            "standardised": self.preprocessing or "nobody said how",
            "parameters": parameters,
            "device": str(self.device),
            "weights": self.fingerprint(),
        }
        return Card(f"{type(self).__name__} of {self.name}", (facts,))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def lock(self) -> threading.RLock:
        """The network's: whoever changes it between passes holds it, as every pass does."""
        return lock_of(self.network)

    def fingerprint(self) -> str:
        """Of the weights as they are now: 16 hexadecimal digits of SHA-256 over names and values."""
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        key, known = content(tensors), self._known
        if known[0] != key:
            known = self._known = (key, digest(tensors))
        return known[1]

    def certify(self, certificate: Certificate) -> Certificate:
        """`certificate` with the fingerprint of the weights, the versions and the device."""
        versions = {"cutaway": __version__, "torch": torch.__version__}
        return certificate.signed(self.fingerprint(), versions, str(self.device))

    def run(self) -> Run | None:
        """The run that the network is of; None if it is of none."""
        return resolve(self.spec)[0] if means_run(self.spec) else None

    def epoch(self) -> int | None:
        """The epoch of its run; None if it is of none."""
        run = self.run()
        return None if run is None else run.epoch(resolve(self.spec)[1])

    def dataset(self, source: str | Path | None = None, progress: Progress | None = None) -> Dataset | None:
        """The data that its run was trained on, split as it was for the training.

        Args:
            source: only if the data are called so; None for whatever they are called.
            progress: called as progress(label, done, total).

        Returns:
            None if it is of no run, or the run's data are not `source`.

        Raises:
            InputError: the data are not here any more, or have changed since.
        """
        run = self.run()
        if run is None:
            return None
        recorded = Path(run.info["data"]["source"]).expanduser().resolve()
        if source is not None and recorded != Path(source).expanduser().resolve():
            return None
        return load_recorded(run, progress=progress)

    def inputs(self, images: Images) -> Inputs:
        """`images` as the network's input, with their pixels and names; see `read_inputs` for what it takes."""
        return read_inputs(images, self.preprocessing, self.name, self.dataset)

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Images of data as the network expects them, on its device.

        Args:
            pixels: uint8 (B, C, H, W), of any size and one or three channels.

        Returns:
            Float32 (B, C, H, W).
        """
        return self.need_preprocessing().prepare(pixels, self.device)

    def batches(self, split: Split, batch: int = 128) -> Iterator[Tensor]:
        """The images of a split in order, as the network expects them: float (B, C, H, W) on the network's device."""
        for found in split.batches(np.arange(len(split)), batch):
            yield self.prepare(found.images.numpy())

    def need_preprocessing(self) -> Preprocessing:
        """How pixels become the network's input, or an `InputError` where nobody says it."""
        if self.preprocessing is None:
            raise InputError(f"{self.name} does not say how its input is standardised; give Scope a preprocessing")
        return self.preprocessing


SubjectLike = Subject | Model | nn.Module | str | Path
"""A subject, or what makes one."""
