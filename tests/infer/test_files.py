import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import derain
from derain.imaging.io import Picture, read_picture, write_picture
from derain.infer.files import Status, restore_files
from derain.infer.plan import plan_in_place, plan_jobs


@pytest.fixture(scope="module")
def restorer(checkpoint):
    return derain.load(checkpoint, device="cpu", precision="fp32")


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


def test_files_hold_what_the_restorer_gives(restorer, photos, tmp_path):
    outcomes = list(restore_files(restorer, plan_jobs([photos], tmp_path / "out").jobs))
    assert statuses(outcomes) == [Status.RESTORED] * 3
    for name in ("cat.png", "trip/evening/rocket.png"):
        expected = restorer(read_picture(photos / name).pixels)
        np.testing.assert_array_equal(read_picture(tmp_path / "out" / name).pixels, expected)


def test_files_that_are_done_are_skipped_and_left_untouched(restorer, photos, tmp_path):
    jobs = plan_jobs([photos], tmp_path / "out").jobs
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
    outcomes = {o.job.source.name: o for o in restore_files(restorer, plan_jobs([photos], tmp_path / "out").jobs)}
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
    outcomes = list(restore_files(restorer, plan_jobs([photos], out).jobs))
    assert statuses(outcomes) == [Status.RESTORED, Status.FAILED, Status.FAILED]
    for outcome in outcomes[1:]:
        assert outcome.reason.startswith(f"{outcome.job.output}: its folder cannot be written to (")


def test_comparing_later_keeps_what_was_restored(restorer, photos, tmp_path):
    out = tmp_path / "out"
    list(restore_files(restorer, plan_jobs([photos], out).jobs))
    before = (out / "cat.png").read_bytes()
    jobs = plan_jobs([photos], out, compare=True).jobs
    outcomes = list(restore_files(restorer, jobs))
    assert statuses(outcomes) == [Status.COMPARED] * 3
    assert sum(outcome.megapixels for outcome in outcomes) == 0
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
    outcomes = list(restore_files(restorer, plan_jobs(photos, out).jobs))
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
        list(restore_files(restorer, plan_jobs([photos], tmp_path / "out").jobs, on_tile=interrupt))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_was_not_made_from_the_photograph_is_left_alone_and_listed(restorer, photos, tmp_path, overwrite):
    out = tmp_path / "out"
    (out / "compare").mkdir(parents=True)
    (out / "cat.png").write_bytes(b"somebody's own")
    (out / "compare" / "rocket.png.jpg").write_bytes(b"somebody's own")
    jobs = plan_jobs([photos / "cat.png", photos / "trip/evening/rocket.png"], out, compare=True).jobs
    outcomes = list(restore_files(restorer, jobs, overwrite))
    assert statuses(outcomes) == [Status.FAILED] * 2
    assert "cat.png is there already" in outcomes[0].reason
    assert (out / "cat.png").read_bytes() == b"somebody's own"
    assert (out / "compare" / "rocket.png.jpg").read_bytes() == b"somebody's own"


def test_another_photograph_of_the_same_name_is_not_taken_for_done(restorer, photos, tmp_path):
    list(restore_files(restorer, plan_jobs([photos / "cat.png"], tmp_path / "out").jobs))
    before = (tmp_path / "out" / "cat.png").read_bytes()
    (photos / "trip/evening/rocket.png").rename(photos / "trip/cat.png")
    (outcome,) = restore_files(restorer, plan_jobs([photos / "trip/cat.png"], tmp_path / "out").jobs)
    assert outcome.status is Status.FAILED
    assert "photos/cat.png" in outcome.reason
    assert (tmp_path / "out" / "cat.png").read_bytes() == before


def test_a_stop_right_after_a_write_leaves_a_result_that_is_known(restorer, photos, tmp_path, monkeypatch):
    def write_and_stop(path, picture):
        write_picture(path, picture)
        raise KeyboardInterrupt

    jobs = plan_jobs([photos / "cat.png"], tmp_path / "out").jobs
    monkeypatch.setattr("derain.infer.files.write_picture", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        list(restore_files(restorer, jobs))
    assert statuses(restore_files(restorer, jobs)) == [Status.SKIPPED]


def test_a_lack_of_memory_fails_one_picture_and_says_so(restorer, photos, tmp_path, monkeypatch):
    restore = restorer.restore

    def restore_greedily(pixels, on_tile=None):
        return torch.empty(1 << 50) if pixels.shape[0] == 150 else restore(pixels, on_tile=on_tile)

    monkeypatch.setattr(restorer, "restore", restore_greedily)
    outcomes = list(restore_files(restorer, plan_jobs([photos], tmp_path / "out").jobs))
    assert statuses(outcomes) == [Status.FAILED, Status.RESTORED, Status.RESTORED]
    assert "--tile" in outcomes[0].reason
    assert "allocate" in outcomes[0].reason


def test_other_errors_of_torch_fail_one_picture_with_their_text(restorer, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(restorer, "restore", lambda *_, **__: torch.zeros(2, 3) @ torch.zeros(2, 3))
    outcomes = list(restore_files(restorer, plan_jobs([photos], tmp_path / "out").jobs))
    assert statuses(outcomes) == [Status.FAILED] * 3
    assert "mat1 and mat2" in outcomes[0].reason


def test_in_place_a_link_stays_a_link_and_nothing_is_kept_beside(restorer, photos):
    before = (photos / "cat.png").read_bytes()
    link = photos.parent / "link.png"
    link.symlink_to(photos / "cat.png")
    jobs = plan_in_place([link]).jobs
    assert statuses(restore_files(restorer, jobs)) == [Status.SKIPPED]
    assert statuses(restore_files(restorer, jobs, overwrite=True)) == [Status.RESTORED]
    assert link.is_symlink()
    assert (photos / "cat.png").read_bytes() != before
    assert not list(photos.glob(".*"))


def test_a_result_that_holds_fewer_bits_is_told(restorer, tmp_path):
    pixels = skimage.data.chelsea()[:60, :80].astype(np.uint16) * 257
    write_picture(tmp_path / "deep.png", Picture(pixels=pixels))
    for name, loses_depth in (("s.jpg", True), ("s.webp", True), ("s.png", False), ("s.tif", False)):
        (outcome,) = restore_files(restorer, plan_jobs([tmp_path / "deep.png"], tmp_path / name).jobs)
        assert (outcome.status, outcome.loses_depth) == (Status.RESTORED, loses_depth)
        assert (read_picture(tmp_path / name).bit_depth == 8) == loses_depth
