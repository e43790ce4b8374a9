"""Passes that score a batch of images, each by its own objective, and the ways in which they go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from cutaway.computing.memory import is_out_of_memory
from cutaway.computing.small_maps import small_maps
from cutaway.computing.twin import Twin
from cutaway.errors import InputError
from cutaway.lenses.capture import images_for, need_finite
from cutaway.lenses.forward import Forward, opened
from cutaway.lenses.synthesis.objectives import Objective, scores

Penalty = Callable[[Tensor], Tensor]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Ascent:
    """Passes through one network for some objectives.

    Attributes:
        forward: of the network or of its twin.
        objectives: one for each image of a batch.
    """

    forward: Forward
    objectives: tuple[Objective, ...]

    @property
    def names(self) -> list[str]:
        """Of the objectives."""
        return [one.name for one in self.objectives]

    def place(self, values: Tensor) -> Tensor:
        """A copy of `values` on the network's device, float64 for a network in float64, float32 for any other."""
        tensors = [*self.forward.network.parameters()]
        dtype = torch.float64 if tensors and tensors[0].dtype == torch.float64 else torch.float32
        # Copied because a tensor that was made in inference mode cannot be in a graph.
        return values.to(device=device_of(self.forward.network), dtype=dtype).clone()

    def scores(self, inputs: Tensor) -> Tensor:
        """Float (N,), in the graph: how far each image is; the pass ends at the deepest layer that is read."""
        layers = list(dict.fromkeys(one.layer for one in self.objectives))
        outputs = self.forward(inputs, [layer for layer in layers if layer], output="" in layers)
        return scores(self.objectives, outputs)

    def gradient(
        self, numbers: Tensor, inputs_of: Callable[[Tensor], Tensor], penalty: Penalty | None = None
    ) -> tuple[Tensor, Tensor]:
        """The scores (N,), detached, and the gradient of each image's own score, of the shape of `numbers`.

        Args:
            numbers: what is optimised, one row an image.
            inputs_of: the images (N, C, H, W) that they stand for.
            penalty: (N,) of the images, subtracted from the scores before the gradient is taken.
        """
        numbers = numbers.detach().requires_grad_()
        inputs = inputs_of(numbers)
        found = self.scores(inputs)
        total = found.sum() if penalty is None else found.sum() - penalty(inputs).sum()
        (gradient,) = torch.autograd.grad(total, numbers, allow_unused=True)
        return found.detach(), torch.zeros_like(numbers) if gradient is None else gradient

    def of(self, images: slice) -> Ascent:
        """The same for some of the images."""
        return Ascent(self.forward, self.objectives[images])


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's first tensor."""
    tensors = [*network.parameters(), *network.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


@contextmanager
def climbing(network: nn.Module, twin: Twin, objectives: Sequence[Objective]) -> Iterator[Ascent]:
    """Passes through the twin, or through the network itself where there is none; both are left as they were."""
    chosen = twin.instead_of(network)
    with opened(chosen) as forward, small_maps() if device_of(chosen).type == "cpu" else nullcontext():
        yield Ascent(forward, tuple(objectives))


def measure(network: nn.Module, objectives: Sequence[Objective], inputs: Tensor) -> Tensor:
    """Float32 (N,) on the CPU: the scores of `inputs` by the network itself, untransformed and without a graph.

    Raises:
        InputError: a layer, channel or class that does not exist, or a size that does not go through the network.
    """
    with opened(network) as forward, torch.no_grad(), _explained(network, inputs):
        return Ascent(forward, tuple(objectives)).scores(images_for(network, inputs)).float().cpu()


@contextmanager
def _explained(network: nn.Module, inputs: Tensor) -> Iterator[None]:
    """One sentence for images that a network cannot take: too small, of other channels, of another size."""
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, ValueError) as problem:
        if is_out_of_memory(problem):
            raise
        size = "x".join(map(str, inputs.shape[1:]))
        raise InputError(
            f"{type(network).__name__} does not take images of {size} ({str(problem).splitlines()[0]}); "
            "give another size"
        ) from problem


@dataclass
class Batches:
    """Work on N images in batches, halved where memory runs out.

    Attributes:
        batch: at most so many images at once.
        notes: sentences about what was halved.
    """

    batch: int
    notes: list[str] = field(default_factory=list)

    def over(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """`work(slice)` for consecutive slices of `count` images."""
        done, start = [], 0
        while start < count:
            try:
                done.append(work(slice(start, min(count, start + self.batch))))
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem):
                    raise
                self._halve(problem)
                continue
            start += self.batch
        return done

    def _halve(self, problem: BaseException) -> None:
        if self.batch == 1:
            raise InputError("not enough memory for a single image; give a smaller size") from problem
        self.notes.append(f"not enough memory for {self.batch} images at once: {self.batch // 2} from there on")
        self.batch //= 2


def check_finite(history: Tensor, objectives: Sequence[Objective], network: nn.Module, inputs: Tensor) -> None:
    """Raise for an objective that became NaN or infinite: which, when, and the first layer to blame."""
    bad = (~history.isfinite()).nonzero()
    if len(bad):
        step, image = bad[0].tolist()
        what = f"the objective '{objectives[image].name}' at step {step + 1}"
        need_finite(history[step], what, network, images_for(network, inputs))
