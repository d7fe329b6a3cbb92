"""Training configurations by path and by name."""

from pathlib import Path

import pytest

from derain.errors import SettingsError
from derain.settings import load_settings
from derain.train.configurations import find_configuration, find_studies
from derain.train.settings import TrainSettings


def test_a_shipped_configuration_is_found_by_its_name_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(TrainSettings, find_configuration(Path("tiny"))).model.name == "tiny"
    assert load_settings(TrainSettings, find_configuration(Path("tiny_finish"))).loss.rain_share < 0.5
    assert (find_studies(None) / "reweighting" / "full.yaml").is_file()
    assert find_studies(tmp_path) == tmp_path


def test_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given in (Path("tiny.yaml"), Path("recipes/tiny")):
        assert find_configuration(given) == given
    (tmp_path / "tiny").write_text("run: mine\n")
    assert find_configuration(Path("tiny")) == Path("tiny"), "a file goes before a name"


def test_a_name_that_is_not_shipped_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"tinny: no such file, and no shipped .* name; did you mean 'tiny'\?"):
        find_configuration(Path("tinny"))
    with pytest.raises(SettingsError, match=r"harbour: no such file, .*; shipped are: .*small, tiny, .*weather"):
        find_configuration(Path("harbour"))
