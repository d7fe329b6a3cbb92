from pathlib import Path

import pytest

from derain.errors import DatasetError
from derain.infer.plan import check_folder, plan_in_place, plan_jobs
from derain.infer.record import RECORD_NAME


def outputs(jobs, out):
    return sorted(job.output.relative_to(out).as_posix() for job in jobs)


def test_a_folder_keeps_its_structure(photos, tmp_path):
    jobs = plan_jobs([photos], tmp_path / "out").jobs
    assert outputs(jobs, tmp_path / "out") == ["cat.png", "trip/coffee.jpg", "trip/evening/rocket.png"]
    assert all(job.compare is None for job in jobs)


def test_a_single_photo_goes_into_the_folder_or_to_the_named_file(photos, tmp_path):
    assert plan_jobs([photos / "cat.png"], tmp_path / "out").jobs[0].output == tmp_path / "out" / "cat.png"
    assert plan_jobs([photos / "cat.png"], tmp_path / "dry.jpg").jobs[0].output == tmp_path / "dry.jpg"


def test_patterns_keep_the_structure_below_their_fixed_part(photos, tmp_path):
    jobs = plan_jobs([f"{photos}/**/*.png"], tmp_path / "out").jobs
    assert outputs(jobs, tmp_path / "out") == ["cat.png", "trip/evening/rocket.png"]
    jobs = plan_jobs([f"{photos}/tr*"], tmp_path / "out").jobs
    assert outputs(jobs, tmp_path / "out") == ["trip/coffee.jpg", "trip/evening/rocket.png"]


