"""What a knowledge base says of itself: the form of its tables, and the models that it was made with."""

from derain.distill.knowledge.identities import BaseIdentities
from derain.distill.knowledge.lance import connect, has_table
from derain.distill.knowledge.rows import SCHEMA_VERSION
from derain.errors import DistillError

_ABOUT = "about"


def has_about(uri: str) -> bool:
    """Whether a base has described itself there."""
    return has_table(uri, _ABOUT)


def write_about(uri: str, identities: BaseIdentities) -> None:
    """Describe a new base, in one move.

    Raises:
        DistillError: a base stands there already, or the place cannot be written to.
        MissingExtraError: LanceDB is not installed.
    """
    connection = connect(uri)
    import pyarrow as pa

    if has_about(uri):
        raise DistillError(f"{uri}: a knowledge base stands there already; open it, or choose another place")
    about = {"name": ["schema_version", "models"], "value": [str(SCHEMA_VERSION), identities.to_json()]}
    connection.create_table(_ABOUT, data=pa.table(about))


def read_about(uri: str) -> BaseIdentities:
    """The models of the base that is there.

    Raises:
        DistillError: it is of a newer version.
        MissingExtraError: LanceDB is not installed.
    """
    rows = connect(uri).open_table(_ABOUT).search().limit(None).to_arrow().to_pylist()
    about = {row["name"]: row["value"] for row in rows}
    version = int(about["schema_version"])
    if version > SCHEMA_VERSION:
        raise DistillError(
            f"{uri}: this knowledge base has version {version}, and this derain reads up to {SCHEMA_VERSION}; "
            "update derain"
        )
    return BaseIdentities.from_json(about["models"])
