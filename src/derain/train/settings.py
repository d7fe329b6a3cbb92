"""Everything that a training configuration can set."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from derain.data.paired import CLEAN_LABEL
from derain.objectives.reweight import ReweightSettings
from derain.settings import Settings
from derain.train.simulated import SimulationSettings


class ModelSettings(Settings):
    """Which network learns."""

    name: str = "tiny"
    """A name of the model list: full, small, tiny or unet-tiny."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Changes to the named model's own settings, such as `router_noise: 0`; checked when the model is built."""
    initial_weights: Path | None = None
    """Weights to start from instead of random ones: a shipped model's name, a weights file, the folder of a run, a
    published folder, or `owner/name` on the hub. Of a network with other settings what fits is taken."""


class ManifestSettings(Settings):
    """One manifest of real or prepared pairs."""

    path: Path
    """The manifest, a CSV or Parquet file."""
    weight: float = Field(default=1.0, gt=0)
    """How often it is asked for a sample, relative to the other sources that have the type."""


class ReplaySettings(Settings):
    """Earlier data among the present data, so that it is not forgotten."""

    manifests: tuple[ManifestSettings, ...] = Field(min_length=1)
    """Manifests of the earlier pairs."""
    types: tuple[str, ...] = Field(min_length=1)
    """Names of the types that are replayed, in turn; they may be other ones than `data.types`."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Replayed samples among all; with share x batch_size a whole number, every batch has exactly so many."""


class DataSettings(Settings):
    """What is learnt from."""

    types: tuple[str, ...] = ("drs", "drd", "nrs", "nrd")
    """Names of the types. Any name that a manifest has; the simulation has the four of rain, snow and haze."""
    sampling: Literal["balanced", "natural"] = "balanced"
    """How often a type is drawn: each equally often, or by the number of rows it has."""
    photos: Path | None = None
    """Index (CSV) of clean photographs on which rain is simulated; none to learn from manifests only."""
    photos_weight: float = Field(default=1.0, ge=0)
    """How often the simulation is asked for a sample, relative to the manifests that have the type."""
    manifests: tuple[ManifestSettings, ...] = ()
    """Manifests of pairs to learn from beside, or instead of, the simulation."""
    replay: ReplaySettings | None = None
    """Earlier pairs to learn from beside the present data; none without replay."""
    simulation: SimulationSettings = SimulationSettings()
    """How rain is put on photographs."""
    crop: int = Field(default=128, ge=16, multiple_of=16)
    """Side of the square training crops in pixels."""
    crops_per_picture: int = Field(default=10, ge=1)
    """Crops cut from each picture, used in as many successive batches; more is cheaper, fewer is more varied."""
    turn: bool = True
    """Turn and flip crops in all eight ways; off: only mirror them, which keeps up and down (streaks fall)."""
    clean_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of samples whose input is the clean picture itself, so that pictures without rain stay as they are."""
    workers: int = Field(default=1, ge=0)
    """Processes that prepare samples; 0 prepares them in the training process. Does not change the samples."""
    check: Literal["all", "none"] = "all"
    """Whether every file is looked for and its size read before the run starts; what passed is not looked at again."""
    digest: Literal["contents", "sizes", "manifest"] = "contents"
    """What the digest of the training data is taken over: the files' contents, or (faster) their paths and sizes, or
    (for millions of rows) the bytes of the manifests alone."""

    @model_validator(mode="after")
    def _has_data(self) -> "DataSettings":
        if len(set(self.types)) != len(self.types) or not self.types:
            raise ValueError("types must be one or more different names")
        if CLEAN_LABEL in self.types:
            raise ValueError(f"no type may be called {CLEAN_LABEL!r}: that is what samples without weather are called")
        return self

    def replayed(self) -> "DataSettings":
        """The settings of what `replay` names, read, cropped and sampled as the present data is."""
        assert self.replay is not None  # asked for with replay only
        changed = {"photos": None, "manifests": self.replay.manifests, "types": self.replay.types, "replay": None}
        return self.model_copy(update=changed)


class OptimizerSettings(Settings):
    """AdamW and its schedule."""

    lr: float = Field(default=2e-4, gt=0)
    """Highest learning rate, reached after the warm-up."""
    lr_min: float = Field(default=1e-6, ge=0)
    """Learning rate at the end of the run; between them runs half a cosine."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises from nearly nothing to the cosine."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of the gradients."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the mean of the squared gradients."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Decoupled decay of matrices and kernels; biases, norms and temperatures are left alone."""
    clip_norm: float = Field(default=1.0, gt=0)
    """The gradient of all parameters together is scaled down to this norm when it is longer."""
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the exponential moving average (EMA) of the weights, which is validated and exported; rises to this over
    the first steps."""


