import errno
import os
import threading

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import derain
from derain.errors import ImageError
from derain.imaging.io import Picture, read_picture, write_picture
from derain.infer.files import WRITES_PENDING, FileRun, Status
from derain.infer.plan import plan_in_place, plan_jobs
from derain.models.checkpoints import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def restorer(checkpoint):
    return derain.load(checkpoint, device="cpu", precision="fp32")


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


def test_files_hold_what_the_restorer_gives(restorer, photos, tmp_path):
    outcomes = list(FileRun(restorer, plan_jobs([photos], tmp_path / "out").jobs))
    assert statuses(outcomes) == [Status.RESTORED] * 3
    for name in ("cat.png", "trip/evening/rocket.png"):
        expected = restorer(read_picture(photos / name).pixels)
        np.testing.assert_array_equal(read_picture(tmp_path / "out" / name).pixels, expected)


def test_files_that_are_done_are_skipped_and_left_untouched(restorer, photos, tmp_path):
    jobs = plan_jobs([photos], tmp_path / "out").jobs
    list(FileRun(restorer, jobs))
    jobs[1].output.write_bytes(b"somebody's own")
    jobs[2].output.unlink()
    assert statuses(FileRun(restorer, jobs)) == [Status.SKIPPED, Status.SKIPPED, Status.RESTORED]
    assert jobs[1].output.read_bytes() == b"somebody's own"
    assert statuses(FileRun(restorer, jobs, overwrite=True)) == [Status.RESTORED] * 3
    assert jobs[1].output.read_bytes() != b"somebody's own"


def test_a_broken_file_does_not_stop_the_rest(restorer, photos, tmp_path):
    whole = (photos / "cat.png").read_bytes()
    (photos / "broken.png").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("not a picture")
    outcomes = {o.job.source.name: o for o in FileRun(restorer, plan_jobs([photos], tmp_path / "out").jobs)}
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
    outcomes = list(FileRun(restorer, plan_jobs([photos], out).jobs))
    assert statuses(outcomes) == [Status.RESTORED, Status.FAILED, Status.FAILED]
    for outcome in outcomes[1:]:
        assert outcome.reason.startswith(f"{outcome.job.output}: its folder cannot be written to (")


def test_comparing_later_keeps_what_was_restored(restorer, photos, tmp_path):
    out = tmp_path / "out"
    list(FileRun(restorer, plan_jobs([photos], out).jobs))
    before = (out / "cat.png").read_bytes()
    jobs = plan_jobs([photos], out, compare=True).jobs
    outcomes = list(FileRun(restorer, jobs))
    assert statuses(outcomes) == [Status.COMPARED] * 3
    assert sum(outcome.megapixels for outcome in outcomes) == 0
    assert (out / "cat.png").read_bytes() == before
    assert all(job.compare.exists() for job in jobs)
    assert statuses(FileRun(restorer, jobs)) == [Status.SKIPPED] * 3


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
    outcomes = list(FileRun(restorer, plan_jobs(photos, out).jobs))
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
        list(FileRun(restorer, plan_jobs([photos], tmp_path / "out").jobs, on_tile=interrupt))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_was_not_made_from_the_photograph_is_left_alone_and_listed(restorer, photos, tmp_path, overwrite):
    out = tmp_path / "out"
    (out / "compare").mkdir(parents=True)
    (out / "cat.png").write_bytes(b"somebody's own")
    (out / "compare" / "rocket.png.jpg").write_bytes(b"somebody's own")
    jobs = plan_jobs([photos / "cat.png", photos / "trip/evening/rocket.png"], out, compare=True).jobs
    outcomes = list(FileRun(restorer, jobs, overwrite=overwrite))
    assert statuses(outcomes) == [Status.FAILED] * 2
    assert "cat.png is there already" in outcomes[0].reason
    assert (out / "cat.png").read_bytes() == b"somebody's own"
    assert (out / "compare" / "rocket.png.jpg").read_bytes() == b"somebody's own"


def test_another_photograph_of_the_same_name_is_not_taken_for_done(restorer, photos, tmp_path):
    list(FileRun(restorer, plan_jobs([photos / "cat.png"], tmp_path / "out").jobs))
    before = (tmp_path / "out" / "cat.png").read_bytes()
    (photos / "trip/evening/rocket.png").rename(photos / "trip/cat.png")
    (outcome,) = FileRun(restorer, plan_jobs([photos / "trip/cat.png"], tmp_path / "out").jobs)
    assert outcome.status is Status.FAILED
    assert "photos/cat.png" in outcome.reason
    assert (tmp_path / "out" / "cat.png").read_bytes() == before


