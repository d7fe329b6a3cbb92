"""How models of the Hugging Face kind come to be in memory: found once, loaded without a network, placed.

`find_model` turns what a user names into a folder on this machine: a folder is taken as it lies; a name on the hub is
fetched, or comes from the hub's cache, at one commit. From there on nothing asks the network. Weights are read from
safetensors files alone, and no code that comes with a model is ever run.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from derain.errors import MissingExtraError, ModelError, SettingsError

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_FETCHED = ("model*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model")
_NOT_FETCHED = ("*/*",)
"""Folders of a repository hold the same model in other forms."""

ROWS_ON_GPU = 16
"""Pictures or texts in a batch of a large model on a GPU; on a CPU one, which is as fast there."""


@dataclass(frozen=True)
class Placement:
    """Where a network computes, and in which arithmetic."""

    device: torch.device
    dtype: torch.dtype
    rows: int
    """Of a batch."""

    @property
    def arithmetic(self) -> str:
        """Such as `float32` or `bfloat16`: answers of one are not those of the other."""
        return str(self.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Source:
    """A model's files on this machine."""

    name: str
    """Its name on the hub; of a folder its own name, for the same model may lie anywhere."""
    revision: str
    """The commit, 40 hexadecimal digits; or `sha256:` and 16 digits of a digest of the folder's files."""
    folder: Path
    model_type: str
    """What its configuration calls its architecture, such as `blip`."""


def parse_model(text: str) -> tuple[str, str | None]:
    """Name and revision of `MODEL[@REVISION]`; the revision is None where none is given.

    A folder whose own name holds an @ is taken as a folder.

    Raises:
        SettingsError: one of the two is empty.
    """
    if text and Path(text).is_dir():
        return text, None
    model, at, revision = text.rpartition("@")
    if not at:
        model, revision = text, ""
    if not model.strip() or (at and not revision.strip()):
        raise SettingsError(f"{text!r} names no model; wanted MODEL or MODEL@REVISION, such as owner/name@main")
    return model, revision or None


def choose_placement(device: str = "auto", rows: int | None = None) -> Placement:
    """Float32 on the CPU; bf16 on a GPU, where it has it.

    Args:
        device: `auto` (a CUDA device if there is one), `cpu`, `cuda` or `cuda:N`.
        rows: of a batch; None takes 1 on a CPU and 16 on a GPU.

    Raises:
        SettingsError: there is no such device here, or `rows` is below 1.
    """
    if rows is not None and rows < 1:
        raise SettingsError(f"wanted batches of at least 1 row, got {rows}")
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device) is None:
        raise SettingsError(f"device {device!r} is unknown; use auto, cpu, cuda or cuda:N")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return Placement(torch.device("cpu"), torch.float32, rows or 1)
    chosen = torch.device("cuda" if device == "auto" else device)
    if (chosen.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"device {device!r} is not there ({torch.cuda.device_count()} CUDA devices); use auto or cpu"
        )
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return Placement(chosen, dtype, rows or ROWS_ON_GPU)


def require_transformers(what: str) -> None:
    """Refuse to go on where the packages of the extra are not there.

    Raises:
        MissingExtraError: `what` needs them.
    """
    try:
        import huggingface_hub  # noqa: F401 - only whether it is there
        import transformers  # noqa: F401 - as before
    except ImportError as error:
        raise MissingExtraError(what, "distill") from error


def find_model(model: str, revision: str | None = None, kinds: tuple[str, ...] = ()) -> Source:
    """The files of a model: a folder as it lies, or a name on the hub, fetched if the cache does not have it.

    Args:
        model: a folder, or `owner/name`.
        revision: branch, tag or commit on the hub; None is the default branch.
        kinds: architectures that are wanted, such as `("blip",)`; empty takes any.

    Raises:
        ModelError: there is no such folder, repository or revision; no network and nothing in the cache; no weights
            in safetensors; or it is of another kind.
        MissingExtraError: the extra `distill` is not installed.
    """
    require_transformers(f"the model {model}")
    if Path(model).is_dir():
        if revision is not None:
            raise ModelError(f"{model}: a folder, which has no revisions; leave @{revision} out")
        folder = Path(model).absolute()
        model_type = _check_folder(model, folder, kinds)
        return Source(folder.name, f"sha256:{folder_digest(folder)[:16]}", folder, model_type)
    if re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", model, re.ASCII) is None:
        raise ModelError(f"{model}: no such folder, nor the name of a model on the hub (owner/name)")
    folder = _fetch(model, revision)
    return Source(model, folder.name, folder, _check_folder(model, folder, kinds))


