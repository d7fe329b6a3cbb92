"""From folders to rows: what is taken, refused, known and broken, and what is left after an index was stopped."""

import errno
import io
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import skimage.data
from PIL import Image
from pixel_models import Log, PixelCaptioner, PixelExpander, ThumbnailEncoder, WordEncoder, WordPicker, crop, save

from derain.backends.keybert import WholeText
from derain.backends.minilm import MiniLmEncoder
from derain.backends.view import file_digest, read_view
from derain.distill.answers.cache import AnswerCache
from derain.distill.answers.cached import cached_describers
from derain.distill.describe.builtin_captioner import BuiltinCaptioner
from derain.distill.describe.builtin_visual import BuiltinVisualEncoder
from derain.distill.describe.description import Describers
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.indexing import index_photos
from derain.distill.knowledge.prefilter import Prefilter, PrefilterSettings
from derain.distill.knowledge.record import ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.knowledge.structure import luminance
from derain.distill.knowledge.upkeep import leave_out_low_quality
from derain.errors import DistillError, ModelError, QuestionError


def pixel_models(folder, expands=True):
    log = Log(folder)
    expander = PixelExpander(log) if expands else None
    return Describers(PixelCaptioner(log), expander, WordPicker(log), WordEncoder(log), ThumbnailEncoder(log))


def new_base(folder, models):
    return KnowledgeBase.create(folder / "base", BaseIdentities.of(models))


def pieces(folder, count):
    return [save(folder / f"{number:02}.png", crop(number, 64, 80)) for number in range(count)]


def everything(base):
    return [
        {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(one).items()}
        for one in base.list(limit=1000)
    ]


def lax(**changes):
    return Prefilter(PrefilterSettings(**({"shortest_side": 60, "quality": 0, "quality_percentile": 0} | changes)))


def test_photographs_become_records_by_the_models_that_come_with_the_package(tmp_path):
    photos = tmp_path / "street"
    samples = {"cat": skimage.data.chelsea(), "coffee": skimage.data.coffee(), "rocket": skimage.data.rocket()}
    for name, pixels in samples.items():
        save(photos / f"{name}.png", pixels)
    save(photos / "tiny.png", skimage.data.chelsea()[:40, :40].copy())
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / ".hidden.png").write_bytes(b"")
    (photos / "notes.txt").write_text("no picture")
    models = Describers(BuiltinCaptioner(), None, WholeText(), MiniLmEncoder(), BuiltinVisualEncoder())
    base = new_base(tmp_path, models)
    settings = PrefilterSettings(quality_percentile=0, exposure=0, quality=0, sharpness=0, refuse_text=False)
    steps = []
    report = index_photos(
        [photos], base, models, Prefilter(settings), lambda *step: steps.append(step), {photos / "rocket.png": "nrs"}, 2
    )
    assert report.found == 5
    assert report.known == 0
    assert report.added.total() == 3
    assert report.filtered == {"too_small": 1}
    assert list(report.unreadable) == [photos / "broken.jpg"]
    assert steps[-1] == (5, 5)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)

    one = base.get(file_digest(photos / "rocket.png"))
    view = read_view(photos / "rocket.png")
    (caption,) = models.captioner.caption([view])
    assert (one.type, one.light, one.source, one.status) == ("nrs", "night", "street", ReviewStatus.UNREVIEWED)
    assert (one.width, one.height) == (640, 427)
    assert one.caption == one.description == caption
    assert one.text == pytest.approx(models.text_encoder.encode_texts([caption])[0], abs=1e-5)
    assert one.visual == pytest.approx(models.visual_encoder.encode_views([view])[0], abs=1e-5)
    assert (one.luminance == luminance(view)).all()
    assert 0 < one.quality <= 1
    with Image.open(io.BytesIO(one.thumbnail)) as image:
        assert (image.format, image.size) == ("JPEG", (256, 171))
    (small,) = base.list(status=ReviewStatus.FILTERED)
    assert small.reason.startswith("too_small: 40 x 40")


