"""Class activation maps without gradients: a channel weighs what the score does when it is all that is seen, or gone.

Both need a pass for every channel and image. Their sums are raw and signed, as those of `cams.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.attribution.cams import Look, look, ratio, weighted_sum
from cutaway.lenses.attribution.method import Found, Job, Method, named


def score_cam(job: Job) -> Found:
    """Wang et al. (2020): a channel weighs the softmax, over channels, of the score that it lets through.

    Each map is upsampled to the images' size (bilinear, corners not aligned), scaled to 0 .. 1 and multiplied with the
    image: where it is 0 the image is zero in the network's own units, and a flat map hides it all. The paper
    subtracts a constant score before the softmax, which changes nothing.
    """
    with torch.no_grad():
        seen = look(job, gradient=False)
        scores = torch.stack([_masked_scores(job, image, seen.maps[image]) for image in range(len(seen.maps))])
    weights = scores.to(seen.maps.dtype).softmax(1)
    values = weighted_sum(seen.maps, weights[:, :, None, None])
    # One channel may take all the weight, because a softmax of logits is steep; this number tells.
    check = {"score": seen.scores.float(), "effective_channels": 1 / (weights**2).sum(1).float()}
    return Found(values, check)


def _masked_scores(job: Job, image: int, maps: Tensor) -> Tensor:
    """Float (K,): the score of one image behind each of the masks that its maps (K, h, w) make."""
    target = job.target.of([image])
    scores = []
    for channels in _chunks(job, "score-cam", image, len(maps), job.batch):
        masks = _masks(maps[channels, None], (job.images.shape[2], job.images.shape[3]))
        masked = job.images[image] * masks.to(job.images.dtype)
        scores.append(job.forward.scores(masked, target)[0])
    return torch.cat(scores)


def _masks(maps: Tensor, size: tuple[int, int]) -> Tensor:
    masks = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    return ratio(masks - low, high - low)


def _chunks(job: Job, label: str, image: int, channels: int, size: int) -> Iterator[slice]:
    """Runs of at most `size` channels; each is reported when it is done."""
    for first in range(0, channels, size):
        last = min(first + size, channels)
        yield slice(first, last)
        if job.progress:
            job.progress(label, image * channels + last, len(job.images) * channels)


def ablation_cam(job: Job) -> Found:
    """Ramaswamy & Desai (2020): a channel weighs what the score loses when its map is zero.

    The paper divides by the score. Here the loss stays in units of the score: dividing changes no map of a positive
    score but its scale, and would turn the map of a negative one into its opposite.
    """
    # The gradient is not used, but to have one is to depend on the layer.
    seen = look(job)
    with torch.no_grad():
        ablation = _Ablation(job, seen)
        lost = torch.stack([seen.scores[image] - ablation.scores(image) for image in range(len(seen.maps))]).float()
        check = {"score": seen.scores.float(), "replay_gap": ablation.replay_gap()}
    return Found(weighted_sum(seen.maps, lost[:, :, None, None]), check)


class _Ablation:
    """Runs the network behind a layer with maps put in the place of what the layer returned.

    What comes before the layer runs for one image only, and its output is replaced by a batch of maps: what flows
    around the layer, such as a skip connection, meets that batch by broadcasting. A network that binds the batch size
    by other means is found out on a batch of two, and gets the whole batch from the start.
    """

    def __init__(self, job: Job, seen: Look) -> None:
        self.job = job
        self.seen = seen
        self.alone = False
        self.alone = self._runs_alone()

    def scores(self, image: int) -> Tensor:
        """Float (K,): the score of one image without each of the channels."""
        maps = self.seen.maps[image]
        chunks = _chunks(self.job, "ablation-cam", image, len(maps), self._size(maps))
        return torch.cat([self._run(image, _without(maps, channels)) for channels in chunks])

    def replay_gap(self) -> Tensor:
        """Relative difference (N,) of the score with nothing ablated from the network's own: that it is put right."""
        images = range(len(self.seen.maps))
        again = torch.cat([self._run(image, self.seen.maps[image, None]) for image in images])
        return ratio((again - self.seen.scores).abs(), self.seen.scores.abs()).float()

    def _size(self, maps: Tensor) -> int:
        """So many channels at once as hold the values of `job.batch` images; deep maps are smaller than images."""
        return self.job.batch * max(1, self.job.images[0].numel() // maps.numel()) if self.alone else self.job.batch

    def _runs_alone(self) -> bool:
        twice = self.seen.maps[:1].expand(2, -1, -1, -1)
        expected = self._run(0, twice)
        self.alone = True
        try:
            found = self._run(0, twice)
        except (RuntimeError, InputError):
            return False
        return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-5)

    def _run(self, image: int, maps: Tensor) -> Tensor:
        job = self.job

        def put(name: str, value: Tensor) -> Tensor:
            return maps.to(value.dtype) if name == job.layer else value

        images = job.images[image, None].expand(1 if self.alone else len(maps), -1, -1, -1)
        return job.forward.scores(images, job.target.of([image]), [job.layer], edit=put)[0]


def _without(maps: Tensor, channels: slice) -> Tensor:
    """(n, K, h, w): the maps (K, h, w) n times, each time one of the n channels zero."""
    count = channels.stop - channels.start
    ablated = maps.repeat(count, 1, 1, 1)
    ablated[range(count), range(channels.start, channels.stop)] = 0
    return ablated


METHODS = named(
    [
        Method(
            name="score-cam",
            compute=score_cam,
            kind="map",
            summary="maps weighed by the score of the image seen through them",
            paper="Wang et al. 2020",
            needs_layer=True,
        ),
        Method(
            name="ablation-cam",
            compute=ablation_cam,
            kind="map",
            summary="maps weighed by what the score loses without them",
            paper="Ramaswamy & Desai 2020",
            needs_layer=True,
        ),
    ]
)
