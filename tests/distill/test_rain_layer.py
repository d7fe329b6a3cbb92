"""Measures of the rain layer: formulas against slow ones, and what they say of rain that is drawn on photographs."""

import math

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor

from derain.distill.measure.rain_layer import (
    RainLayerStatistics,
    autocorrelation,
    band_energies,
    coherence,
    crest_spread,
    direction,
    extent,
    full_luma,
    marked_pixels,
    rain_layer_statistics,
    regression,
    repetition,
    structure_tensor,
)
from derain.imaging.io import to_tensor
from derain.rain.negatives import GoodPair, make_negative
from derain.rain.settings import RainSettings
from derain.rain.simulate import simulate
from derain.rain.streaks import StreakStyle, draw_streaks
from derain.types import RainType

HEAVY = RainSettings(look_share=0, noise_share=0, jpeg_share=0, light_weight=0, medium_weight=0, veil_share=0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def streaks(angle_deg: float, length: float = 40, width: float = 2, spread_deg: float = 0.5, seed: int = 1) -> Tensor:
    style = StreakStyle(1500, angle_deg, spread_deg, length, width, 0.3)
    return draw_streaks([[style]], 256, 320, seeded(seed))[0, 0]


@pytest.fixture(scope="module")
def scene() -> Tensor:
    return to_tensor(np.ascontiguousarray(skimage.data.astronaut()[:320, 60:460]))


def measured(picture: Tensor, without_rain: Tensor) -> RainLayerStatistics:
    found = rain_layer_statistics(picture, without_rain)
    assert found is not None
    return found


def test_autocorrelation_equals_its_sums_written_out() -> None:
    plane = torch.rand(9, 12, generator=seeded())
    centred = (plane - plane.mean()).double()
    found = autocorrelation(plane)
    assert found.shape == (9, 13)
    for dy in range(-4, 5):
        for dx in range(-6, 7):
            products = [
                float(centred[y, x] * centred[y + dy, x + dx])
                for y in range(9)
                for x in range(12)
                if 0 <= y + dy < 9 and 0 <= x + dx < 12
            ]
            expected = np.mean(products) / float(centred.square().mean())
            assert float(found[4 + dy, 6 + dx]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("angle_deg", [-60.0, -20.0, 0.0, 35.0, 70.0])
def test_direction_is_that_of_the_streaks(angle_deg: float) -> None:
    found, spread = direction(streaks(angle_deg))
    assert found == pytest.approx(angle_deg, abs=3)
    _, wider = direction(streaks(angle_deg, spread_deg=25))
    assert wider > spread + 5


def test_direction_equals_the_mean_of_doubled_angles() -> None:
    plane = torch.rand(20, 30, generator=seeded())
    xx, xy, yy = (part.double().numpy() for part in structure_tensor(plane))
    angle = np.arctan2(xy, xx) % np.pi  # of the gradient, from its products: tan = gy / gx = gx gy / gx^2
    mean = ((xx + yy) * np.exp(2j * angle)).sum() / (xx + yy).sum()
    found, spread = direction(plane)
    assert found == pytest.approx(-np.degrees(np.angle(mean)) / 2, abs=1e-3)
    assert spread == pytest.approx(np.degrees(np.sqrt(-2 * np.log(abs(mean)))) / 2, abs=1e-3)


def test_lines_are_coherent_and_noise_is_not() -> None:
    assert coherence(streaks(20), 2.0) > 0.85
    assert coherence(torch.rand(256, 320, generator=seeded()), 6.0) < 0.25


def test_extent_is_the_width_at_half() -> None:
    rows, columns = torch.arange(-40, 41)[:, None], torch.arange(-40, 41)
    tent = (1 - rows.abs() / 20).clamp(min=0) * (1 - columns.abs() / 6).clamp(min=0)
    assert extent(tent, 0) == pytest.approx(20, abs=1e-4)
    assert extent(tent, 90) == pytest.approx(6, abs=1e-4)
    assert extent(torch.ones(41, 81), 0) == 2 * 19  # never falls: as far as was looked


def test_longer_and_wider_streaks_measure_longer_and_wider() -> None:
    small, long, wide = streaks(0, 15), streaks(0, 60), streaks(0, 60, width=6)
    assert extent(autocorrelation(long), 0) > 1.8 * extent(autocorrelation(small), 0)
    assert extent(autocorrelation(wide), 90) > 1.8 * extent(autocorrelation(long), 90)


def test_a_repeated_tile_is_found_and_rain_is_none() -> None:
    tile = draw_streaks([[StreakStyle(900, 10, 2, 120, 6, 0.3)]], 64, 64, seeded())[0, 0]
    peak, prominence = repetition(autocorrelation(tile.repeat(4, 5)), 10)
    assert peak > 0.95
    natural, usual = repetition(autocorrelation(streaks(10)), 10)
    assert natural < 0.3
    assert prominence > usual


def test_regression_is_least_squares() -> None:
    x, y = torch.rand(200, generator=seeded(1)), torch.rand(200, generator=seeded(2))
    y = y + 0.7 * x
    slope, correlation = regression(x, y)
    assert slope == pytest.approx(np.polyfit(x.numpy(), y.numpy(), 1)[0], rel=1e-4)
    assert correlation == pytest.approx(np.corrcoef(x.numpy(), y.numpy())[0, 1], rel=1e-4)
    assert all(math.isnan(value) for value in regression(torch.ones(9), y[:9]))


def test_band_energies_are_parts_of_a_whole() -> None:
    assert sum(math.exp(part) for part in band_energies(streaks(0))) == pytest.approx(1, abs=1e-4)
    fine, broad = band_energies(streaks(0, width=1)), band_energies(streaks(0, width=14, length=150))
    assert fine[0] > broad[0]
    assert fine[4] < broad[4]


def test_luma_is_full_swing() -> None:
    torch.testing.assert_close(full_luma(torch.ones(1, 3, 2, 2)), torch.ones(2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(full_luma(torch.zeros(1, 3, 2, 2)), torch.zeros(2, 2), atol=1e-6, rtol=0)


def test_rain_is_marked_where_it_is() -> None:
    layer = 0.2 * streaks(15) + 0.003 * torch.randn(256, 320, generator=seeded(4))
    marked = marked_pixels(layer)
    really = streaks(15) > 0.15
    assert float((marked & really).sum()) > 0.9 * float(really.sum())
    assert float(marked[streaks(15) == 0].float().mean()) < 0.03


def test_crests_of_one_brightness_have_no_spread() -> None:
    lines = torch.zeros(200, 200)
    lines[::8, 5:195] = 0.2
    assert crest_spread(lines, lines > 0) == pytest.approx(0, abs=1e-6)
    columns = torch.zeros(200, 200)
    columns[5:195, ::8] = torch.linspace(0.1, 0.3, 25)
    expected = np.quantile(np.repeat(np.linspace(0.1, 0.3, 25), 190), [0.9, 0.1])
    assert crest_spread(columns, columns > 0) == pytest.approx((expected[0] - expected[1]) / 0.2, abs=0.01)
    assert math.isnan(crest_spread(lines, lines > 9))


def test_a_picture_without_rain_has_no_statistics(scene: Tensor) -> None:
    assert rain_layer_statistics(scene, scene) is None
    noisy = (scene + 0.0005 * torch.randn(scene.shape, generator=seeded())).clamp(0, 1)
    assert rain_layer_statistics(noisy, scene) is None


def test_painted_grey_does_not_know_the_light_behind_it(scene: Tensor) -> None:
    physical = simulate(scene, RainType.DRS, seeded(3), HEAVY)
    seen = measured(physical.rainy, physical.target)
    painted_pair = make_negative("grey_lines", GoodPair(scene, scene, scene), seeded(5))
    painted = measured(painted_pair.rainy, painted_pair.target)
    assert seen.light_correlation < -0.2
    assert seen.bright_occlusion < 0.8
    assert painted.chroma < seen.chroma - 0.5
    assert painted.crest_spread < 0.6 * seen.crest_spread


def test_blobs_are_round_and_broad_and_tiles_repeat(scene: Tensor) -> None:
    good = GoodPair(scene, scene, scene)
    made = {name: make_negative(name, good, seeded(6)) for name in ("grey_lines", "round_blobs", "repeated_pattern")}
    found = {name: measured(pair.rainy, pair.target) for name, pair in made.items()}
    assert found["round_blobs"].coherence < found["grey_lines"].coherence
    assert found["round_blobs"].band_4 > found["grey_lines"].band_4
    assert found["round_blobs"].blob_cover > found["grey_lines"].blob_cover
    assert found["repeated_pattern"].repetition > 0.7
    assert found["grey_lines"].repetition < 0.4


@pytest.mark.parametrize("size", [(96, 96), (97, 311), (200, 101)])
def test_every_statistic_is_a_number_or_named_unknown(size: tuple[int, int]) -> None:
    scene = torch.rand(1, 3, *size, generator=seeded(8)) * 0.4 + 0.2
    rainy = (scene + 0.5 * draw_streaks([[StreakStyle(900, 5, 2, 60, 3, 0.4)]], *size, seeded(2))).clamp(0, 1)
    found = measured(rainy, scene)
    assert len(found.vector()) == len(RainLayerStatistics.names())
    assert np.isfinite(found.vector()).all()
    assert measured(rainy, scene) == found
