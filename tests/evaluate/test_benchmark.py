import numpy as np
import pytest
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio

import derain
from derain.data.pairs import Pair
from derain.evaluate.benchmark import UNTYPED, Failure, Score, benchmark, score_files
from derain.evaluate.report import markdown_table
from derain.imaging.io import Picture, read_picture, write_picture
from derain.imaging.metrics import Protocol


@pytest.fixture(scope="module")
def restorer(checkpoint):
    return derain.load(checkpoint, device="cpu", precision="fp32")


@pytest.fixture
def pair(tmp_path):
    clean = skimage.data.chelsea()[:120, :160].copy()
    rainy = np.clip(clean.astype(int) + np.random.default_rng(0).integers(0, 60, (120, 160, 1)), 0, 255).astype(
        np.uint8
    )
    for name, pixels in (("clean", clean), ("rainy", rainy)):
        write_picture(tmp_path / f"{name}.png", Picture(pixels=pixels))
    return Pair("cat", tmp_path / "rainy.png", tmp_path / "clean.png", "drs", "samples", "test", "cat")


def test_a_score_is_what_an_independent_metric_says_of_the_files(restorer, pair):
    score = score_files(restorer, pair, Protocol.RGB)
    clean, rainy = read_picture(pair.clean).pixels, read_picture(pair.rainy).pixels
    assert score.input_psnr == pytest.approx(peak_signal_noise_ratio(clean, rainy), abs=1e-3)
    assert score.output_psnr == pytest.approx(peak_signal_noise_ratio(clean, restorer(rainy)), abs=1e-3)
    assert (score.height, score.width, score.type, score.source) == (120, 160, "drs", "samples")
    assert score.seconds > 0


def test_protocols_differ(restorer, pair):
    on_rgb, on_y, mixed = (score_files(restorer, pair, protocol) for protocol in Protocol)
    assert on_rgb.input_psnr == mixed.input_psnr != on_y.input_psnr
    assert on_rgb.input_ssim != on_y.input_ssim == mixed.input_ssim


def test_a_pair_that_fails_is_named_and_the_rest_is_scored(restorer, pair, tmp_path):
    (tmp_path / "broken.png").write_bytes(pair.rainy.read_bytes()[:100])
    write_picture(tmp_path / "small.png", Picture(pixels=skimage.data.chelsea()[:50, :50].copy()))
    pairs = [
        Pair("broken", tmp_path / "broken.png", pair.clean, None, "s", "test", "a"),
        Pair("small", tmp_path / "small.png", pair.clean, None, "s", "test", "b"),
        Pair("real", pair.rainy, None, None, "s", "test", "c"),
        Pair("good", pair.rainy, pair.clean, None, "s", "test", "d"),
    ]
    results = list(benchmark(restorer, pairs, Protocol.UNIRAIN))
    reasons = {result.id: result.reason for result in results if isinstance(result, Failure)}
    assert list(reasons) == ["broken", "small", "real"]
    assert "broken.png" in reasons["broken"]
    assert "50 x 50" in reasons["small"]
    assert "160 x 120" in reasons["small"]
    assert "no clean picture" in reasons["real"]
    assert isinstance(results[3], Score)
    assert results[3].type == UNTYPED


def test_a_pair_that_lacks_memory_is_named_and_the_rest_is_scored(restorer, pair, monkeypatch):
    restore, calls = restorer.restore, []

    def restore_greedily(pixels):
        calls.append(pixels)
        return torch.empty(1 << 50) if len(calls) == 1 else restore(pixels)

    monkeypatch.setattr(restorer, "restore", restore_greedily)
    failure, score = benchmark(restorer, [pair, pair], Protocol.RGB)
    assert isinstance(failure, Failure)
    assert "memory" in failure.reason
    assert isinstance(score, Score)


def test_a_pair_without_rain_is_scored_and_leaves_means_finite(restorer, pair):
    clean = Pair("clean", pair.clean, pair.clean, "clean", "s", "test", "cat")
    scores = [score_files(restorer, one, Protocol.RGB) for one in (pair, clean)]
    assert scores[1].input_psnr == 100.0
    assert scores[1].output_psnr < 100
    table = markdown_table(scores, Protocol.RGB)
    assert "inf" not in table
    assert "nan" not in table
