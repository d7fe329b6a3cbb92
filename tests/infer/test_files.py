import numpy as np
import pytest
import skimage.data
from PIL import Image

import derain
from derain.imaging.io import Picture, read_picture, write_picture
from derain.infer.files import Status, restore_files
from derain.infer.plan import plan_jobs


@pytest.fixture(scope="module")
def restorer(checkpoint):
    return derain.load(checkpoint, device="cpu", precision="fp32")


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


def test_files_hold_what_the_restorer_gives(restorer, photos, tmp_path):
    outcomes = list(restore_files(restorer, plan_jobs([photos], tmp_path / "out")))
    assert statuses(outcomes) == [Status.RESTORED] * 3
    for name in ("cat.png", "trip/evening/rocket.png"):
        expected = restorer(read_picture(photos / name).pixels)
        np.testing.assert_array_equal(read_picture(tmp_path / "out" / name).pixels, expected)


def test_files_that_are_done_are_skipped_and_left_untouched(restorer, photos, tmp_path):
    jobs = plan_jobs([photos], tmp_path / "out")
    list(restore_files(restorer, jobs))
    jobs[1].output.write_bytes(b"somebody's own")
    jobs[2].output.unlink()
    assert statuses(restore_files(restorer, jobs)) == [Status.SKIPPED, Status.SKIPPED, Status.RESTORED]
    assert jobs[1].output.read_bytes() == b"somebody's own"
    assert statuses(restore_files(restorer, jobs, overwrite=True)) == [Status.RESTORED] * 3
    assert jobs[1].output.read_bytes() != b"somebody's own"


def test_a_broken_file_does_not_stop_the_rest(restorer, photos, tmp_path):
    whole = (photos / "cat.png").read_bytes()
    (photos / "broken.png").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("not a picture")
    outcomes = {o.job.source.name: o for o in restore_files(restorer, plan_jobs([photos], tmp_path / "out"))}
    failed = {name for name, outcome in outcomes.items() if outcome.status is Status.FAILED}
    assert failed == {"broken.png", "empty.jpg", "text.jpg"}
    for name in failed:
        assert name in outcomes[name].reason
        assert not outcomes[name].job.output.exists()
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_place_that_cannot_be_written_fails_by_itself(restorer, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "trip").write_text("a file where a folder is needed")
    outcomes = list(restore_files(restorer, plan_jobs([photos], out)))
    assert statuses(outcomes) == [Status.RESTORED, Status.FAILED, Status.FAILED]


def test_comparing_later_keeps_what_was_restored(restorer, photos, tmp_path):
    out = tmp_path / "out"
    list(restore_files(restorer, plan_jobs([photos], out)))
    before = (out / "cat.png").read_bytes()
    jobs = plan_jobs([photos], out, compare=True)
    assert statuses(restore_files(restorer, jobs)) == [Status.RESTORED] * 3
    assert (out / "cat.png").read_bytes() == before
    assert all(job.compare.exists() for job in jobs)
    assert statuses(restore_files(restorer, jobs)) == [Status.SKIPPED] * 3


def test_depth_alpha_exif_and_profile_survive(restorer, tmp_path):
    pixels = skimage.data.chelsea()[:60, :80].astype(np.uint16) * 257
    alpha = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    write_picture(tmp_path / "deep.png", Picture(pixels=pixels, alpha=alpha, is_grey=False, exif=None, icc=None))
    exif = Image.Exif()
    exif[271] = "Maker"
    Image.fromarray(skimage.data.chelsea()[:60, :80]).save(tmp_path / "camera.jpg", exif=exif, icc_profile=b"\0" * 128)
    Image.fromarray(skimage.data.camera()[:60, :80]).save(tmp_path / "grey.png")
    out = tmp_path / "out"
    photos = [tmp_path / name for name in ("deep.png", "camera.jpg", "grey.png")]
    outcomes = list(restore_files(restorer, plan_jobs(photos, out)))
    assert statuses(outcomes) == [Status.RESTORED] * 3, outcomes
    deep = read_picture(out / "deep.png")
    assert deep.bit_depth == 16
    np.testing.assert_array_equal(deep.alpha, alpha)
    assert np.abs(deep.pixels.astype(int) - pixels).max() > 256
    with Image.open(out / "camera.jpg") as image:
        assert image.getexif()[271] == "Maker"
        assert image.info["icc_profile"] == b"\0" * 128
    with Image.open(out / "grey.png") as image:
        assert image.mode == "L"


def test_an_interrupt_leaves_nothing_half_written(restorer, photos, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(restore_files(restorer, plan_jobs([photos], tmp_path / "out"), on_tile=interrupt))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
