from __future__ import annotations

import time

import numpy as np
import pytest

from cutaway.data import load_data
from cutaway.data.outlines import OUTLINES, box, disc, polygon, regular
from cutaway.data.shapes import CLASSES, draw_shapes

INDICES = np.arange(60)


def test_ten_balanced_classes_with_masks() -> None:
    data = load_data("shapes")
    assert data.classes == CLASSES
    assert len(CLASSES) == 10
    assert data.shape == (3, 32, 32)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 8000, "val": 1000, "test": 2000}
    for split in data.splits.values():
        assert split.masks is not None
        assert split.masks.shape == (len(split), 32, 32)
        assert split.masks.dtype == bool
        assert len(set(np.bincount(split.labels).tolist())) == 1
        assert len(np.unique(split.hashes)) == len(split)
    assert data.notes == ()
    assert load_data("shapes", size=12, channels=1).shape == (1, 12, 12)


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (28, 1), (9, 3)])
def test_an_image_is_a_pure_function_of_seed_and_index(size: int, channels: int) -> None:
    images, labels, masks = draw_shapes(INDICES, size, channels, seed=5)
    assert images.shape == (60, channels, size, size)
    assert images.dtype == np.uint8
    order = np.random.default_rng(0).permutation(60)[:7]
    again = draw_shapes(INDICES[order], size, channels, seed=5)
    for first, second in zip((images, labels, masks), again, strict=True):
        assert (first[order] == second).all()
    other = draw_shapes(INDICES, size, channels, seed=6)[0]
    assert (other != images).any(axis=(1, 2, 3)).all()


def test_the_object_is_wholly_inside_and_of_fair_size() -> None:
    _, _, masks = draw_shapes(np.arange(2000), 32, 3, seed=0)
    edge = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], axis=1)
    assert not edge.any()
    area = masks.mean(axis=(1, 2))
    assert area.min() > 0.02
    assert area.max() < 0.5


def test_the_mask_is_where_the_object_was_drawn() -> None:
    """Inside the mask the noise lies on one surface: its luma is set apart from the ground around it."""
    images, _, masks = draw_shapes(np.arange(500), 32, 3, seed=0)
    luma = np.tensordot(images, [0.299, 0.587, 0.114], axes=([1], [0]))
    inside = np.array([image[mask].mean() for image, mask in zip(luma, masks, strict=True)])
    outside = np.array([np.median(image[~mask]) for image, mask in zip(luma, masks, strict=True)])
    assert (np.abs(inside - outside) > 30).mean() > 0.97


def test_colour_alone_does_not_tell_the_class() -> None:
    images, labels, _ = draw_shapes(np.arange(4000), 32, 3, seed=0)
    means = images.mean(axis=(2, 3))
    by_class = np.stack([means[labels == label].mean(axis=0) for label in range(10)])
    assert by_class.std(axis=0).max() < 6


def test_outlines_have_the_areas_of_geometry() -> None:
    side = 400
    centres = (np.arange(side) + 0.5) * (2.4 / side) - 1.2
    x, y = centres[None, None, :], centres[None, :, None]
    areas = {name: float((outline(x, y) < 0).mean() * 2.4**2) for name, outline in OUTLINES.items()}
    known = {
        "circle": np.pi * 0.85**2,
        "square": 1.44**2,
        "triangle": 3 * 3**0.5 / 4,
        "star": 10 * 0.5 * 0.42 * np.sin(np.pi / 5),
        "cross": 2 * 1.9 * 0.6 - 0.36,
        "ring": np.pi * (0.88**2 - 0.44**2),
        "hexagon": 1.5 * 3**0.5 * 0.92**2,
        "heart": 4 * 0.52**2 + np.pi * 0.52**2,
        "arrow": 0.5 * 1.5 * 0.85 + 0.56 * 1.1,
    }
    for name, area in known.items():
        assert areas[name] == pytest.approx(area, rel=0.02), name
    assert 0.8 < areas["moon"] < 2.0


def test_distances_by_hand() -> None:
    x, y = np.array([[[0.0, 2.0, 4.0]]]), np.array([[[0.0, 0.0, 5.0]]])
    assert disc(x, y, 1.0).ravel().tolist() == pytest.approx([-1, 1, 41**0.5 - 1])
    assert box(x, y, 1.0, 1.0).ravel().tolist() == pytest.approx([-1, 1, 5])
    square = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    assert polygon(x, y, square).ravel().tolist() == pytest.approx([-1, 1, 5])
    assert regular(4, 1.0)[1] == pytest.approx((1, 0))


def test_edges_are_antialiased() -> None:
    """A disc drawn at 8 pixels has greys at its edge, and the share of the pixels that it covers is its area."""
    from cutaway.data.shapes import _paint

    centres = (np.arange(8, dtype=np.float32) + 0.5) / 4 - 1
    distance = disc(centres[None, None, :], centres[None, :, None], 0.7).astype(np.float32)
    painted = _paint(np.zeros((1, 1, 8, 8), np.float32), np.ones((1, 1, 1, 1), np.float32), distance, 8)
    assert ((painted > 0.05) & (painted < 0.95)).any()
    assert painted.mean() * 4 == pytest.approx(np.pi * 0.49, rel=0.03)


def test_ten_thousand_take_seconds() -> None:
    start = time.process_time()
    draw_shapes(np.arange(10_000), 32, 3, seed=0)
    assert time.process_time() - start < 20


def test_a_linear_rule_does_not_solve_it() -> None:
    """Least squares on the pixels stays near chance, so the shapes have to be seen."""
    images, labels, _ = draw_shapes(np.arange(3000), 16, 1, seed=0)
    inputs = np.c_[images.reshape(len(images), -1) / 255.0, np.ones(len(images))]
    targets = np.eye(10)[labels]
    weights = np.linalg.lstsq(inputs[:2000], targets[:2000], rcond=None)[0]
    accuracy = ((inputs[2000:] @ weights).argmax(1) == labels[2000:]).mean()
    assert accuracy < 0.3
