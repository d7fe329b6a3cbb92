"""Published weights on a model hub, through huggingface_hub's mixin.

This file needs the extra `hub`; whoever goes to the hub imports it when they go there. Of a repository nothing but
`model.safetensors` is loaded: code, pickles and configurations from the hub are never used.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx2
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from derain.errors import CheckpointError
from derain.models.checkpoints import read_header
from derain.models.find import PUBLISHED_WEIGHTS, find_checkpoint
from derain.models.publication import Publication


class HubModel(ModelHubMixin, library_name="derain"):
    """Weights that can be pushed to the hub and fetched from it; the mixin makes the repository and the commit.

    `save_pretrained(folder)` and `push_to_hub(repo_id)` come from the mixin.
    """

    def __init__(self, publication: Publication) -> None:
        self.publication = publication

    @property
    def weights(self) -> Path:
        """The weights file on this machine."""
        return self.publication.weights

    def _save_pretrained(self, save_directory: Path) -> None:
        self.publication.write(save_directory)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # closed on purpose, see below
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> "HubModel":
        """Weights of a published folder, or of a repository, from the cache if they are there and still the newest.

        The mixin's own method would read the repository's config.json and let its keys fill arguments; our weights
        say in their header all that loading needs, so this one fetches them alone.

        Args:
            pretrained_model_name_or_path: a folder, or `owner/name` on the hub.
            revision: a branch, tag or commit; None is the default branch.
            local_files_only: take what is in the cache and ask nobody.

        Raises:
            CheckpointError: there is no such repository, revision or file, no network and nothing in the cache, or
                the file is not one of ours.
        """
        name = str(pretrained_model_name_or_path)
        if Path(name).is_dir():
            path = find_checkpoint(Path(name).absolute())
            return cls(Publication(path, read_header(path)))
        with hub_errors(name, revision, "fetched"), _quiet_retries():
            path = Path(
                hf_hub_download(
                    name,
                    PUBLISHED_WEIGHTS,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    token=token,
                    local_files_only=local_files_only,
                    library_name="derain",
                )
            )
        try:
            return cls(Publication(path, read_header(path)))
        except CheckpointError as error:
            raise CheckpointError(f"{name}: its {PUBLISHED_WEIGHTS} cannot be used: {error}") from error


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Without a network the hub's client logs each of its attempts; our error reports the result once."""
    logger = logging.getLogger("huggingface_hub.utils._http")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def hub_errors(repo_id: str, revision: str | None, done: Literal["fetched", "pushed"]) -> Iterator[None]:
    """Whatever goes wrong with the hub in here becomes one CheckpointError that says what to do.

    `done` is what should have been done.
    """
    place = repo_id if revision is None else f"{repo_id} at revision {revision}"
    try:
        yield
    except GatedRepoError as error:
        raise CheckpointError(f"{place}: access is granted on the hub only; ask for it there, then log in") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{repo_id}: no such repository on the hub, or a private one that needs you to log in (hf auth login)"
        ) from error
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{repo_id}: has no revision {revision!r}; give a branch, a tag or a commit") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        silence = "no answer from the hub (no network, or told to stay offline)"
        instead = (
            "; try again with a network, or publish to a folder"
            if done == "pushed"
            else ", and nothing in the cache; try again with a network, or use a folder"
        )
        raise CheckpointError(f"{place}: could not be {done}: {silence}{instead}") from error
    except EntryNotFoundError as error:
        raise CheckpointError(
            f"{place}: a repository without {PUBLISHED_WEIGHTS}; it was not published by derain"
        ) from error
    except HFValidationError as error:
        raise CheckpointError(f"{repo_id}: not a name of a repository; wanted owner/name") from error
    except HfHubHTTPError as error:
        raise CheckpointError(f"{place}: could not be {done}: {_reason(error)}{_login_hint(error)}") from error
    except httpx2.HTTPError as error:
        raise CheckpointError(
            f"{place}: could not be {done}: no answer from the hub ({_reason(error)}); try again with a network"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{place}: could not be {done}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of a message, which holds what matters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


def _login_hint(error: HfHubHTTPError) -> str:
    if error.response is not None and error.response.status_code in (401, 403):
        return "; log in with a token that may write there (hf auth login)"
    return ""
