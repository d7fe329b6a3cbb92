"""Where training configurations are found: a path, or the name of one that comes with the package."""

from difflib import get_close_matches
from pathlib import Path

import derain
from derain.errors import SettingsError


def shipped_folder() -> Path:
    """The configurations that come with the package: in a wheel inside of it, in a checkout in the folder `recipes`."""
    package = Path(derain.__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parents[1] / "recipes"


def find_configuration(given: Path) -> Path:
    """The file of a configuration, given as a path or as the name of a shipped one, such as `tiny`.

    A file of that path goes first. What has a folder or an ending is a path and nothing else.

    Raises:
        SettingsError: there is no such file, and no shipped configuration of that name.
    """
    if given.exists() or given.suffix or len(given.parts) != 1:
        return given
    shipped = {file.stem: file for file in sorted(shipped_folder().glob("*.yaml"))}
    if given.name in shipped:
        return shipped[given.name]
    nearest = get_close_matches(given.name, shipped, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"shipped are: {', '.join(shipped) or 'none'}"
    raise SettingsError(f"{given}: no such file, and no shipped training configuration of this name; {hint}")


def find_studies(given: Path | None) -> Path:
    """The folder that studies lie in: the one given, or that of the shipped ones."""
    return shipped_folder() / "ablations" if given is None else given