def test_a_second_index_asks_no_model_again_and_tries_broken_files_again(tmp_path):
    models, photos = pixel_models(tmp_path), tmp_path / "photos"
    base = new_base(tmp_path, models)
    pieces(photos, 6)
    save(photos / "small.png", crop(0)[:20, :20].copy())
    (photos / "again.png").write_bytes((photos / "03.png").read_bytes())
    (photos / "late.png").write_bytes(b"")
    first = index_photos([photos], base, models, lax())
    assert (first.added.total(), first.filtered, first.known) == (6, {"too_small": 1}, 1)
    calls, before = len(Log(tmp_path).lines()), everything(base)
    assert len([role for role, _ in Log(tmp_path).lines() if role == "captioner"]) == 6
    second = index_photos([photos], base, models, lax())
    assert (second.added.total(), second.filtered.total(), second.known, len(second.unreadable)) == (0, 0, 8, 1)
    assert len(Log(tmp_path).lines()) == calls
    assert everything(base) == before
    save(photos / "late.png", crop(40, 64, 80))
    third = index_photos([photos], base, models, lax())
    assert (third.added.total(), third.known, len(third.unreadable)) == (1, 8, 0)


def test_descriptions_are_keywords_of_the_expansion_or_else_of_the_caption(tmp_path):
    pieces(tmp_path / "photos", 2)
    for expands in (True, False):
        models = pixel_models(tmp_path, expands)
        base = new_base(tmp_path / str(expands), models)
        index_photos([tmp_path / "photos"], base, models)
        for one in base.list():
            text = one.expansion if expands else one.caption
            assert bool(one.expansion) is expands
            assert (one.keywords,) == tuple(models.keywords.extract([text]))
            assert one.text == pytest.approx(models.text_encoder.encode_texts([one.description])[0], abs=1e-6)


def test_a_base_of_other_models_is_refused_before_anything_is_asked(tmp_path):
    base = new_base(tmp_path, pixel_models(tmp_path))
    with pytest.raises(DistillError, match="expander of the base is pixel-expander@1, wanted is none"):
        index_photos(pieces(tmp_path / "photos", 1), base, pixel_models(tmp_path, expands=False))
    assert Log(tmp_path).lines() == []


def test_a_model_that_is_down_leaves_finished_batches_in_the_base(tmp_path):
    models = pixel_models(tmp_path)
    base = new_base(tmp_path, models)
    photos = pieces(tmp_path / "photos", 9)

    def shut(done, total):
        assert total == 9
        if done == 6:
            (tmp_path / "shut-visual_encoder").touch()

    with pytest.raises(ModelError, match="visual_encoder is shut"):
        index_photos(photos, base, models, None, shut, batch_rows=3)
    assert base.count() == 6
    (tmp_path / "shut-visual_encoder").unlink()
    report = index_photos(photos, base, models, None, batch_rows=3)
    assert (report.known, report.added.total()) == (6, 3)


INDEXING = """
import sys
from pathlib import Path
from test_indexing import index_photos, KnowledgeBase, BaseIdentities, lax, pixel_models
folder, photos = Path(sys.argv[1]), Path(sys.argv[2])
models = pixel_models(folder)
base = KnowledgeBase.open_or_create(folder / "base", BaseIdentities.of(models))
index_photos([photos], base, models, lax(), lambda done, total: print(done, flush=True), batch_rows=3)
"""


@pytest.mark.slow
def test_killed_and_taken_up_it_ends_as_if_it_had_not_been(tmp_path):
    photos, whole, torn = (tmp_path / name for name in ("photos", "whole", "torn"))
    pieces(photos, 30)
    save(photos / "07b.png", crop(7, 64, 80)[1:, 1:].copy())
    for folder in (whole, torn):
        folder.mkdir()
    models = pixel_models(whole)
    base = new_base(whole, models)
    index_photos([photos], base, models, lax(), batch_rows=3)
    process = subprocess.Popen(
        [sys.executable, "-c", INDEXING, str(torn), str(photos)], cwd=Path(__file__).parent, stdout=subprocess.PIPE
    )
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    models = pixel_models(torn)
    again = KnowledgeBase.open(torn / "base", BaseIdentities.of(models))
    assert again.count() >= 12
    report = index_photos([photos], again, models, lax(), batch_rows=3)
    assert report.known + report.added.total() + report.filtered.total() == 31
    assert everything(again) == everything(base)
    captions = [key for role, key in Log(torn).lines() if role == "captioner"]
    assert len(captions) - len(set(captions)) <= 3  # the batch in work


