"""From settings to models: only those that a variant asks are opened, and names that fit nothing are refused."""

from pathlib import Path

import pytest

from derain.distill.describe.unused import UnusedModel
from derain.distill.judges.bias import BiasedJudge
from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.models import ModelName, open_describers, open_models, preset_settings
from derain.errors import DistillError, ModelError, SettingsError


@pytest.mark.parametrize("variant", ["only-vlm", "no-retrieval"])
def test_models_that_a_variant_never_asks_are_not_even_looked_for(tmp_path: Path, variant: str) -> None:
    absent = [f"describe.captioner=hf:{tmp_path}/x", f"describe.visual_encoder=clip:{tmp_path}/x"]
    absent += [f"describe.text_encoder=clip:{tmp_path}/x", "judging.judges=['builtin:rain-layer', 'builtin:pairing']"]
    with pytest.raises(ModelError, match="no such folder"):
        open_models(preset_settings("offline", absent))
    models = open_models(preset_settings("offline", [*absent, f"variant={variant}"]))
    assert list(models.identities()) == ["judge builtin:rain-layer", "judge builtin:pairing"]
    assert isinstance(models.captioner, UnusedModel)


def test_without_texts_pictures_are_encoded_still() -> None:
    models = open_models(preset_settings("offline", ["variant=no-generation", "describe.captioner=hf:/nowhere/x"]))
    assert [role for role in models.identities() if not role.startswith("judge")] == ["visual_encoder"]
    assert "judge builtin:typicality" in open_models(preset_settings("offline", ["variant=only-vlm"])).identities()


def test_a_base_of_other_models_serves_variants_that_do_not_ask_these() -> None:
    settings = preset_settings("offline", ["describe.keywords=none"])
    base = BaseIdentities.of(open_describers(settings.describe))
    with pytest.raises(DistillError, match=r"keywords of the base .*, wanted is keybert"):
        base.check_same("base", BaseIdentities.of(open_models(preset_settings("offline"))))
    for variant in ("only-vlm", "no-retrieval", "no-generation"):
        base.check_same("base", BaseIdentities.of(open_models(preset_settings("offline", [f"variant={variant}"]))))


def test_a_bias_moves_built_in_judges_too() -> None:
    settings = preset_settings("offline", ["judging.bias={'builtin:pairing': 0.5, 'builtin:rain-layer': 0}"])
    plain, judges = open_models(preset_settings("offline")).judges, open_models(settings).judges
    assert [judge.name for judge in judges] == [judge.name for judge in plain]
    assert [judge.bias for judge in judges if isinstance(judge, BiasedJudge)] == [0.5]
    assert judges[2].identity.digest != plain[2].identity.digest
    assert judges[0].identity.digest == plain[0].identity.digest


def test_a_bias_of_nobody_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        SettingsError, match=r"'builtin:paring' is no judge of this run; did you mean 'builtin:pairing'"
    ):
        open_models(preset_settings("offline", ["judging.bias={'builtin:paring': 0.5}"]))
    with pytest.raises(SettingsError, match="bias"):
        preset_settings("offline", ["judging.bias={'builtin:pairing': .nan}"])


@pytest.mark.parametrize("text", ["openai:https://me:KEY@host", "openai:https://host/v1?token=KEY", "mine://KEY@a#b"])
def test_a_key_in_an_address_is_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="names no model; wanted") as caught:
        ModelName.parse(text, "judging.judges", ("hf", "openai"))
    assert "KEY" not in str(caught.value)
    assert "host" in str(caught.value) or "mine" in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [
        ["judging.judges=['builtin:pairing', 'openai:http://host#m']", "judging.endpoint.concurrency=17"],
        ["describe.expander='openai:http://host#m'", "describe.endpoint.concurrency=17"],
    ],
)
def test_more_requests_at_once_than_rows_in_a_batch_are_refused(names: list[str]) -> None:
    with pytest.raises(SettingsError, match=r"endpoint.concurrency is 17, .* batch_rows = 16 .*; raise batch_rows"):
        preset_settings("offline", names)
    assert preset_settings("offline", [*names, "batch_rows=17"]).batch_rows == 17
    preset_settings("offline", names[1:])  # no server is asked


def test_a_level_of_retrieval_cannot_find_more_than_it_is_given():
    assert preset_settings("offline", ["retrieval.k2=3"]).retrieval.k3 == 3
    for given in ("retrieval.k3=99", "retrieval.k1=3", "retrieval.k2=2"):
        with pytest.raises(SettingsError, match="wanted k1 >= k2 >= k3"):
            preset_settings("offline", [given])
