"""Weights as they are published: a folder that a hub, or a file server, or a USB stick can carry.

model.safetensors   the weights with their header; the only file that is loaded
config.json         what the header says, for people and for the hub
README.md           the model card (see `derain.models.card`)

Nothing here needs a network or an optional package.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from derain.errors import CheckpointError
from derain.files import atomic_write, write_text
from derain.models.card import check_front_matter, model_card
from derain.models.checkpoints import (
    CheckpointHeader,
    format_of,
    load_checkpoint,
    read_header,
    read_tensors,
    with_header,
)
from derain.models.find import PUBLISHED_WEIGHTS, find_checkpoint

CONFIG = "config.json"
CARD = "README.md"

_CARD_DIGEST = "card_sha256"
"""Key of config.json: digest of the card as it was made, by which an edited one is known."""


@dataclass(frozen=True)
class Publication:
    """Weights that were checked, and what is to be published with them; made by `prepare`."""

    weights: Path
    """The checkpoint whose weights are published."""
    header: CheckpointHeader
    """The header that is published; it may state a licence that the checkpoint lacks."""
    text: str | None = None
    """What was written about the weights, for the card."""
    replaces_card: bool = False
    """The text was given for this publication: it may take the place of an edited card."""
    finished_card: str | None = None
    """A whole card, from a folder that is published as it stands; None makes one."""
    repo_id: str | None = None
    """Where on the hub it goes, if it goes there."""
    keeps_licence: bool = False
    """The header's terms are those that the folder to write to states, for the checkpoint states none."""

    def check(self, folder: Path) -> None:
        """Refuse to write over what is not ours, or over a card with somebody's work in it.

        Raises:
            CheckpointError: files in the folder are not ours, or its card was edited and `replaces_card` is not set;
                or the card's text is not what it should be.
        """
        _check_target(folder, self._card(), self.replaces_card)

    def _card(self) -> str:
        return self.finished_card or model_card(self.header, _count_values(self.weights), self.text, self.repo_id)

    def write(self, folder: Path) -> None:
        """Write the three files into `folder`, each whole or not at all.

        Those of an earlier publication are replaced, but for a card that was edited since.

        Raises:
            CheckpointError: the folder cannot be written; files in it are not ours, or its card was edited and
                `replaces_card` is not set; or the card's text is not what it should be.
        """
        target = folder / PUBLISHED_WEIGHTS
        made = not self.finished_card
        card = self._card()
        _check_target(folder, card, self.replaces_card)
        config = {
            "library_name": "derain",
            "parameters": _count_values(self.weights),
            **self.header.model_dump(mode="json"),
            _CARD_DIGEST: _digest(card) if made else _written_digest(self.weights.with_name(CONFIG)),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.header != read_header(self.weights) or format_of(self.weights) == "torch":
                with_header(self.weights, target, self.header)
            elif not (target.exists() and target.samefile(self.weights)):
                with atomic_write(target) as part:
                    shutil.copyfile(self.weights, part)
            write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
            write_text(folder / CARD, card)
        except OSError as error:
            raise CheckpointError(
                f"{folder}: cannot be written ({error}); check the folder and the free space"
            ) from error


def prepare(
    weights: str | Path,
    card: Path | None = None,
    licence: str | None = None,
    repo_id: str | None = None,
    folder: Path | None = None,
) -> Publication:
    """Check weights and gather what is known of them.

    The card's text is `card`, or else the file beside the weights with their name and the ending .md. A published
    folder keeps its README.md as it stands, edits included, unless `card` is given.

    Args:
        weights: what `find_checkpoint` takes: a shipped model's name, a weights file, a run's or a published folder.
        licence: the terms that the published header and card state, in place of those in the header.
        folder: where it will be written. Terms that weights published there state hold on for weights without any.

    Raises:
        CheckpointError: the weights are missing, foreign, or do not fit their network; the card cannot be read, or
            is finished and would contradict `licence`, or its front matter contradicts the header; or no `licence` is
            given and the terms of the weights are others than those that `folder` states.
    """
    path = find_checkpoint(weights)
    _, header = load_checkpoint(path)
    keeps_licence = False
    if licence is None and folder is not None and (stated := _stated_licence(folder)) not in ("", header.licence):
        if header.licence:
            raise CheckpointError(
                f"{folder}: states the licence {stated!r}, and the weights to take their place state "
                f"{header.licence!r}; say which holds with licence (--licence)"
            )
        licence, keeps_licence = stated, True
    beside = path.with_suffix(".md")
    text = None
    if card is not None or beside.is_file():
        text = _read_text(card or beside)
    finished = path.with_name(CARD)
    if card is None and path.name == PUBLISHED_WEIGHTS and finished.is_file():
        if licence is not None:
            raise CheckpointError(
                f"{finished}: a finished model card, which is published as it stands, and another licence was asked "
                "for; give the card's text too (card), so that the card is made anew"
            )
        whole = _read_text(finished)
        check_front_matter(whole, header)
        return Publication(path, header, finished_card=whole, repo_id=repo_id)
    if licence is not None:
        header = header.model_copy(update={"licence": licence})
    if text is not None:
        check_front_matter(text, header)  # refused now, not after a repository was made
    return Publication(
        path, header, text=text, replaces_card=card is not None, repo_id=repo_id, keeps_licence=keeps_licence
    )


def _stated_licence(folder: Path) -> str:
    """The terms that weights published in a folder state; empty where there are no such weights."""
    if not (folder / PUBLISHED_WEIGHTS).is_file():
        return ""
    try:
        return read_header(folder / PUBLISHED_WEIGHTS).licence
    except CheckpointError:
        return ""  # not ours: nothing is written there


def _check_target(folder: Path, card: str, replaces_card: bool) -> None:
    there = [name for name in (CARD, CONFIG, PUBLISHED_WEIGHTS) if (folder / name).exists()]
    if not there:
        return
    try:
        read_header(folder / PUBLISHED_WEIGHTS)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: holds {' and '.join(there)}, but no {PUBLISHED_WEIGHTS} of derain's; nothing was written: "
            "give another folder, or take them away"
        ) from error
    if CARD in there and not replaces_card:
        found = _read_text(folder / CARD)
        if found != card and _digest(found) != _written_digest(folder / CONFIG):
            raise CheckpointError(
                f"{folder / CARD}: was edited since it was written, and another card would take its place; nothing was "
                "written: give the card's text (--card) to make it anew, remove it, or give another folder"
            )


def _written_digest(config: Path) -> str | None:
    """Digest of the card that was written with a config.json; none where it does not say."""
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values.get(_CARD_DIGEST) if isinstance(values, dict) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _count_values(path: Path) -> int:
    """How many values the tensors of a weights file have together."""
    return sum(tensor.numel() for tensor in read_tensors(path).values())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as the model card ({error}); give a text file in UTF-8"
        ) from error