def test_relative_inputs_work(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(plan_jobs(["photos"], Path("out")).jobs) == 3
    assert len(plan_jobs(["photos/*/*.jpg"], Path("out")).jobs) == 1
    monkeypatch.chdir(photos)
    assert len(plan_jobs(["."], Path("../out")).jobs) == 3
    assert outputs(plan_jobs(["trip"], Path()).jobs, Path()) == ["coffee.jpg", "evening/rocket.png"]


def test_results_of_an_earlier_run_within_the_photographs_are_no_input(photos):
    (photos / "out").mkdir()
    (photos / "out" / "cat.png").write_bytes((photos / "cat.png").read_bytes())
    assert len(plan_jobs([photos], photos / "out").jobs) == 3
    assert len(plan_jobs([f"{photos}/**/*.png"], photos / "out").jobs) == 2


def test_hidden_files_and_other_files_are_left_out_of_folders(photos, tmp_path):
    (photos / ".trash").mkdir()
    (photos / ".trash" / "old.png").write_bytes(b"")
    (photos / "._cat.png").write_bytes(b"")
    (photos / "notes.txt").write_text("rain")
    assert len(plan_jobs([photos], tmp_path / "out").jobs) == 3


def test_before_after_pictures_of_one_stem_stay_apart(photos, tmp_path):
    (photos / "cat.jpg").write_bytes(b"x")
    jobs = plan_jobs([photos], tmp_path / "out", compare=True).jobs
    compares = [job.compare.relative_to(tmp_path / "out").as_posix() for job in jobs]
    assert "compare/cat.jpg" in compares
    assert "compare/cat.png.jpg" in compares
    assert len(set(compares)) == 4


@pytest.mark.parametrize("out", ["photos", "photos/../photos", "."])
def test_originals_are_never_planned_over(photos, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    inputs = ["photos"] if out != "." else ["photos/cat.png"]
    if out == ".":
        monkeypatch.chdir(photos)
        inputs = ["cat.png"]
    with pytest.raises(DatasetError, match="original"):
        plan_jobs(inputs, Path(out))


def test_an_original_is_safe_behind_a_link_too(photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    with pytest.raises(DatasetError, match="original"):
        plan_jobs([photos], tmp_path / "link")


def test_another_inputs_original_is_safe_too(photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "cat.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match="original"):
        plan_jobs([photos / "cat.png", other], other)


def test_two_inputs_for_one_place_are_refused_by_name(photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "cat.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"photos/cat\.png and .*other/cat\.png"):
        plan_jobs([photos, other], tmp_path / "out")


def test_nothing_found_says_what_was_wanted(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty.*\.jpg"):
        plan_jobs([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(DatasetError, match="no such file"):
        plan_jobs([tmp_path / "absent.jpg"], tmp_path / "out")
    with pytest.raises(DatasetError, match="no photograph"):
        plan_jobs([f"{tmp_path}/*.jpg"], tmp_path / "out")


def test_a_file_is_no_folder_for_results(photos, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DatasetError, match="folder was wanted"):
        plan_jobs([photos], tmp_path / "out")


def test_a_place_below_a_file_is_no_folder_for_results(photos, tmp_path):
    (tmp_path / "afile").write_text("a file")
    with pytest.raises(DatasetError, match="afile"):
        plan_jobs([photos], tmp_path / "afile" / "deep")
    check_folder(tmp_path / "still" / "to" / "be" / "made")


def as_a_shell_expands(folder):
    return sorted(folder.glob("*"))


def test_a_shells_pattern_can_be_run_again_with_the_results_below(photos):
    out = photos / "dry"
    first = plan_jobs(as_a_shell_expands(photos), out).jobs
    for job in first:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        job.output.write_bytes(b"result")
        (job.output.parent / RECORD_NAME).write_text("{}")
    assert plan_jobs(as_a_shell_expands(photos), out).jobs == first
    assert plan_jobs(as_a_shell_expands(photos), out).left_out == [out]
    assert len(plan_jobs([f"{photos}/*"], out).jobs) == 3
    assert len(plan_jobs([photos / "cat.png", out / "evening"], out).jobs) == 1
    with pytest.raises(DatasetError, match="original"):
        plan_jobs([out], out)


def test_an_empty_folder_for_the_results_is_no_input(photos):
    first = plan_jobs(as_a_shell_expands(photos), photos / "dry").jobs
    (photos / "dry").mkdir()
    assert plan_jobs(as_a_shell_expands(photos), photos / "dry").jobs == first
    with pytest.raises(DatasetError, match="nothing there but results"):
        plan_jobs([photos / "dry", photos / "dry"], photos / "dry")


def test_jpegs_are_known_by_content_and_results_get_an_ending(photos, tmp_path):
    jpeg = (photos / "trip" / "coffee.jpg").read_bytes()
    for name in ("a.jfif", "b.jpe", "noending", "UPPER.JPG"):
        (photos / name).write_bytes(jpeg)
    (photos / "LICENSE").write_text("text")
    (photos / "odd.dat").write_bytes(jpeg)
    plan = plan_jobs([photos, photos / "odd.dat"], tmp_path / "out")
    wanted = ["UPPER.JPG", "a.jfif", "b.jpe", "cat.png", "noending.jpg", "odd.dat.jpg"]
    assert outputs(plan.jobs, tmp_path / "out") == [*wanted, "trip/coffee.jpg", "trip/evening/rocket.png"]
    assert [path.name for path in plan.left_out] == ["LICENSE", "odd.dat"]


def test_a_number_keeps_apart_what_endings_do_not(photos, tmp_path):
    jpeg = (photos / "trip" / "coffee.jpg").read_bytes()
    for name in ("a", "a.jpg", "cat.jpg", "cat.png.jpg"):
        (photos / name).write_bytes(jpeg)
    out = tmp_path / "out"
    plan = plan_jobs([photos], out, format="jpg")
    assert outputs(plan.jobs, out)[:5] == ["a.jpg", "a_2.jpg", "cat.jpg", "cat.png.jpg", "cat.png_2.jpg"]
    assert {job.source.name: job.output.name for job in plan.jobs}["a"] == "a_2.jpg"


def test_a_format_is_asked_for_and_names_stay_apart(photos, tmp_path):
    for name in ("cat.jpg", "dog.JPEG", "noending"):
        (photos / name).write_bytes((photos / "trip" / "coffee.jpg").read_bytes())
    out = tmp_path / "out"
    rest = ["trip/coffee.jpg", "trip/evening/rocket.jpg"]
    found = outputs(plan_jobs([photos], out, format="jpg").jobs, out)
    assert found == ["cat.jpg", "cat.png.jpg", "dog.JPEG", "noending.jpg", *rest]
    assert outputs(plan_jobs([photos / "cat.png"], out, format="webp").jobs, out) == ["cat.webp"]
    with pytest.raises(DatasetError, match=r"dry\.png: this name is not that of JPEG"):
        plan_jobs([photos / "cat.png"], tmp_path / "dry.png", format="jpg")
    with pytest.raises(DatasetError, match="--format gif"):
        plan_jobs([photos], out, format="gif")


def test_in_place_means_each_photograph_itself(photos):
    jobs = plan_in_place([photos]).jobs
    assert len(jobs) == 3
    assert all(job.source == job.output for job in jobs)
    assert all(job.is_in_place for job in jobs)
    assert not any(job.is_in_place for job in plan_jobs([photos], photos / "dry").jobs)


def test_in_place_a_link_stands_for_what_it_points_to(photos):
    for name in ("link.png", "other_link.png"):
        (photos / name).symlink_to(photos / "cat.png")
    jobs = plan_in_place([photos]).jobs
    assert len(jobs) == 3
    assert photos / "cat.png" in {job.output for job in jobs}
    assert not any(job.output.is_symlink() for job in jobs)


def test_a_place_that_only_looks_like_a_file_is_refused(photos, tmp_path):
    cat, rocket = photos / "cat.png", photos / "trip/evening/rocket.png"
    for inputs, name, said in (
        ([cat, rocket], "one.jpg", "several"),
        ([photos], "one.jpg", "several"),
        ([cat], "new.xyz", "xyz"),
    ):
        with pytest.raises(DatasetError, match=said):
            plan_jobs(inputs, tmp_path / name)
        assert plan_jobs(inputs, f"{tmp_path / name}/").jobs[0].output == tmp_path / name / "cat.png"
        (tmp_path / name).mkdir(exist_ok=True)
        assert plan_jobs(inputs, tmp_path / name).jobs[0].output == tmp_path / name / "cat.png"
        (tmp_path / name).rmdir()


def test_a_folder_called_compare_is_in_the_way_of_comparisons_alone(photos, tmp_path):
    (photos / "compare").mkdir()
    (photos / "cat.png").rename(photos / "cat.jpg")
    (photos / "compare" / "cat.jpg").write_bytes(b"x")
    assert len(plan_jobs([photos], tmp_path / "out").jobs) == 4
    with pytest.raises(
        DatasetError, match=r"with --compare, the before/after picture of .*photos/cat\.jpg and the result of .*compare"
    ):
        plan_jobs([photos], tmp_path / "out", compare=True)
