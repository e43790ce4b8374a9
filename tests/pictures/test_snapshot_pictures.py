import numpy as np

from cutaway.pictures import Scale, snapshot_pictures, snapshot_scales, to_rgb
from cutaway.pictures.picture import MARGIN, TITLE_SIZE


def arrays(factor: float = 1.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "maps/conv1": (factor * random.normal(size=(3, 20, 8, 8))).astype(np.float16),
        "channels/conv1": np.arange(0, 40, 2),
        "maps/conv2": random.random((3, 4, 4, 4)).astype(np.float16),
        "kernels/conv1": random.normal(size=(40, 1, 3, 3)).astype(np.float32),
        "gradients/conv1": np.zeros((40, 1, 3, 3), dtype=np.float32),
        "images": random.integers(0, 256, (3, 1, 8, 8), dtype=np.uint8),
    }


def test_three_pictures_of_the_first_layer() -> None:
    found = snapshot_pictures(arrays())
    assert list(found) == ["maps", "kernels", "gradients"]
    assert found["maps"].caption == "conv1  ·  16 of 20 channels of 8×8"
    assert found["kernels"].caption.startswith("conv1  ·  kernels 3×3  ·  40 outputs, 1 input")
    assert found["gradients"].caption.startswith("conv1  ·  gradients of the kernels")


def test_maps_stand_beside_their_image() -> None:
    content = arrays()
    scale = Scale(-9, 9)
    picture = snapshot_pictures(content, {"maps/conv1": scale})["maps"]
    top, zoom = MARGIN + TITLE_SIZE + 10, 8
    for row in range(3):
        line = picture.pixels[top + row * 68 : top + row * 68 + 64 : zoom, MARGIN:]
        assert np.array_equal(line[:, 0:64:zoom, 0], content["images"][row, 0])
        first = line[:, 80 : 80 + 64 : zoom]
        assert np.array_equal(first, to_rgb(content["maps/conv1"][row, 0], scale))


def test_scales_hold_over_epochs_against_one_wild_one() -> None:
    epochs = [arrays(1.0), arrays(100.0), arrays(1.1)]
    scales = snapshot_scales(epochs)
    assert set(scales) == {"maps/conv1", "maps/conv2", "kernels/conv1", "gradients/conv1"}
    assert scales["maps/conv1"].high == float(np.abs(epochs[2]["maps/conv1"]).max())
    assert scales["maps/conv1"].low == -scales["maps/conv1"].high
    assert scales["maps/conv2"].kind == "magnitude"
    assert snapshot_scales([epochs[0]])["kernels/conv1"] == Scale.of(epochs[0]["kernels/conv1"])


def test_without_images_and_channel_numbers() -> None:
    content = {"maps/a": np.ones((2, 3, 5, 5), dtype=np.float16)}
    assert list(snapshot_pictures(content)) == ["maps"]
