"""Every augmentation against a loop over samples and pixels, written from the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.data import Augmentation, augment, sample_order
from cutaway.data.randomness import (
    below_tensor,
    hash_array,
    hash_tensor,
    key,
    mix,
    uniform_array,
    uniform_tensor,
)
from cutaway.errors import InputError

FLIP, SHIFT_Y, SHIFT_X, CUT_Y, CUT_X, BRIGHTNESS, CONTRAST, SATURATION = range(1, 9)
U64 = 2**64


def images(count: int = 16, channels: int = 3, height: int = 7, width: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def draw(chain: int, sample: int) -> int:
    return mix((chain + sample) % U64)


def mirrored(position: int, size: int) -> int:
    """One step at a time, turning at the first and the last pixel."""
    place, step = 0, 1
    for _ in range(abs(position)):
        if not 0 <= place + step < size:
            step = -step
        place += step
    return place if position >= 0 else mirrored(-position, size)


def slow(image: np.ndarray, plan: Augmentation, seed: int, epoch: int, sample: int) -> np.ndarray:
    """One sample, pixel by pixel."""
    channels, height, width = image.shape
    coin = draw(key(seed, epoch, FLIP) if plan.flip == "random" else key(seed, FLIP), sample) >> 63
    flip = {"none": False, "random": bool(coin), "alternating": bool(coin) != (epoch % 2 == 1)}[plan.flip]
    span = 2 * plan.shift + 1
    down = (draw(key(seed, epoch, SHIFT_Y), sample) >> 33) * span // 2**31 - plan.shift
    right = (draw(key(seed, epoch, SHIFT_X), sample) >> 33) * span // 2**31 - plan.shift
    result = np.empty(image.shape)
    for y in range(height):
        for x in range(width):
            source = mirrored(x + right, width)
            result[:, y, x] = image[:, mirrored(y + down, height), width - 1 - source if flip else source]
    if plan.jitter:
        brightness, contrast, saturation = (
            1 + plan.jitter * (2 * (draw(key(seed, epoch, stream), sample) >> 40) / 2**24 - 1)
            for stream in (BRIGHTNESS, CONTRAST, SATURATION)
        )
        if channels == 3:
            luma = 0.299 * result[0] + 0.587 * result[1] + 0.114 * result[2]
            result = luma + saturation * (result - luma)
        result = (result * brightness - 127.5) * contrast + 127.5
        result = np.clip(np.round(result), 0, 255)
    if plan.cutout:
        top = (draw(key(seed, epoch, CUT_Y), sample) >> 33) * height // 2**31 - plan.cutout // 2
        left = (draw(key(seed, epoch, CUT_X), sample) >> 33) * width // 2**31 - plan.cutout // 2
        for y in range(height):
            for x in range(width):
                if top <= y < top + plan.cutout and left <= x < left + plan.cutout:
                    result[:, y, x] = 128
    return result


PLANS = [
    Augmentation(),
    Augmentation("random"),
    Augmentation("alternating"),
    Augmentation("none", shift=2),
    Augmentation("random", shift=6),
    Augmentation("none", cutout=3),
    Augmentation("none", cutout=4),
    Augmentation("none", jitter=0.4),
    Augmentation("alternating", shift=3, cutout=2, jitter=1.0),
]


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("epoch", [0, 5])
def test_it_equals_the_slow_loop(plan: Augmentation, channels: int, epoch: int) -> None:
    batch = images(channels=channels)
    ids = torch.arange(16) * 1_000_003 + 7
    fast = augment(batch, plan, seed=11, epoch=epoch, ids=ids).numpy()
    for image, result, sample in zip(batch.numpy(), fast, ids.tolist(), strict=True):
        difference = np.abs(result - slow(image, plan, 11, epoch, sample))
        assert difference.max() <= (1 if plan.jitter else 0)
        assert difference.mean() < 0.01


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_sample_does_not_depend_on_its_batch(plan: Augmentation) -> None:
    for batch in (images(), images() / 255):
        ids = torch.randperm(16, generator=torch.Generator().manual_seed(0))
        whole = augment(batch, plan, seed=1, epoch=2, ids=ids)
        for row in range(16):
            alone = augment(batch[[row]], plan, seed=1, epoch=2, ids=ids[[row]])
            assert torch.equal(alone[0], whole[row])


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_floats_follow_the_same_plan_and_nothing_is_changed_in_place(plan: Augmentation) -> None:
    batch = images()
    kept = batch.clone()
    ids = torch.arange(16)
    whole = augment(batch, plan, seed=1, epoch=2, ids=ids)
    floats = augment(batch / 255, plan, seed=1, epoch=2, ids=ids)
    assert torch.equal(batch, kept)
    assert whole.dtype == torch.uint8
    assert floats.dtype == torch.float32
    assert (floats.clamp(0, 1) * 255 - whole).abs().max() <= 1.01
    assert whole.data_ptr() != batch.data_ptr()


def test_channels_last_images_are_augmented_alike() -> None:
    plan, ids = PLANS[-1], torch.arange(16)
    plain = augment(images(), plan, seed=1, epoch=2, ids=ids)
    last = augment(images().contiguous(memory_format=torch.channels_last), plan, seed=1, epoch=2, ids=ids)
    assert torch.equal(plain, last)


DEVICES = [
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_gpu_gives_what_the_cpu_gives(device: str, plan: Augmentation) -> None:
    ids = torch.arange(16) * 1_000_003
    there = augment(images().to(device), plan, seed=1, epoch=2, ids=ids).cpu()
    here = augment(images(), plan, seed=1, epoch=2, ids=ids)
    assert (there.int() - here.int()).abs().max() <= (1 if plan.jitter else 0)


def test_alternating_shows_both_sides_in_two_epochs_and_random_does_not_always() -> None:
    batch, ids = images(64), torch.arange(64)
    shown = [augment(batch, Augmentation("alternating"), seed=4, epoch=epoch, ids=ids) for epoch in range(3)]
    assert torch.equal(shown[1], shown[0].flip(3))
    assert torch.equal(shown[2], shown[0])
    first = (shown[0] == batch).flatten(1).all(1)
    assert 16 < int(first.sum()) < 48
    tossed = [augment(batch, Augmentation("random"), seed=4, epoch=epoch, ids=ids) for epoch in range(2)]
    same = (tossed[0] == tossed[1]).flatten(1).all(1)
    assert 16 < int(same.sum()) < 48


def test_every_shift_is_as_likely_as_any() -> None:
    draws = below_tensor(key(0, 1, 2), torch.arange(90_000), 9)
    counts = torch.bincount(draws, minlength=9)
    assert len(counts) == 9
    assert (counts - 10_000).abs().max() < 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": "up"}, "flip 'up' is not known; the nearest are"),
        ({"shift": -1}, "0 or more; found shift -1"),
        ({"cutout": -2}, "0 or more; found shift 0, cutout -2"),
        ({"jitter": 1.5}, "from 0 to 1; found 1.5"),
    ],
)
def test_a_plan_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augmentation(**options)  # type: ignore[arg-type] # wrong on purpose


def test_images_too_small_for_the_shift_and_ids_of_another_batch() -> None:
    with pytest.raises(InputError, match="a shift of 7 pixels is too far for images of 7x9"):
        augment(images(), Augmentation(shift=7), seed=0, epoch=0, ids=torch.arange(16))
    with pytest.raises(InputError, match=r"images \(16, 3, 7, 9\) and ids \(3,\)"):
        augment(images(), Augmentation(shift=1), seed=0, epoch=0, ids=torch.arange(3))


@given(st.integers(0, U64 - 1), st.lists(st.integers(0, 2**62), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_the_three_mixers_agree(chain: int, counters: list[int]) -> None:
    expected = [mix((chain + counter) % U64) for counter in counters]
    assert hash_array(chain, np.array(counters)).tolist() == expected
    assert [value % U64 for value in hash_tensor(chain, torch.tensor(counters)).tolist()] == expected
    assert uniform_array(chain, np.array(counters)).tolist() == [(value >> 11) / 2**53 for value in expected]
    assert uniform_tensor(chain, torch.tensor(counters)).tolist() == [(value >> 40) / 2**24 for value in expected]


def test_the_mixer_is_splitmix64() -> None:
    # The first outputs of the published generator with seed 1234567.
    step = 0x9E3779B97F4A7C15
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [mix((1234567 + turn * step) % U64) for turn in range(3)] == published


def test_every_part_of_a_key_counts() -> None:
    keys = {key(a, b, c) for a in range(6) for b in range(6) for c in range(6)}
    assert len(keys) == 216
    assert key(1, 2) != key(2, 1)


@given(st.integers(0, 300), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_order_is_a_permutation_and_a_pure_function(count: int, seed: int, epoch: int) -> None:
    order = sample_order(count, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, sample_order(count, seed, epoch))


def test_the_order_changes_with_seed_and_epoch_and_is_pinned() -> None:
    assert sample_order(10, 0, 0).tolist() != sample_order(10, 0, 1).tolist()
    assert sample_order(10, 0, 0).tolist() != sample_order(10, 1, 0).tolist()
    assert sample_order(8, 0, 0).tolist() == [5, 3, 0, 7, 2, 4, 1, 6]
    positions = np.concatenate([sample_order(20, 5, epoch)[:1] for epoch in range(400)])
    assert np.bincount(positions, minlength=20).min() >= 5