def folder_digest(folder: Path) -> str:
    """sha256 over the names and bytes of all files that decide what a model answers, 64 hexadecimal digits."""
    whole = hashlib.sha256()
    for path in sorted({path for pattern in _FETCHED for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            whole.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def load_network(model_class: Any, source: Source, placement: Placement) -> Any:
    """The network of a source, ready to answer.

    Args:
        model_class: a class of transformers with `from_pretrained`.

    Raises:
        ModelError: the files are broken, lack some of the network's weights, or would need code of their own.
    """
    with _quietly(), load_errors(source):
        network, report = model_class.from_pretrained(
            source.folder,
            dtype=placement.dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:  # they would have been drawn at random
        raise ModelError(
            f"{source.folder}: {len(missing)} of its weights are missing, the first is {missing[0]}; take a whole "
            f"checkpoint of a {source.model_type} model"
        )
    return network.to(placement.device).eval().requires_grad_(False)


def load_part(part_class: Any, source: Source) -> Any:
    """A tokenizer or an image processor of a source.

    Raises:
        ModelError: its files are missing, broken, or would need code of their own.
    """
    with _quietly(), load_errors(source):
        return part_class.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def load_errors(source: Source) -> Iterator[None]:
    """Whatever transformers raises about files that it cannot use becomes one ModelError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError) as error:
        reason = _first_line(error)
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which is never run; take a model that transformers has itself"
        raise ModelError(f"{source.folder}: cannot be loaded: {reason}") from error


def _check_folder(name: str, folder: Path, kinds: tuple[str, ...]) -> str:
    """The architecture that a folder's configuration names, after a look at what is there."""
    try:
        configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = str(configuration["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{name}: without a config.json that names a model_type; wanted a model of transformers"
        ) from error
    if kinds and model_type not in kinds:
        raise ModelError(f"{name}: a model of the kind {model_type!r}; wanted {' or '.join(kinds)}")
    if not any((folder / weights).is_file() for weights in _WEIGHTS):
        raise ModelError(
            f"{name}: has no model.safetensors, and weights of other kinds are not loaded; name a revision that has "
            f"one (such as {name}@refs/pr/NUMBER of a conversion), or write one to a folder with save_pretrained"
        )
    return model_type


def _fetch(model: str, revision: str | None) -> Path:
    """The folder of one commit in the hub's cache."""
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    place = model if revision is None else f"{model} at revision {revision}"
    try:
        return Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=list(_FETCHED),
                ignore_patterns=list(_NOT_FETCHED),
                library_name="derain",
            )
        )
    except GatedRepoError as error:
        raise ModelError(f"{place}: access is granted on the hub only; ask for it there, then hf auth login") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{model}: no such model on the hub, or a private one that needs hf auth login") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{model}: has no revision {revision!r}; give a branch, a tag or a commit") from error
    except HFValidationError as error:
        raise ModelError(f"{model}: not the name of a model on the hub; wanted owner/name or a folder") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.TransportError) as error:
        raise ModelError(
            f"{place}: not in the hub's cache, and no answer from the hub (no network, or set to stay offline); fetch "
            "it where there is a network (hf download), or name a folder that holds it"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(f"{place}: could not be fetched from the hub: {_first_line(error)}; try again") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the bars and tables that transformers prints while it loads."""
    from transformers.utils import logging

    talk: Any = logging  # some of its functions have no types
    level, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        yield
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")[:200]
