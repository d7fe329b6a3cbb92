"""Published weights for users: fetch them from the hub or a folder, write them to a folder, push them."""

from pathlib import Path

from derain.errors import CheckpointError
from derain.infer.restore import Restorer, load
from derain.models.find import find_checkpoint, hub_model, is_repo_id, shipped_weights
from derain.models.publication import Publication, prepare


def from_pretrained(
    repo_or_folder: str | Path,
    revision: str | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    tile: int | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Restorer:
    """Load weights that were published with `push_to_hub` or `save_pretrained`.

    A folder is read as it lies there, without a network and without the extra `hub`. Everything else is a repository;
    its weights are fetched once and then come from the cache. No code from the hub is run.

    Args:
        repo_or_folder: `owner/name` on the hub, or a folder.
        revision: branch, tag or commit of the repository; None is the default branch.
        device, precision, tile: as for `derain.load`.
        token: of the hub, for private repositories; None takes the one that was logged in with.
        cache_dir: where fetched files are kept; None is the hub's usual place.
        local_files_only: ask nobody, take what is in the cache.
        force_download: fetch anew what is in the cache already.

    Raises:
        CheckpointError: no such repository, revision or folder; no network; or the weights are not ours or broken.
        SettingsError: the device, precision or tile cannot be used here.
        MissingExtraError: a repository is wanted and the extra `hub` is not installed.
    """
    name = str(repo_or_folder)
    if Path(name).is_dir():
        if revision is not None:
            raise CheckpointError(f"{name}: a folder, which has no revisions; leave revision={revision!r} out")
        return load(find_checkpoint(Path(name).absolute()), device, precision, tile)
    _check_repo_id(name)
    fetched = hub_model().from_pretrained(
        name,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    try:
        return load(fetched.weights, device, precision, tile)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: its weights cannot be used: {error}") from error


def save_pretrained(
    weights: str | Path, folder: str | Path, *, card: str | Path | None = None, licence: str | None = None
) -> Path:
    """Write weights with a config.json and a model card into a folder that `from_pretrained` loads; needs no network.

    Args:
        weights: a shipped model's name, a weights file, or a folder of a run or of published weights.
        folder: made if it is not there; an earlier publication in it is replaced, unless its card was edited since and
            no `card` is given.
        card: text for the model card, Markdown; None takes the .md file beside the weights, if there is one.
        licence: terms of use, in place of those that the weights' header states. Where neither states any, those of an
            earlier publication in the folder hold on.

    Returns:
        The folder.

    Raises:
        CheckpointError: the weights are missing, foreign or broken; the folder cannot be written, or holds a README.md,
            config.json or model.safetensors that is not derain's, or an edited card; or the card's front matter
            contradicts the weights' header, or their terms those of the earlier publication.
    """
    prepare(weights, None if card is None else Path(card), licence, folder=Path(folder)).write(Path(folder))
    return Path(folder)


def push_to_hub(
    weights: str | Path,
    repo_id: str,
    *,
    card: str | Path | None = None,
    licence: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    message: str = "Publish weights",
    token: str | None = None,
) -> str:
    """Publish weights on the hub: one commit with the weights, config.json and a model card.

    The repository is made if it is not there. The weights are loaded once before anything is sent, so that broken ones
    are never published.

    Args:
        weights, card, licence: as for `save_pretrained`.
        repo_id: `owner/name`.
        private: whether a new repository is private; None leaves it to the owner's defaults.
        revision: the branch to push to; None is the default branch.
        message: of the commit.
        token: of the hub, with the right to write; None takes the one that was logged in with.

    Returns:
        The address of the commit.

    Raises:
        CheckpointError: the weights are missing, foreign or broken; the hub cannot be reached or refuses.
        MissingExtraError: the extra `hub` is not installed.
    """
    publication = prepare_push(weights, repo_id, None if card is None else Path(card), licence)
    return push(publication, repo_id, private, revision, message, token)


def prepare_push(weights: str | Path, repo_id: str, card: Path | None, licence: str | None) -> Publication:
    """Check all of `push_to_hub` that can be checked on this machine; raises as that does."""
    _check_repo_id(repo_id)
    hub_model()
    return prepare(weights, card, licence, repo_id)


def push(
    publication: Publication,
    repo_id: str,
    private: bool | None = None,
    revision: str | None = None,
    message: str = "Publish weights",
    token: str | None = None,
) -> str:
    """Send what `prepare_push` checked; arguments, result and errors are those of `push_to_hub`."""
    model = hub_model()
    from derain.models.hub import hub_errors

    with hub_errors(repo_id, revision, "pushed"):
        return str(
            model(publication).push_to_hub(
                repo_id, private=private, branch=revision, commit_message=message, token=token
            )
        )


def _check_repo_id(name: str) -> None:
    if is_repo_id(name):
        return
    if name in shipped_weights():
        raise CheckpointError(
            f"{name}: neither a folder nor owner/name; these weights are shipped: derain.load({name!r})"
        )
    raise CheckpointError(f"{name}: no such folder, nor the name of a repository on the hub (owner/name)")
