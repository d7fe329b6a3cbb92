"""The model card: what the header and the text say is in it, and what they do not say is called unknown."""

import pytest
import yaml

from derain.errors import CheckpointError
from derain.models.card import model_card, split_front_matter
from derain.models.checkpoints import CheckpointHeader

BARE = CheckpointHeader(model="tiny")
FULL = CheckpointHeader(
    model="tiny",
    settings={"top_k": 1, "widths": [8, 16]},
    data_digest="sha256:abc",
    step=5500,
    metrics={"gain_db": 3.25, "drs.psnr_in": 20.5, "drs.psnr_out": 25.0, "clean.psnr_out": 44.125},
    licence="For research.\nAsk first.",
    notes="made | by hand",
)


def front(card):
    return split_front_matter(card)[0]


def section(card, title):
    return card.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_front_matter_is_what_hubs_read():
    assert front(model_card(FULL, 10, None, None)) == {
        "library_name": "derain",
        "pipeline_tag": "image-to-image",
        "tags": ["image-restoration", "deraining", "rain-removal", "derain"],
        "license": "other",
        "license_name": "terms-in-the-model-card",
        "metrics": ["psnr"],
    }


@pytest.mark.parametrize(
    ("licence", "identifier"), [("MIT", "mit"), (" CC-BY-NC-4.0 ", "cc-by-nc-4.0"), ("", "unknown"), ("mine", "other")]
)
def test_licences_are_named_as_the_hub_names_them(licence, identifier):
    values = front(model_card(BARE.model_copy(update={"licence": licence}), 10, None, None))
    assert values["license"] == identifier
    assert ("license_name" in values) == (identifier == "other")


def test_what_nobody_stated_is_called_unknown():
    card = model_card(BARE, 10, None, None)
    for title in ("Licence", "Figures", "Training data", "Limits"):
        assert section(card, title).strip().startswith("Unknown: "), title
    assert "| optimiser steps | unknown |" in card
    assert "| training data's digest | unknown |" in card
    assert not {"metrics", "datasets"} & front(card).keys()


def test_what_the_header_states_stands_in_the_card():
    card = model_card(FULL, 3_488_650, None, None)
    assert "3.49 M parameters" in card
    for row in ("optimiser steps | 5500", "parameters | 3,488,650", "training data's digest | `sha256:abc`"):
        assert f"| {row} |" in card
    assert "| notes | made \\| by hand |" in card, "a bar would end the cell"
    assert "| setting `widths` | `[8, 16]` |" in card
    assert section(card, "Licence").strip() == FULL.licence
    figures = section(card, "Figures")
    assert "- gain_db: 3.25" in figures
    assert "| | psnr_in | psnr_out |\n|---|---:|---:|\n| drs | 20.5 | 25 |\n| clean |  | 44.125 |" in figures


def test_the_text_stands_below_the_cards_own_title():
    text = "# Mine\n\n## Data\n\n```sh\n# a comment\n```\n"
    card = model_card(FULL, 10, text, None)
    assert card.endswith("\n\n## Mine\n\n### Data\n\n```sh\n# a comment\n```\n")
    assert "Unknown" not in card
    titles = [line for line in card.splitlines() if line.startswith("# ")]
    assert titles == ["# derain: tiny", "# a comment"]


def test_the_texts_own_front_matter_wins():
    text = "---\ndatasets: [owner/rain]\ntags: [mine]\n---\nTrained at home.\n"
    card = model_card(FULL, 10, text, None)
    values = front(card)
    assert (values["datasets"], values["tags"], values["library_name"]) == (["owner/rain"], ["mine"], "derain")
    assert card.count("---\n") == 2
    assert card.endswith("\n\nTrained at home.\n")


@pytest.mark.parametrize(
    ("licence", "line", "said"),
    [
        ("CC-BY-NC-4.0", "license: mit", "its license is 'mit', the weights' header says 'CC-BY-NC-4.0'"),
        ("", "license: mit", "the weights' header says 'none', which is 'unknown' there; .*--licence"),
        ("For research.", "license: mit", "which is 'other' there"),
        ("MIT", "library_name: transformers", "wanted library_name 'derain', .* got 'transformers'"),
    ],
)
def test_a_text_cannot_contradict_licence_and_library(licence, line, said):
    header = BARE.model_copy(update={"licence": licence})
    with pytest.raises(CheckpointError, match=said):
        model_card(header, 10, f"---\n{line}\n---\nText\n", None)


def test_a_text_may_say_again_what_the_header_says():
    text = "---\nlicense: MIT\nlibrary_name: derain\n---\nText\n"
    assert front(model_card(BARE.model_copy(update={"licence": "MIT"}), 10, text, None))["library_name"] == "derain"


@pytest.mark.parametrize("between", ["- a\n- list", "a: [", "word"])
def test_a_front_matter_that_is_no_mapping_is_refused(between):
    with pytest.raises(CheckpointError, match="front matter"):
        model_card(FULL, 10, f"---\n{between}\n---\nText\n", None)


def test_a_rule_within_a_text_is_no_front_matter():
    text = "Text\n\n---\nmore\n---\n"
    assert split_front_matter(text) == ({}, text)
    assert split_front_matter("---\n---\nrest") == ({}, "rest")


def test_the_card_says_how_to_load_from_where_it_lies():
    assert 'derain.from_pretrained("me/rain")' in model_card(BARE, 10, None, "me/rain")
    assert 'derain.from_pretrained(".")' in model_card(BARE, 10, None, None)


def test_a_licence_of_any_wording_cannot_break_the_front_matter():
    card = model_card(BARE.model_copy(update={"licence": "a: b\n---\nc"}), 10, None, None)
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "other"
