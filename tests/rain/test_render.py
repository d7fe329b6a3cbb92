from pathlib import Path

import pytest
from PIL import Image

from derain.errors import DatasetError
from derain.imaging.io import read_image
from derain.rain.render import CleanPhoto, plan_renders, render
from derain.rain.simulate import SIMULATOR_VERSION
from derain.types import RainType, Weather


@pytest.fixture
def clean(photos):
    return [CleanPhoto(path, path.relative_to(photos), is_night=False) for path in sorted(photos.rglob("*.*"))]


def render_all(photos, types, out, seed=7, **plan):
    return list(render(plan_renders(photos, types, out, seed, longest_side=120, **plan)))


def test_pairs_are_rendered_for_every_photograph_and_type(clean, tmp_path):
    done = render_all(clean, [RainType.DRS, RainType.NRD], tmp_path, per_photo=2)
    assert len(done) == 3 * 2 * 2
    assert len({item.job.id for item in done}) == 12
    for item in done:
        assert item.is_new
        rainy, target = read_image(item.job.rainy), read_image(item.job.clean)
        assert rainy.shape == target.shape
        assert max(rainy.shape[-2:]) <= 120
        assert not rainy.equal(target)


def test_rain_depends_on_seed_photograph_type_and_variation_alone(clean, tmp_path):
    def rainy(out, photos, seed=7, variation=0):
        jobs = plan_renders(photos, [RainType.DRS], tmp_path / out, seed, per_photo=2, longest_side=120)
        list(render(jobs))
        return {job.photo.name: job.rainy.read_bytes() for job in jobs if job.variation == variation}

    first = rainy("a", clean)
    assert rainy("b", list(reversed(clean))) == first
    moved = [
        CleanPhoto(photo.path.rename(photo.path.with_name("moved" + photo.path.suffix)), photo.name, False)
        for photo in clean
    ]
    assert rainy("c", moved) == first
    for other in (rainy("d", moved, seed=8), rainy("e", moved, variation=1)):
        assert all(other[name] != first[name] for name in first)


def test_what_is_there_is_not_rendered_again(clean, tmp_path):
    first = render_all(clean, [RainType.DRS], tmp_path)
    first[0].job.rainy.unlink()
    first[1].job.rainy.write_bytes(b"kept")
    again = render_all(clean, [RainType.DRS], tmp_path)
    assert [item.is_new for item in again] == [True, False, False]
    assert first[1].job.rainy.read_bytes() == b"kept"


def test_a_bad_photograph_does_not_stop_the_rest(clean, tmp_path):
    clean[0].path.write_bytes(b"not a picture")
    done = render_all(clean, [RainType.DRS], tmp_path)
    assert [bool(item.reason) for item in done] == [True, False, False]
    assert clean[0].path.name in done[0].reason


def test_count_bounds_the_pictures_of_each_type(clean, tmp_path):
    jobs = plan_renders(clean, list(RainType), tmp_path, 0, per_photo=3, count=4)
    assert {rain_type: sum(job.rain_type is rain_type for job in jobs) for rain_type in RainType} == dict.fromkeys(
        RainType, 4
    )


def test_night_photographs_serve_the_types_of_night(clean, tmp_path):
    night = CleanPhoto(clean[0].path, clean[0].name, is_night=True)
    jobs = plan_renders([night, *clean[1:]], [RainType.DRS, RainType.NRS], tmp_path, 0)
    assert [job.photo.is_night for job in jobs] == [False, False, True, False, False]
    with pytest.raises(DatasetError, match="nrs,nrd"):
        plan_renders([night], [RainType.DRD], tmp_path, 0)


def test_photographs_of_one_name_but_for_the_ending_are_kept_apart(clean, tmp_path):
    first = clean[0]
    other = tmp_path / first.path.with_suffix(".TIFF").name
    Image.open(first.path).save(other)
    photos = [first, CleanPhoto(other, first.name.with_suffix(".TIFF"), is_night=False)]
    jobs = plan_renders(photos, [RainType.DRS], tmp_path, 0, longest_side=64)
    assert len({job.rainy for job in jobs}) == 2
    assert all(item.is_new for item in render(jobs))
    copy = CleanPhoto(first.path, first.name.with_suffix(".copy"), is_night=False)
    assert len(plan_renders([first, copy], [RainType.DRS], tmp_path, 0)) == 1, "the same picture is made once"


def test_a_name_stands_for_content_and_treatment(clean, tmp_path):
    def names(photos, **plan):
        return {job.id for job in plan_renders(photos, [RainType.NRS], tmp_path, 0, **plan)}

    night = [CleanPhoto(photo.path, photo.name, is_night=True) for photo in clean]
    found = [names(clean), names(clean, longest_side=120), names(night)]
    with clean[0].path.open("ab") as file:
        file.write(b"other content")
    assert len(names(clean) - found[0]) == 1
    assert len(set().union(*found)) == 9


def test_a_name_that_no_manifest_can_hold_is_refused_before_rendering(clean, tmp_path):
    odd = CleanPhoto(clean[0].path, Path("cat\udcff.png"), is_night=False)
    with pytest.raises(DatasetError, match="UTF-8"):
        plan_renders([odd], [RainType.DRS], tmp_path, 0)


def test_squares_are_cut_at_random_before_they_are_rendered(clean, tmp_path):
    jobs = plan_renders(clean, [Weather.HAZE, RainType.NRS], tmp_path, 0, per_photo=3, squares=(40, 60))
    sides = set()
    for done in render(jobs):
        rainy, target = read_image(done.job.rainy), read_image(done.job.clean)
        assert rainy.shape == target.shape
        assert 40 <= rainy.shape[2] == rainy.shape[3] <= 60
        sides.add(rainy.shape[2])
    assert len(sides) > 5
    whole = plan_renders(clean, [Weather.HAZE, RainType.NRS], tmp_path, 0, per_photo=3)
    assert not {job.id for job in whole} & {job.id for job in jobs}


def test_snow_and_haze_take_photographs_of_day_and_night(clean, tmp_path):
    night = CleanPhoto(clean[0].path, clean[0].name, is_night=True)
    jobs = plan_renders([night, *clean[1:]], list(Weather), tmp_path, 0)
    assert [job.photo.is_night for job in jobs] == [True, False, False] * 2


def test_another_version_of_the_simulator_renders_anew(clean, tmp_path, monkeypatch):
    first = {job.id for job in plan_renders(clean, [RainType.DRS], tmp_path, 0)}
    assert {job.id for job in plan_renders(clean, [RainType.DRS], tmp_path, 0)} == first
    monkeypatch.setattr("derain.rain.render.SIMULATOR_VERSION", SIMULATOR_VERSION + 1)
    assert not first & {job.id for job in plan_renders(clean, [RainType.DRS], tmp_path, 0)}


def test_jobs_of_one_photograph_in_a_row_decode_it_once_and_render_the_same(clean, tmp_path, monkeypatch):
    apart = render_all(clean, [RainType.DRS, Weather.HAZE], tmp_path / "apart")
    decoded = []
    monkeypatch.setattr("derain.rain.render.read_image", lambda path: decoded.append(path) or read_image(path))
    jobs = plan_renders(clean, [RainType.DRS, Weather.HAZE], tmp_path / "together", 7, longest_side=120)
    together = list(render(sorted(jobs, key=lambda job: job.photo.path)))
    assert decoded == sorted(photo.path for photo in clean)
    pictures = {item.job.id: item.job.rainy.read_bytes() for item in together}
    assert pictures == {item.job.id: item.job.rainy.read_bytes() for item in apart}
