import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cutaway
from cutaway.pictures.stills import Still, data_url, jpeg, picture_of, png


@pytest.mark.parametrize("level", [0, 6, 9])
def test_a_png_is_its_pixels_to_the_last_bit(level: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    for found in (pixels, pixels[:, :, 1], pixels[::2, ::-1]):
        assert (np.asarray(Image.open(io.BytesIO(png(found, level)))) == found).all()


def test_images_of_one_two_and_more_channels() -> None:
    image = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    assert (np.asarray(picture_of(image[:1])) == image[0]).all()
    assert (np.asarray(picture_of(image[:2])) == image[0]).all()
    assert (np.asarray(picture_of(image)) == image[:3].transpose(1, 2, 0)).all()


def test_addresses_hold_the_file() -> None:
    picture = Image.new("RGB", (3, 2), "white")
    assert data_url(png(picture)) == Still.png(np.asarray(picture)).uri
    assert data_url(jpeg(picture, 80), "image/jpeg").startswith("data:image/jpeg;base64,/9j/")


def test_there_is_one_writer_of_pngs() -> None:
    rooms = Path(cutaway.__file__).parent
    writers = [path.relative_to(rooms).as_posix() for path in rooms.rglob("*.py") if '"PNG", ' in path.read_text()]
    assert sorted(writers) == ["data/decode.py", "pictures/stills.py"]  # the first reads
