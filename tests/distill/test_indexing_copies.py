"""Photographs that are nearly the same: which of them stays, and what becomes of the other."""

from dataclasses import replace

import numpy as np
import skimage.data
from PIL import Image, ImageFilter
from pixel_models import Log, crop, save
from test_indexing import everything, lax, new_base, pieces, pixel_models

from derain.backends.view import file_digest, read_view
from derain.distill.knowledge.indexing import index_photos
from derain.distill.knowledge.prefilter import Prefilter
from derain.distill.knowledge.record import ReviewStatus
from derain.distill.measure.quality import measure_quality


def test_near_duplicates_of_what_the_base_has_are_refused_and_named(tmp_path):
    models, photo = pixel_models(tmp_path), tmp_path / "photos" / "cat.png"
    base = new_base(tmp_path, models)
    save(photo, skimage.data.chelsea())
    index_photos([photo], base, models, lax())
    copy = save(tmp_path / "more" / "cat.jpg", skimage.data.chelsea())
    report = index_photos([copy.parent], base, models, lax())
    assert report.filtered == {"near_duplicate": 1}
    assert file_digest(photo) in base.get(file_digest(copy)).reason


def test_the_better_of_two_copies_stays_though_the_poor_one_came_first(tmp_path):
    models, photos = pixel_models(tmp_path), tmp_path / "photos"
    base = new_base(tmp_path, models)
    sharp = np.ascontiguousarray(skimage.data.chelsea()[:288, :384])
    with Image.fromarray(sharp) as image:
        soft = np.asarray(image.resize((96, 72), Image.Resampling.BOX).resize((384, 288), Image.Resampling.BILINEAR))
    poor, better = save(photos / "1.png", soft), save(photos / "2.png", sharp)
    others = [skimage.data.coffee()[:288, :384], skimage.data.astronaut()[:288, :384]]
    others = [save(photos / f"{n}.png", pixels.copy()) for n, pixels in enumerate(others, 3)]
    types = dict.fromkeys([poor, better, *others], "drs")
    quality = [measure_quality(read_view(path)).score for path in (poor, better, *others)]
    assert quality[0] < min(quality[1:])
    strict = {"quality_percentile": 20, "sharpness": 0, "exposure": 0, "refuse_text": False}
    index_photos([photos], base, models, lax(**strict), types=types)
    assert base.get(file_digest(better)).status is ReviewStatus.UNREVIEWED
    out = base.get(file_digest(poor))
    assert out.status is ReviewStatus.FILTERED
    assert out.reason.startswith("near_duplicate")
    assert file_digest(better) in out.reason
    before = everything(base)
    assert index_photos([photos], base, models, lax(**strict), types=types).known == 4
    assert everything(base) == before


def test_two_copies_below_the_quality_limit_do_not_take_turns(tmp_path):
    models, photos = pixel_models(tmp_path), tmp_path / "photos"
    base = new_base(tmp_path, models)
    pieces(photos, 6)
    poor = np.asarray(Image.fromarray(crop(30, 64, 80)).filter(ImageFilter.GaussianBlur(2)))
    save(photos / "poor.png", poor)
    save(photos / "poor_again.png", poor[1:, 1:].copy())
    types = dict.fromkeys(photos.iterdir(), "drs")
    settings = lax(quality_percentile=30.0).settings
    first = index_photos([photos], base, models, Prefilter(settings), types=types)
    assert first.added.total() + first.filtered.total() == 8
    assert first.filtered.keys() == {"low_for_type", "near_duplicate"}
    calls, before = len(Log(tmp_path).lines()), everything(base)
    for _ in range(2):
        again = index_photos([photos], base, models, Prefilter(settings), types=types)
        assert (again.known, again.added.total(), again.filtered.total()) == (8, 0, 0)
    assert (len(Log(tmp_path).lines()), everything(base)) == (calls, before)


def test_a_copy_that_takes_the_place_of_another_keeps_its_type_and_every_file_is_counted_once(tmp_path):
    models, photos = pixel_models(tmp_path), tmp_path / "photos"
    base = new_base(tmp_path, models)
    pieces(photos, 4)
    copy = save(photos / "00b.png", crop(0, 64, 80)[1:, 1:].copy())
    (photos / "00c.png").write_bytes(copy.read_bytes())
    first = index_photos([photos], base, models, lax())
    assert (first.found, first.known, first.added.total(), first.filtered.total()) == (6, 1, 4, 1)
    digest = file_digest(copy)
    freed = base.get(digest)
    base.add([replace(freed, type="nrd", light="night", quality=0.5)], replace=True)
    base.remove([file_digest(photos / "00.png")])
    (photos / "00.png").unlink()
    again = index_photos([photos], base, models, lax())
    assert (again.found, again.known, again.added.total(), again.filtered.total()) == (5, 4, 1, 0)
    assert (base.get(digest).type, base.get(digest).status) == ("nrd", ReviewStatus.UNREVIEWED)
