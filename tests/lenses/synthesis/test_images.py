"""The numbers behind an image: ranges, spectra and colours, by their definitions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthesis_cases import SMALL

from cutaway.errors import InputError
from cutaway.lenses.synthesis.images import (
    Fourier,
    Maco,
    Space,
    colour_root,
    coloured,
    magnitudes,
    natural_amplitudes,
    natural_magnitudes,
    noise,
)

SIZES = [(8, 8), (8, 9), (9, 8), (7, 5), (28, 28)]


def space(height: int, width: int, channels: int = 3) -> Space:
    return Space((channels, height, width), (0.3, 0.4, 0.5)[:channels], (0.2, 0.25, 0.3)[:channels])


def test_pixels_and_inputs_are_inverse_and_clamped_per_channel() -> None:
    pixels = torch.rand(2, *SMALL.shape)
    torch.testing.assert_close(SMALL.pixels(SMALL.inputs(pixels)), pixels)
    assert SMALL.inputs(torch.ones(1, 3, 1, 1)).flatten().tolist() == pytest.approx([2.0, 3.0, 0.7 / 0.3])
    far = SMALL.pixels(SMALL.clamp(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1).expand(2, *SMALL.shape)))
    torch.testing.assert_close(far[0], torch.zeros(SMALL.shape), atol=1e-6, rtol=0)
    torch.testing.assert_close(far[1], torch.ones(SMALL.shape), atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="3 channels need as many means and deviations, found 1"):
        Space((3, 4, 4), (0.5,), (0.5,))


def test_noise_depends_on_seed_and_name_and_on_nothing_else() -> None:
    together = noise((2, 3, 4), 7, ["cat", "dog", "cat"])
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[1], noise((2, 3, 4), 7, ["dog"])[0])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together[0], noise((2, 3, 4), 8, ["cat"])[0])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_amplitudes_are_one_over_the_frequency(height: int, width: int) -> None:
    found = natural_amplitudes(height, width)
    for row, column in itertools.product(range(height), range(width // 2 + 1)):
        waves = row if row <= (height - 1) // 2 else row - height
        frequency = math.hypot(waves / height, column / width)
        assert float(found[row, column]) == pytest.approx(1 / max(frequency, 1 / max(height, width)), rel=1e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_an_empty_spectrum_is_the_mean_colour(height: int, width: int) -> None:
    place = space(height, width)
    images = Fourier(place)
    inputs = images.inputs(torch.zeros_like(images.start(["a"], 0)))
    assert tuple(inputs.shape) == (1, 3, height, width)
    torch.testing.assert_close(inputs, torch.zeros_like(inputs), atol=1e-5, rtol=0)


def test_a_single_frequency_is_a_wave() -> None:
    place = space(8, 8, channels=1)
    numbers = torch.zeros(1, 1, 8, 5, 2)
    numbers[0, 0, 0, 1, 0] = 1.0
    values = torch.logit(place.pixels(Fourier(place).inputs(numbers))) - math.log(0.3 / 0.7)
    wave = torch.cos(2 * math.pi * torch.arange(8) / 8).expand(8, 8)
    # 2 (a column stands for two) / sqrt(64) (orthonormal) * 8 (one over the frequency) / 4 (contrast)
    torch.testing.assert_close(values[0, 0], 0.5 * wave, atol=1e-5, rtol=1e-5)


@given(st.integers(0, 99), st.sampled_from(SIZES))
@settings(max_examples=20, deadline=None)
def test_images_are_always_in_range(seed: int, size: tuple[int, int]) -> None:
    place = space(*size)
    for images in (Fourier(place), Maco(place, natural_magnitudes(place))):
        pixels = place.pixels(images.inputs(30 * images.start(["a", "b"], seed)))
        assert pixels.min() >= -1e-5
        assert pixels.max() <= 1 + 1e-5


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_maco_keeps_the_magnitudes_whatever_the_phases(height: int, width: int) -> None:
    place = space(height, width)
    given = torch.fft.rfft2(torch.randn(3, height, width)).abs()
    images = Maco(place, given)
    values = images.values(images.start(["a"], 5))
    torch.testing.assert_close(torch.fft.rfft2(values, norm="ortho").abs()[0], given, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_natural_images_have_mean_0_and_variance_1(height: int, width: int) -> None:
    place = space(height, width)
    images = Maco(place, natural_magnitudes(place))
    values = images.values(images.start(["a"], 5))[0]
    torch.testing.assert_close(values.mean((1, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.square().mean((1, 2)), torch.ones(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_comes_back_from_its_own_magnitudes_and_phases(channels: int) -> None:
    place = space(6, 7, channels)
    pixels = torch.rand(1, *place.shape) * 0.8 + 0.1
    found = magnitudes(pixels, place)
    root = torch.linalg.inv(colour_root(channels))
    middle = torch.logit(torch.tensor(place.mean)).view(-1, 1, 1)
    values = torch.einsum("dc,nchw->ndhw", root, torch.logit(pixels) - middle)
    spectrum = torch.fft.rfft2(values, norm="ortho")
    torch.testing.assert_close(found, spectrum.abs()[0])
    back = torch.fft.irfft2(torch.polar(found, spectrum.angle()), s=(6, 7), norm="ortho")
    torch.testing.assert_close(place.pixels(coloured(back, place)), pixels, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="the spectrum needs float images"):
        magnitudes(pixels[..., :3], place)


def test_colours_are_mixed_for_three_channels_alone() -> None:
    assert torch.equal(colour_root(1), torch.eye(1))
    assert torch.equal(colour_root(4), torch.eye(4))
    assert torch.equal(colour_root(3, decorrelate=False), torch.eye(3))
    root = colour_root(3)
    assert float(root.norm(dim=0).max()) == pytest.approx(1)
    # The first column is grey: all three channels rise together.
    assert float(root[:, 0].min()) > 0.5


def test_the_fourier_image_is_lucents_where_the_mean_is_grey() -> None:
    """Lucent 0.1.8 for even sizes; for an odd width it makes one column too many and cuts off a pixel."""
    param = pytest.importorskip("lucent.optvis.param")
    place = Space((3, 10, 12), (0.5,) * 3, (0.25,) * 3)
    images = Fourier(place)
    numbers = 50 * images.start(["a", "b"], 3)
    (spectrum,), values = param.spatial.fft_image((2, 3, 10, 12))
    with torch.no_grad():
        spectrum.copy_(numbers)
    pixels = param.color.to_valid_rgb(values, decorrelate=True)()
    torch.testing.assert_close(place.pixels(images.inputs(numbers)), pixels.detach().cpu(), atol=1e-5, rtol=0)
