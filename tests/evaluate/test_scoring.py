"""One pair, restored by any callable, in figures that do not move."""

from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor, nn

from derain.errors import ImageError
from derain.evaluate.scoring import CEILING_DB, score_pair
from derain.imaging.io import to_pixels, to_tensor
from derain.imaging.metrics import Protocol
from derain.train.validation import FixedValidation

CLEAN_PIXELS = np.ascontiguousarray(skimage.data.chelsea()[:117, :163])
RAINY_PIXELS = np.clip(
    CLEAN_PIXELS.astype(int) + np.random.default_rng(0).integers(0, 60, (117, 163, 1)), 0, 255
).astype(np.uint8)
CLEAN, RAINY = to_tensor(CLEAN_PIXELS), to_tensor(RAINY_PIXELS)

# Recorded from the two scorings, of benchmarks and of training, that this one replaced.
IN_TRAINING = (
    17.450836892038676,
    23.31097557364336,
    0.4118241153434554,
    0.427859155167803,
    0.11551116406917572,
    0.05910268798470497,
)
IN_BENCHMARKS = {
    Protocol.RGB: (17.450836892038676, 23.308862207715933, 0.4118241153434554, 0.42785378404532415),
    Protocol.Y: (18.772577781524998, 24.62787802782685, 0.4420520417938004, 0.451618438852115),
    Protocol.UNIRAIN: (17.450836892038676, 23.308862207715933, 0.4420520417938004, 0.451618438852115),
}


class Darken(nn.Module):
    size_multiple = 16

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.11))

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[-1] % 16 == image.shape[-2] % 16 == 0
        return image - self.by


def darken_pixels(image: Tensor) -> Tensor:
    return to_tensor(to_pixels((image - 0.11).clamp(0, 1), 8))


@pytest.mark.parametrize("protocol", Protocol)
def test_a_benchmark_scores_integers_as_it_always_did(protocol: Protocol) -> None:
    score = score_pair(darken_pixels, RAINY, CLEAN, protocol)
    figures = (score.input_psnr, score.output_psnr, score.input_ssim, score.output_ssim)
    assert figures == pytest.approx(IN_BENCHMARKS[protocol], rel=1e-9)


def test_training_scores_floats_as_it_always_did() -> None:
    class OnePicture:
        def draw(self, *_: object) -> SimpleNamespace:
            return SimpleNamespace(rainy=RAINY[0], clean=CLEAN[0])

    rows = FixedValidation(OnePicture(), ["drs"], 1, side=500, seed=0)(Darken()).rows
    row = next(row for row in rows if row.label == "drs")
    figures = (row.psnr_in, row.psnr_out, row.ssim_in, row.ssim_out, row.l1_in, row.l1_out)
    assert figures == pytest.approx(IN_TRAINING, rel=1e-6)


def test_identical_pictures_have_the_ceiling_and_no_error() -> None:
    score = score_pair(lambda image: image, CLEAN, CLEAN, Protocol.UNIRAIN)
    assert score.input_psnr == score.output_psnr == CEILING_DB
    assert score.input_ssim == score.output_ssim == pytest.approx(1)
    assert score.input_l1 == score.output_l1 == 0


@pytest.mark.parametrize(
    ("rainy", "clean", "message"),
    [
        (RAINY, CLEAN[..., :-1], "one size"),
        (RAINY.expand(2, -1, -1, -1), CLEAN.expand(2, -1, -1, -1), "one at a time"),
        (RAINY[0], CLEAN[0], r"\(1, 3, H, W\)"),
        (RAINY[..., :10, :], CLEAN[..., :10, :], "163 x 10"),
        (RAINY[..., :0], CLEAN[..., :0], "0 x 117"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_it_is_restored(rainy: Tensor, clean: Tensor, message: str) -> None:
    def never(_: Tensor) -> Tensor:
        raise AssertionError("restored")

    with pytest.raises(ImageError, match=message):
        score_pair(never, rainy, clean, Protocol.RGB)


def test_a_restoration_that_changes_the_size_is_named() -> None:
    with pytest.raises(ImageError, match="keep the size"):
        score_pair(lambda image: image[..., 1:], RAINY, CLEAN, Protocol.RGB)


def test_eleven_pixels_are_enough() -> None:
    assert score_pair(darken_pixels, RAINY[..., :11, :11], CLEAN[..., :11, :11], Protocol.RGB).output_psnr > 0