def test_the_worst_of_each_type_are_left_out_whatever_the_order(tmp_path):
    models, photos = pixel_models(tmp_path), pieces(tmp_path / "photos", 8)
    types = {photo: ("drs", "nrd")[number % 2] for number, photo in enumerate(photos)}
    at_once, in_steps = (new_base(tmp_path / name, models) for name in ("once", "steps"))
    index_photos(photos, at_once, models, lax(quality_percentile=40, near_bits=-1), types=types)
    for part in (photos[5:], photos[:5]):
        index_photos(part, in_steps, models, lax(quality_percentile=40, near_bits=-1), types=types)
    assert {one.digest for one in at_once.list(status=ReviewStatus.FILTERED)} == {
        one.digest for one in in_steps.list(status=ReviewStatus.FILTERED)
    }
    for kind in ("drs", "nrd"):
        out, left = (
            at_once.list(type=kind, status=status) for status in (ReviewStatus.FILTERED, ReviewStatus.UNREVIEWED)
        )
        assert (len(out), len(left)) == (2, 2)
        assert max(one.quality for one in out) < min(one.quality for one in left)
        assert all(one.reason.startswith("low_for_type: ") for one in out)
    assert len(at_once.vectors()) == 4
    assert leave_out_low_quality(at_once, 0) == {}
    assert len(at_once.vectors()) == 8


def test_what_is_left_out_for_its_quality_stays_out_however_many_others_a_person_accepts_or_rejects(tmp_path):
    models, photos = pixel_models(tmp_path), pieces(tmp_path / "photos", 10)
    base, types = new_base(tmp_path, models), dict.fromkeys(photos, "drs")
    prefilter = lax(quality_percentile=30, near_bits=-1)
    index_photos(photos, base, models, prefilter, types=types)
    out = base.list(status=ReviewStatus.FILTERED)
    passed = base.list(status=ReviewStatus.UNREVIEWED)
    assert (len(out), len(passed)) == (3, 7)
    base.set_statuses({one.digest: (ReviewStatus.ACCEPTED, "") for one in passed[:4]})
    base.set_statuses({one.digest: (ReviewStatus.REJECTED, "a painting") for one in passed[4:]})
    before = everything(base)
    index_photos(photos, base, models, prefilter, types=types)
    assert everything(base) == before
    assert leave_out_low_quality(base, 90) == {"drs": 3}, "not those of which a person said something"
    assert (base.count(status=ReviewStatus.ACCEPTED), base.count(status=ReviewStatus.REJECTED)) == (4, 3)
    assert leave_out_low_quality(base, 0) == {}
    assert base.count(status=ReviewStatus.UNREVIEWED) == 3


def test_refused_photographs_are_measured_again_once_they_were_removed(tmp_path):
    models, photos = pixel_models(tmp_path), pieces(tmp_path / "photos", 3)
    base = new_base(tmp_path, models)
    assert index_photos(photos, base, models, lax(shortest_side=70)).filtered == {"too_small": 3}
    assert index_photos(photos, base, models, lax()).known == 3, "those that the base knows are passed over"
    assert base.remove_all(ReviewStatus.FILTERED, "too_small") == 3
    assert index_photos(photos, base, models, lax()).added.total() == 3


@pytest.mark.parametrize("scheme", ["file", "file-object-store"])
def test_a_base_may_lie_at_a_uri(tmp_path, scheme):
    models, photos = pixel_models(tmp_path), pieces(tmp_path / "photos", 3)
    uri = f"{scheme}://{tmp_path}/there/base"
    with pytest.raises(DistillError, match="no knowledge base is there"):
        KnowledgeBase.open(uri)
    assert not (tmp_path / "there").exists(), "looking makes no folder"
    base = KnowledgeBase.open_or_create(uri, BaseIdentities.of(models))
    assert index_photos(photos, base, models, lax()).added.total() == 3
    again = KnowledgeBase.open(uri, BaseIdentities.of(models))
    assert {Path(one.path) for one in again.list()} == set(photos)
    assert len(again.vectors()) == 3
    assert again.remove([file_digest(photos[0])]) == 1
    assert base.count() == 2
    with pytest.raises(DistillError, match="is there already"):
        KnowledgeBase.create(uri, BaseIdentities.of(models))


def test_what_cannot_be_read_is_named_and_counted(tmp_path, monkeypatch):
    models, photos = pixel_models(tmp_path), tmp_path / "photos"
    pieces(photos, 2)
    os.mkfifo(photos / "pipe.jpg")
    os.mkfifo(photos / "pipe.txt")
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (photos / "closed").mkdir()
    whole = save(photos / "half.jpg", skimage.data.coffee()).read_bytes()
    (photos / "half.jpg").write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))  # decoders open it
    save(tmp_path / "elsewhere" / "noending.png", crop(50, 64, 80)).rename(tmp_path / "elsewhere" / "noending")
    (photos / "album").symlink_to(tmp_path / "elsewhere")
    listdir = os.listdir

    def refusing(place):  # whatever the rights, who runs the tests as root may read everything
        if Path(place).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return listdir(place)

    monkeypatch.setattr(os, "listdir", refusing)
    report = index_photos([photos], new_base(tmp_path, models), models, lax())
    assert (report.found, report.added.total()) == (7, 3)
    reasons = {path.name: reason for path, reason in report.unreadable.items()}
    assert reasons.keys() == {"pipe.jpg", "gone.jpg", "closed", "half.jpg"}
    assert "Permission denied" in reasons["closed"]
    assert "nowhere.jpg" in reasons["gone.jpg"]
    assert "pipe" in reasons["pipe.jpg"]
    assert "damaged" in reasons["half.jpg"]


