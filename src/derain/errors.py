"""Everything that derain raises on purpose.

DerainError
├── ImageError        a picture cannot be read, written or taken as input
│   └── DamagedImageError  pixels of it are missing or broken
├── DatasetError      a manifest, folder or pair is not what it should be
├── CheckpointError   a weights file is truncated, foreign or does not fit
├── SettingsError     a setting is unknown or out of range
├── TrainingError     a training run cannot go on
├── DistillError      a knowledge base, a distillation run or a study of it is not what it should be
├── ModelError        a model of others cannot be had or gives no answer now
│   └── QuestionError a model cannot answer this one question; the next it may answer well
└── MissingExtraError an optional dependency is needed and not installed

Each message says what was wanted, what came, and what to do.
"""


class DerainError(Exception):
    """Root of the tree: catch this to catch all of ours."""


class ImageError(DerainError):
    """A picture cannot be read, written or taken as input."""


class DamagedImageError(ImageError):
    """Pixels of a picture are missing or broken."""

    is_decodable = False
    """Whether some can be decoded, where damaged pictures are allowed."""


class DatasetError(DerainError):
    """A manifest, folder or pair is not what it should be."""


class CheckpointError(DerainError):
    """A weights file is truncated, foreign or does not fit."""


class SettingsError(DerainError):
    """A setting is unknown or out of range."""


class TrainingError(DerainError):
    """A training run cannot go on."""


class MissingExtraError(DerainError):
    """An optional dependency is needed and not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency; install it with: pip install 'derain[{extra}]'")


class DistillError(DerainError):
    """A knowledge base, a distillation run or a study of it is not what it should be."""


class ModelError(DerainError):
    """A model of others cannot be had or gives no answer now."""


class QuestionError(ModelError):
    """A model cannot answer this one question: asking it again does not help, and other questions are not concerned."""
