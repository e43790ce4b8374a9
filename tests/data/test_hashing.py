"""The perceptual hash and its search, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cutaway.data.hashing import BITS, CAP, hash_images, near_pairs, threshold


def scene(seed: int, side: int = 96) -> np.ndarray:
    """A smooth random picture, grey float (H, W), as photographs are: more contrast in coarse things than in fine."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(random.normal(size=(n, n)).astype(np.float32)).resize((side, side))) / n**0.5
        for n in (3, 6, 12, 24, 48)
    ]
    total = np.sum(layers, axis=0)
    return ((total - total.min()) / (total.max() - total.min()) * 255).astype(np.float32)


def apart(first: np.ndarray, second: np.ndarray) -> int:
    hashes = hash_images(np.stack([first])), hash_images(np.stack([second]))
    return int(np.bitwise_count(hashes[0] ^ hashes[1]).sum())


def test_each_bit_is_the_sign_of_one_frequency() -> None:
    image = np.random.default_rng(3).uniform(0, 255, (32, 32))
    bits = np.unpackbits(hash_images(image[None].astype(np.float32)).view(np.uint8)).tolist()
    assert len(bits) == BITS + 1
    assert bits[0] == 0
    for place in (1, 2, 16, 17, 40, 255):
        down, across = divmod(place, 16)
        coefficient = sum(
            image[y, x] * math.cos(math.pi * (2 * y + 1) * down / 64) * math.cos(math.pi * (2 * x + 1) * across / 64)
            for y in range(32)
            for x in range(32)
        )
        assert bits[place] == int(coefficient > 1.0)


@pytest.mark.parametrize("change", ["brighter", "flatter", "smaller", "recompressed", "blurred"])
def test_what_makes_a_near_duplicate_changes_few_bits(change: str) -> None:
    image = scene(1)
    picture = Image.fromarray(image.astype(np.uint8))
    changed = {
        "brighter": lambda: image * 0.8 + 50,
        "flatter": lambda: 128 + (image - 128) * 0.4,
        "smaller": lambda: np.asarray(picture.resize((40, 40), Image.Resampling.BICUBIC)),
        "recompressed": lambda: np.asarray(_jpeg(picture, 40)),
        "blurred": lambda: np.asarray(picture.filter(ImageFilter.GaussianBlur(1))),
    }[change]()
    assert apart(image, np.asarray(changed, np.float32)) <= CAP // 2


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def test_pictures_of_other_things_differ_in_about_half_of_the_bits() -> None:
    hashes = hash_images(np.stack([scene(seed) for seed in range(60)]))
    bits = [int(np.bitwise_count(a ^ b).sum()) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert abs(np.mean(bits) - BITS / 2) < 4
    assert min(bits) > CAP


def test_a_mirrored_picture_is_another_picture() -> None:
    assert apart(scene(1), scene(1)[:, ::-1]) > CAP


def test_all_near_pairs_as_two_loops_find_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.data.hashing._ROWS", 7)
    monkeypatch.setattr("cutaway.data.hashing._COLUMNS", 5)
    random = np.random.default_rng(0)
    base = random.integers(0, 2, (6, 256), dtype=np.uint8)
    bits = np.concatenate([base ^ (random.random((6, 256)) < 0.1) for _ in range(6)])
    hashes = np.packbits(bits, axis=1).view(np.uint64)
    expected = {
        (i, j): count
        for i in range(len(bits))
        for j in range(i + 1, len(bits))
        if (count := int((bits[i] != bits[j]).sum())) <= 50
    }
    assert 10 < len(expected) < 400
    assert {(a, b): c for a, b, c in near_pairs(hashes, 50)} == expected


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_hashes_to_pair(count: int) -> None:
    assert len(near_pairs(np.zeros((count, 4), np.uint64), 64)) == 0


def test_the_threshold_knows_sets_of_things_that_are_alike() -> None:
    random = np.random.default_rng(0)
    unlike = random.integers(0, 2, (600, 256), dtype=np.uint8)
    kinds = random.integers(0, 2, (6, 256), dtype=np.uint8)
    alike = kinds[np.arange(600) % 6] ^ (random.random((600, 256)) < 0.15).astype(np.uint8)
    assert threshold(np.packbits(unlike, axis=1).view(np.uint64)) == CAP
    # A sixth of these pairs differ in about 65 bits, and none of them is a copy.
    assert threshold(np.packbits(alike, axis=1).view(np.uint64)) < 40
    assert threshold(np.packbits(alike[:499], axis=1).view(np.uint64)) == CAP