def test_one_picture_that_a_model_cannot_describe_is_counted_and_the_rest_goes_in(tmp_path):
    models = pixel_models(tmp_path)
    base = new_base(tmp_path, models)
    photos = pieces(tmp_path / "photos", 9)
    for photo in (photos[1], photos[4]):
        (tmp_path / f"odd-{file_digest(photo)}").touch()
    report = index_photos(photos, base, models, lax(), batch_rows=4)
    assert report.added.total() == base.count() == 7
    assert list(report.not_described) == [photos[1], photos[4]]
    assert "ZeroDivisionError: odd picture" in report.not_described[photos[1]]
    (tmp_path / f"odd-{file_digest(photos[1])}").unlink()
    again = index_photos(photos, base, models, lax(), batch_rows=4)
    assert (again.added.total(), again.known, list(again.not_described)) == (1, 7, [photos[4]])


class FussyCaptioner(PixelCaptioner):
    """Has an error for some pictures."""

    fails: ClassVar = {}

    def caption(self, views):
        for view in views:
            if view.digest in self.fails:
                raise self.fails[view.digest]
        return super().caption(views)


@pytest.mark.parametrize(("error", "ends"), [(QuestionError("odd"), False), (ModelError("down"), True)])
def test_only_a_model_that_fails_several_times_in_a_row_ends_an_index(tmp_path, monkeypatch, error, ends):
    models = replace(pixel_models(tmp_path), captioner=FussyCaptioner(Log(tmp_path)))
    base = new_base(tmp_path, models)
    photos = pieces(tmp_path / "photos", 12)
    monkeypatch.setattr(FussyCaptioner, "fails", {file_digest(photos[n]): error for n in (1, 2, 5, 6, 7, 8)})
    if ends:
        with pytest.raises(ModelError, match="down"):
            index_photos(photos, base, models, lax(), batch_rows=4)
        assert base.count() == 3
    else:
        report = index_photos(photos, base, models, lax(), batch_rows=4)
        assert (report.added.total(), len(report.not_described)) == (6, 6)


def test_photographs_that_moved_are_found_again_and_manual_types_are_taken_over(tmp_path):
    models, old, new = pixel_models(tmp_path), tmp_path / "old", tmp_path / "new"
    base = new_base(tmp_path, models)
    photos = pieces(old, 3)
    index_photos([old], base, models, lax(), types=dict.fromkeys(photos, "drs"))
    copy = tmp_path / "copies" / "copy.png"
    copy.parent.mkdir()
    copy.write_bytes(photos[0].read_bytes())
    calls = len(Log(tmp_path).lines())
    assert index_photos([copy], base, models, lax()).moved == 0  # the first still lies where it lay
    old.rename(new)
    report = index_photos([new], base, models, lax(), types={new / "01.png": "nrd", new / "02.png": "drs"})
    assert (report.known, report.moved, report.retyped) == (3, 3, 1)
    found = {Path(one.path): (one.type, one.light, one.source) for one in base.list()}
    assert found == {
        new / "00.png": ("drs", "day", "new"),
        new / "01.png": ("nrd", "night", "new"),
        new / "02.png": ("drs", "day", "new"),
    }
    assert len(base.vectors()) == 3
    assert len(Log(tmp_path).lines()) == calls
    again = index_photos([new], base, models, lax())
    assert (again.moved, again.retyped) == (0, 0)


def test_another_index_of_the_same_photographs_asks_no_model_again(tmp_path):
    models, photos = pixel_models(tmp_path), pieces(tmp_path / "photos", 5)
    with AnswerCache(tmp_path / "answers") as answers:
        first, second = (new_base(tmp_path / name, models) for name in ("first", "second"))
        index_photos(photos, first, cached_describers(models, answers), lax())
        asked = len(Log(tmp_path).lines())
        index_photos(photos, second, cached_describers(models, answers), lax())
    assert asked > 0
    assert len(Log(tmp_path).lines()) == asked
    assert everything(first) == everything(second)
