"""The model card of published weights: Markdown under a YAML front matter, as model hubs read it.

It says what the weights' header says, and what a text written beside the weights adds. What neither says is called
unknown; nothing is guessed.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from derain.errors import CheckpointError
from derain.models.checkpoints import CheckpointHeader
from derain.models.zoo import MODELS

LICENCE_IDS = frozenset(
    (
        *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "isc", "mpl-2.0", "unlicense", "openrail"),
        *("lgpl-3.0", "gpl-3.0", "agpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0"),
        *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    )
)
"""Licences that the hub knows by an identifier; any other wording is kept in the card's text."""

METRICS = ("psnr", "ssim")
"""Metrics that the hub knows, found in the names of the header's figures."""


def model_card(header: CheckpointHeader, parameters: int, text: str | None, repo_id: str | None) -> str:
    """The card of a checkpoint.

    Args:
        header: what the weights say of themselves.
        parameters: how many values the network has.
        text: Markdown written beside the weights, or None. It may open with a front matter of its own (`datasets:`,
            `tags:`, `language:` ...), whose keys win over those made here.
        repo_id: `owner/name` on the hub, if the card goes there.

    Raises:
        CheckpointError: the text's front matter is none that `check_front_matter` allows.
    """
    written, body = ({}, None) if text is None else (check_front_matter(text, header), split_front_matter(text)[1])
    front = yaml.safe_dump(_front_matter(header) | written, sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        f"---\n{front}---",
        f"# derain: {header.model}",
        f"{MODELS[header.model].source}; {parameters / 1e6:.2f} M parameters. It takes photographs and gives them back "
        "without rain, in the same size.",
        _how_to_load(repo_id),
        _facts(header, parameters),
        f"## Licence\n\n{header.licence or _NO_LICENCE}",
        _figures(header.metrics),
        _demote(body.strip()) if body is not None else _UNWRITTEN,
    ]
    return "\n\n".join(parts) + "\n"


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """The YAML mapping between the `---` lines that a text opens with, and the rest; an empty mapping without them.

    Raises:
        CheckpointError: what is between the lines is not a YAML mapping.
    """
    found = re.match(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        return {}, text
    try:
        values = yaml.safe_load(found.group(1))
    except yaml.YAMLError as error:
        raise CheckpointError(f"the model card's front matter is not valid YAML ({error}); correct it") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise CheckpointError(
            f"the model card's front matter: wanted a mapping such as `language: en`, got a {type(values).__name__}"
        )
    return values, text[found.end() :]


def check_front_matter(text: str, header: CheckpointHeader) -> dict[str, Any]:
    """The front matter of a text, if it contradicts neither the weights' licence nor the library that loads them.

    Raises:
        CheckpointError: it is not a YAML mapping, or its `license` or `library_name` are others than the header's.
    """
    written, made = split_front_matter(text)[0], _front_matter(header)
    if "license" in written and str(written["license"]).strip().lower() != made["license"]:
        raise CheckpointError(
            f"the model card's front matter: its license is {written['license']!r}, the weights' header says "
            f"{header.licence.strip() or 'none'!r}, which is {made['license']!r} there; take the line out, and state "
            "the terms with licence (--licence), which puts them into header and card alike"
        )
    if written.get("library_name", made["library_name"]) != made["library_name"]:
        raise CheckpointError(
            f"the model card's front matter: wanted library_name {made['library_name']!r}, which loads these weights, "
            f"got {written['library_name']!r}; take the line out"
        )
    return written


_NO_LICENCE = "Unknown: the weights state none. Ask who published them before you use them."

_UNWRITTEN = """## Training data

Unknown: no text was published with these weights, and their header holds at most a digest of the data.

## Limits

Unknown: none were written down. Try the model on photographs of your own kind before you rely on it."""


def _front_matter(header: CheckpointHeader) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "derain",
        "pipeline_tag": "image-to-image",
        "tags": ["image-restoration", "deraining", "rain-removal", "derain"],
    }
    licence = header.licence.strip()
    if not licence:
        front["license"] = "unknown"
    elif licence.lower() in LICENCE_IDS:
        front["license"] = licence.lower()
    else:
        front |= {"license": "other", "license_name": "terms-in-the-model-card"}
    metrics = [metric for metric in METRICS if any(metric in name for name in header.metrics)]
    return front | ({"metrics": metrics} if metrics else {})


def _how_to_load(repo_id: str | None) -> str:
    if repo_id is None:
        loading = 'derain.from_pretrained(".")  # the folder that this file lies in, or owner/name on the hub'
    else:
        loading = f'derain.from_pretrained("{repo_id}")'
    return (
        "## How to load\n\n```sh\npip install 'derain[hub]'  # for a folder, plain derain is enough\n```\n\n"
        f"```python\nimport derain\n\nrestorer = {loading}\n"
        "restored = restorer(image)  # an array, a PIL image or a tensor; the same comes back\n```\n\n"
        "The weights are one safetensors file whose header names the network and its settings; loading runs no code "
        "but derain's own."
    )


def _facts(header: CheckpointHeader, parameters: int) -> str:
    rows = {
        "network": header.model,
        "parameters": f"{parameters:,}",
        "optimiser steps": str(header.step) if header.step else "unknown",
        "training data's digest": f"`{header.data_digest}`" if header.data_digest else "unknown",
        "written by": f"derain {header.version}",
        "notes": header.notes or "none",
    }
    rows |= {f"setting `{name}`": f"`{value}`" for name, value in header.settings.items()}
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["## Facts", "", "| | |", "|---|---|", *lines])


def _figures(metrics: Mapping[str, float]) -> str:
    """Names of the form `row.column` become a table, other names a list."""
    if not metrics:
        return "## Figures\n\nUnknown: the weights' header holds none."
    parts = [
        "## Figures",
        "As the weights' header holds them. On which pictures and by which protocol they were taken is known only as "
        "far as the notes above or the text below say it.",
    ]
    table: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        row, dot, column = name.partition(".")
        if dot:
            table.setdefault(row, {})[column] = value
    alone = [f"- {name}: {value:.6g}" for name, value in metrics.items() if "." not in name]
    if alone:
        parts.append("\n".join(alone))
    if table:
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
        for row, values in table.items():
            cells = [f"{values[column]:.6g}" if column in values else "" for column in columns]
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _demote(markdown: str) -> str:
    """Headings one level down, so that the text stands below the card's own title; code blocks are left alone."""
    lines, is_code = [], False
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            is_code = not is_code
        lines.append(f"#{line}" if not is_code and re.match(r"#{1,5} ", line) else line)
    return "\n".join(lines)