class LossSettings(Settings):
    """What a restored picture is judged by while learning."""

    pixel: Literal["l1", "charbonnier"] = "l1"
    """The plain term over all pixels; `rain_share` weights its L1 form only."""
    rain_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the L1 that is weighted by the rain mask, so that rain covering few pixels is not lost; 0: plain L1."""
    least_rain: float = Field(default=0.1, gt=0, le=1)
    """Mean rain mask below which a picture's rain is weighted no further up: no pixel weighs more than 1 / this."""
    frequency_weight: float = Field(default=0.0, ge=0)
    """Weight of the L1 between Fourier transforms; 0 leaves the term out."""

    @model_validator(mode="after")
    def _share_needs_l1(self) -> "LossSettings":
        if self.pixel != "l1" and self.rain_share > 0:
            raise ValueError("rain_share weights the l1 term; set rain_share to 0 for another pixel loss")
        return self


class ValidationSettings(Settings):
    """When and on what the run is judged."""

    every_steps: int = Field(default=1000, ge=1)
    """Steps between two validations; there is one more at the end."""
    pictures_per_type: int = Field(default=12, ge=1)
    """Pictures of each type in the fixed validation set."""
    side: int = Field(default=256, ge=16, multiple_of=16)
    """Validation pictures are cut to squares of at most this side in pixels."""
    seed: int = Field(default=1, ge=0)
    """Seed of the validation set's rain, apart from that of the training."""


class MethodSettings(Settings):
    """How the network learns."""

    name: str = "supervised"
    """A name of the method list: supervised."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of the method's own, none for supervised; settings.yaml of a run has them all."""


class TrainSettings(Settings):
    """One training run."""

    run: Path
    """Folder of the run: settings, log, checkpoints and weights go there."""
    seed: int = Field(default=0, ge=0)
    """All randomness of the run follows from it."""
    model: ModelSettings = ModelSettings()
    """Which network learns."""
    method: MethodSettings = MethodSettings()
    """How it learns."""
    data: DataSettings = DataSettings()
    """What is learnt from."""
    loss: LossSettings = LossSettings()
    """What a restored picture is judged by."""
    reweighting: ReweightSettings = ReweightSettings()
    """How much each type counts in the loss, from tick to tick."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """How the weights are moved."""
    validation: ValidationSettings = ValidationSettings()
    """When and on what the run is judged."""
    steps: int = Field(default=300_000, ge=1)
    """Length of the run in optimizer steps."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Length of the run in minutes, if that is reached before `steps`. The learning rate then follows whichever of
    the two is further on, so that it ends low; such a run depends on the machine's speed and is not repeatable to
    the bit."""
    batch_size: int = Field(default=8, ge=1)
    """Crops in a step, over all devices together; a multiple of the number of types has each of them equally often in
    every step."""
    accumulate: int = Field(default=1, ge=1)
    """Parts in which a device computes its share of a step, one after the other, where memory is short."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic: float32 throughout, or bfloat16 where it is safe, or float16 with scaled gradients."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the network learns; auto takes the best that is there."""
    devices: int = Field(default=1, ge=1)
    """Devices (or processes, on CPUs) of each node that learn together; torchrun's own count goes before."""
    nodes: int = Field(default=1, ge=1)
    """Machines that learn together; torchrun's own count goes before."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of the training process on the CPU; none leaves torch's choice."""
    log_every_steps: int = Field(default=25, ge=1)
    """Steps between two lines of the log; losses are means over them."""
    checkpoint_every_steps: int = Field(default=250, ge=1)
    """Steps between two savings of the training state; a killed run loses at most these."""
    keep_every_steps: int | None = Field(default=None, ge=1)
    """Steps between two weights files that are kept for good, beside the last state and the best weights."""
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Where figures go beside log.jsonl."""