def test_a_stop_right_after_a_write_leaves_a_result_that_is_known(restorer, photos, tmp_path, monkeypatch):
    def write_and_stop(path, picture, quality):
        write_picture(path, picture, quality)
        raise KeyboardInterrupt

    jobs = plan_jobs([photos / "cat.png"], tmp_path / "out").jobs
    monkeypatch.setattr("derain.infer.files.write_picture", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        list(FileRun(restorer, jobs))
    assert statuses(FileRun(restorer, jobs)) == [Status.SKIPPED]


def test_a_result_that_could_not_be_replaced_is_not_taken_for_the_new_one(restorer, photos, tmp_path, monkeypatch):
    jobs = plan_jobs([photos / "trip/coffee.jpg"], tmp_path / "out").jobs
    list(FileRun(restorer, jobs, quality=80))

    def fail(*_):
        raise ImageError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("derain.infer.files.write_picture", fail)
        assert statuses(FileRun(restorer, jobs, quality=95, overwrite=True)) == [Status.FAILED]
    assert statuses(FileRun(restorer, jobs, quality=80)) == [Status.SKIPPED]
    (outcome,) = FileRun(restorer, jobs, quality=95)
    assert "quality 80, not 95" in outcome.reason


def test_a_stop_while_a_result_is_awaited_counts_it(restorer, photos, tmp_path):
    """Ctrl-C comes while the last photograph is being written."""
    jobs = plan_jobs([photos / "cat.png"], tmp_path / "out").jobs

    class Stopped(FileRun):
        is_stopped = False

        def _collect(self, pending):
            if not self.is_stopped:
                self.is_stopped = True
                pending[0].result = interrupt_once(pending[0])
            return super()._collect(pending)

    run = Stopped(restorer, jobs)
    with pytest.raises(KeyboardInterrupt):
        list(run)
    assert statuses(run.outcomes) == [Status.RESTORED]
    assert not run.not_done


def interrupt_once(future):
    result, calls = future.result, []

    def wait():
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return result()

    return wait


def test_a_lack_of_memory_fails_one_picture_and_says_so(restorer, photos, tmp_path, monkeypatch):
    restore = restorer.restore

    def restore_greedily(pixels, on_tile=None):
        return torch.empty(1 << 50) if pixels.shape[0] == 150 else restore(pixels, on_tile=on_tile)

    monkeypatch.setattr(restorer, "restore", restore_greedily)
    outcomes = list(FileRun(restorer, plan_jobs([photos], tmp_path / "out").jobs))
    assert statuses(outcomes) == [Status.FAILED, Status.RESTORED, Status.RESTORED]
    assert "--tile" in outcomes[0].reason
    assert "allocate" in outcomes[0].reason


def test_other_errors_of_torch_fail_one_picture_with_their_text(restorer, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(restorer, "restore", lambda *_, **__: torch.zeros(2, 3) @ torch.zeros(2, 3))
    outcomes = list(FileRun(restorer, plan_jobs([photos], tmp_path / "out").jobs))
    assert statuses(outcomes) == [Status.FAILED] * 3
    assert "mat1 and mat2" in outcomes[0].reason


def test_in_place_a_link_stays_a_link_and_nothing_is_kept_beside(restorer, photos):
    before = (photos / "cat.png").read_bytes()
    link = photos.parent / "link.png"
    link.symlink_to(photos / "cat.png")
    jobs = plan_in_place([link]).jobs
    assert statuses(FileRun(restorer, jobs)) == [Status.SKIPPED]
    assert statuses(FileRun(restorer, jobs, overwrite=True)) == [Status.RESTORED]
    assert link.is_symlink()
    assert (photos / "cat.png").read_bytes() != before
    assert not list(photos.glob(".*"))


def test_a_result_that_holds_fewer_bits_is_warned_of(restorer, tmp_path):
    pixels = skimage.data.chelsea()[:60, :80].astype(np.uint16) * 257
    write_picture(tmp_path / "deep.png", Picture(pixels=pixels))
    for name, loses_depth in (("s.jpg", True), ("s.webp", True), ("s.png", False), ("s.tif", False)):
        (outcome,) = FileRun(restorer, plan_jobs([tmp_path / "deep.png"], tmp_path / name).jobs)
        assert outcome.status is Status.RESTORED
        assert any("16 bits" in warning for warning in outcome.warnings) == loses_depth
        assert (read_picture(tmp_path / name).bit_depth == 8) == loses_depth


def test_what_the_format_cannot_hold_is_refused_before_the_network_runs(restorer, tmp_path, monkeypatch):
    pixels = np.ascontiguousarray(skimage.data.chelsea()[:60, :80])
    write_picture(tmp_path / "alpha.png", Picture(pixels, alpha=np.ascontiguousarray(pixels[..., 0])))
    write_picture(tmp_path / "plain.png", Picture(pixels))
    restored = []
    restore = restorer.restore
    monkeypatch.setattr(restorer, "restore", lambda *a, **b: restored.append(1) or restore(*a, **b))
    jobs = plan_jobs([f"{tmp_path}/*.png"], tmp_path / "out", format="jpg").jobs
    outcomes = list(FileRun(restorer, jobs))
    assert statuses(outcomes) == [Status.FAILED, Status.RESTORED]
    assert "JPEG holds no transparency" in outcomes[0].reason
    assert len(restored) == 1


def test_a_result_of_another_setting_is_not_taken_for_done(restorer, photos, tmp_path):
    jobs = plan_jobs([photos / "trip"], tmp_path / "out").jobs  # a JPEG and a PNG, whose quality is none
    assert statuses(FileRun(restorer, jobs, quality=80)) == [Status.RESTORED] * 2
    smaller = jobs[0].output.read_bytes()
    outcomes = list(FileRun(restorer, jobs, quality=95))
    assert statuses(outcomes) == [Status.FAILED, Status.SKIPPED]
    assert "quality 80, not 95" in outcomes[0].reason
    assert jobs[0].output.read_bytes() == smaller
    assert statuses(FileRun(restorer, jobs, quality=95, overwrite=True)) == [Status.RESTORED] * 2
    assert len(jobs[0].output.read_bytes()) > len(smaller)
    assert statuses(FileRun(restorer, jobs, quality=95)) == [Status.SKIPPED] * 2


def test_a_result_of_another_model_is_not_taken_for_done(restorer, checkpoint, photos, tmp_path):
    jobs = plan_jobs([photos / "cat.png"], tmp_path / "out").jobs
    list(FileRun(restorer, jobs))
    network, header = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "copy.safetensors", network, header.model_copy(update={"notes": "a copy"}))
    with torch.no_grad():
        network.head.weight[0] += 1e-3
    save_checkpoint(tmp_path / "trained_on.safetensors", network, header)
    same, other = (derain.load(tmp_path / f"{name}.safetensors", precision="fp32") for name in ("copy", "trained_on"))
    assert statuses(FileRun(same, jobs)) == [Status.SKIPPED]
    (outcome,) = FileRun(other, jobs)
    assert outcome.status is Status.FAILED
    assert f"weights {restorer.weights_digest[:12]}, not {other.weights_digest[:12]}" in outcome.reason


def test_the_next_photograph_is_read_and_the_last_written_while_the_network_works(restorer, photos, tmp_path):
    """The network's turn on each photograph only ends once its neighbours have been read and written."""
    jobs = plan_jobs([photos], tmp_path / "out").jobs
    read, written = threading.Event(), threading.Event()

    class Watched(FileRun):
        def _read(self, job):
            task = super()._read(job)
            if job is jobs[1]:
                read.set()
            return task

        def _write(self, task):
            outcome = super()._write(task)
            if task.job is jobs[0]:
                written.set()
            return outcome

    def on_tile(job, *_):
        assert job is not jobs[0] or read.wait(60)
        assert job is not jobs[1] or written.wait(60)

    outcomes = list(Watched(restorer, jobs, on_tile=on_tile))
    assert [outcome.job for outcome in outcomes] == jobs
    assert statuses(outcomes) == [Status.RESTORED] * 3


def test_a_stop_from_outside_counts_what_is_being_written(restorer, photos, tmp_path):
    jobs = plan_jobs([photos], tmp_path / "out").jobs
    run = FileRun(restorer, jobs)
    next(run)
    run.close()
    written = [job for job in jobs if job.output.exists()]
    assert [outcome.job for outcome in run.outcomes] == written
    assert [*written, *run.not_done] == jobs
    assert not list((tmp_path / "out").rglob("*.part"))


def test_a_full_disk_ends_the_run_after_a_few(restorer, photos, tmp_path, monkeypatch):
    for index in range(20):
        (photos / f"more{index:02}.png").write_bytes((photos / "cat.png").read_bytes())
    jobs = plan_jobs([photos], tmp_path / "out").jobs

    def write_until_full(path, picture, quality):
        if path not in [job.output for job in jobs[:2]]:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise ImageError(f"{path}: cannot be written ({full.strerror})") from full
        write_picture(path, picture, quality)

    monkeypatch.setattr("derain.infer.files.write_picture", write_until_full)
    run = FileRun(restorer, jobs)
    outcomes = list(run)
    assert statuses(outcomes[:5]) == [Status.RESTORED] * 2 + [Status.FAILED] * 3
    assert "No space left" in run.stopped_by
    assert len(run.outcomes) <= 5 + WRITES_PENDING + 1
    assert list(run.not_done) == jobs[len(run.outcomes) :]
    assert len(run.not_done) > 10


def test_failures_of_other_kinds_do_not_end_the_run(restorer, photos, tmp_path):
    for index in range(6):
        (photos / f"broken{index}.png").write_bytes(b"broken")
    run = FileRun(restorer, plan_jobs([photos], tmp_path / "out").jobs)
    assert len(list(run)) == 9
    assert not run.stopped_by


def test_a_damaged_photograph_is_restored_only_where_that_is_allowed(restorer, tmp_path):
    path = tmp_path / "hole.jpg"
    write_picture(path, Picture(np.ascontiguousarray(skimage.data.chelsea()[:96, :128])))
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\0" * 400 + content[middle + 400 :])
    jobs = plan_jobs([path], tmp_path / "out").jobs
    (refused,) = FileRun(restorer, jobs)
    assert refused.status is Status.FAILED
    assert refused.reason.startswith(f"{path}: this JPEG file is truncated or damaged")
    assert refused.reason.endswith("--allow-damaged")
    (outcome,) = FileRun(restorer, jobs, allow_damaged=True)
    assert outcome.status is Status.RESTORED
    assert "damaged, pixels are missing" in outcome.warnings[0]
    assert read_picture(jobs[0].output).pixels.shape == (96, 128, 3)


def test_no_option_is_offered_that_does_not_help(restorer, tmp_path):
    path = tmp_path / "cut.webp"
    write_picture(path, Picture(np.ascontiguousarray(skimage.data.chelsea()[:96, :128])))
    path.write_bytes(path.read_bytes()[:-500])
    (outcome,) = FileRun(restorer, plan_jobs([path], tmp_path / "out").jobs)
    assert "truncated or damaged" in outcome.reason
    assert "--allow-damaged" not in outcome.reason


def test_what_the_result_does_not_hold_is_warned_of(restorer, tmp_path):
    exif = Image.Exif()
    exif[271] = "Maker"
    photo = Image.fromarray(skimage.data.chelsea()[:60, :80])
    photo.save(tmp_path / "camera.jpg", exif=exif, comment=b"a cat")
    photo.save(tmp_path / "plain.jpg")
    for format, lost in (("bmp", "EXIF, comment"), ("webp", "comment"), ("png", None)):
        jobs = plan_jobs([f"{tmp_path}/*.jpg"], tmp_path / format, format=format).jobs
        camera, plain = (outcome.warnings for outcome in FileRun(restorer, jobs))
        assert [warning.partition(" not kept")[0] for warning in camera] == ([lost] if lost else [])
        assert plain == ()


def test_a_jpeg_keeps_its_quality_unless_another_is_asked_for(restorer, tmp_path):
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "low.jpg", quality=40)
    sizes = []
    for quality in (None, 40, 95):
        (outcome,) = FileRun(restorer, plan_jobs([tmp_path / "low.jpg"], tmp_path / f"{quality}").jobs, quality=quality)
        sizes.append(outcome.job.output.stat().st_size)
        with Image.open(outcome.job.output) as image:
            kept = image.quantization
        with Image.open(tmp_path / "low.jpg") as image:
            assert (kept == image.quantization) == (quality != 95)
    assert sizes[0] < sizes[2] / 2
