"""Ablations: variants of one training configuration, trained one after the other on the same data, seeds and budget.

A study is a folder of configurations, one per variant, that build on one base. Each variant with each seed is a trial:
a run of its own, in a process of its own, whose settings are written down beside it. A study that was stopped continues
when the same command is given again: finished trials are kept, a begun one is resumed.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Literal

import yaml

from derain.errors import SettingsError, TrainingError
from derain.files import write_text
from derain.settings import differences
from derain.train.folder import MAY_CHANGE, RunFolder, describe_changes
from derain.train.methods.registry import load_configuration
from derain.train.settings import TrainSettings
from derain.train.signals import StopRequest

ORDER = (
    *("none", "hard_hard", "soft_soft", "hard_soft", "soft_hard"),
    *("uniform", "paper", "released", "full", "fixed_af", "no_tss", "no_tbs"),
)
"""Variants in the order of the paper's tables; others follow by name."""

COMMON = ("data.", "validation.", "steps", "max_minutes", "batch_size")
"""What the variants of a study have in common; without it they could not be compared."""

KEPT = frozenset(
    key for key in MAY_CHANGE - {"steps", "max_minutes", "model.initial_weights"} if not key.startswith("reweighting.")
)
"""Settings of a trial that may change between two sessions of a study. A run may grow longer, or be weighted otherwise
from now on; a trial may not, for the others would be compared with one that had more time or was two variants."""

INSTEAD_OF = {"run": "-o", "seed": "--seeds", "steps": "--steps", "max_minutes": "--minutes"}
"""Settings that a study gives to its trials, and the option that says how."""

OUT_OF_REACH = 10_000_000
"""Steps of a trial whose budget is in minutes."""

Progress = Literal["new", "begun", "finished"]


@dataclass(frozen=True)
class Budget:
    """What each trial may use; with neither, that of the configurations."""

    steps: int | None = None
    """Optimizer steps."""
    minutes: float | None = None
    """Minutes of training; such trials depend on the machine's speed."""

    def overrides(self) -> list[str]:
        """The budget as `key=value`."""
        if self.steps is not None and self.minutes is not None:
            raise SettingsError("--steps and --minutes are two budgets; give one of them")
        if self.minutes is not None:
            return [f"max_minutes={self.minutes}", f"steps={OUT_OF_REACH}"]
        return [f"steps={self.steps}", "max_minutes=null"] if self.steps is not None else []


@dataclass(frozen=True)
class Trial:
    """One variant with one seed."""

    variant: str
    seed: int
    settings: TrainSettings
    configuration: Path
    """Where the settings are written down; `derain train` takes them from there."""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.settings.run)

    def progress(self) -> Progress:
        """How far the trial has come in earlier sessions.

        Raises:
            TrainingError: its folder holds something else, or a run with other settings or another budget.
        """
        folder = self.folder
        if not folder.root.exists() or (folder.root.is_dir() and not any(folder.root.iterdir())):
            return "new"
        if not folder.settings.is_file():
            raise TrainingError(f"{folder.root}: wanted a run of this study, or nothing; remove it or give another -o")
        changed = folder.changes(self.settings, KEPT)
        if changed:
            raise TrainingError(
                f"{folder.root}: cannot be resumed with other settings: {describe_changes(changed)}. "
                "Give the old values, or another -o for a study of its own"
            )
        return "finished" if folder.final.exists() else "begun"


def plan_trials(
    recipes: Path,
    study: str,
    out: Path,
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    budget: Budget = Budget(),
) -> list[Trial]:
    """The trials of a study, all variants of one seed before the next seed; nothing is written yet.

    Args:
        recipes: folder that holds a folder of training configurations per study.
        study: name of that folder.
        out: folder for the runs, `out/VARIANT/seedN`.
        only: variants to take; all if empty.
        overrides: settings of every trial, as `key=value`.
        seeds: seeds of the runs.
        budget: what each may use.

    Raises:
        SettingsError: the study or a variant is not there, settings are refused, or the variants cannot be compared.
    """
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in INSTEAD_OF:
            raise SettingsError(f"--set {override}: {key} is the study's to give; use {INSTEAD_OF[key]}")
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        given = ", ".join(map(str, seeds)) or "none"
        raise SettingsError(f"--seeds: wanted one or more different whole numbers from 0 on, got {given}")
    chosen = [*overrides, *budget.overrides()]
    trials = []
    for seed in seeds:
        for path in _variants(recipes, study, only):
            run = out / path.stem / f"seed{seed}"
            settings = load_configuration(path, [*chosen, f"seed={seed}"])
            settings = settings.model_copy(update={"run": run})
            trials.append(Trial(path.stem, seed, settings, out / "recipes" / f"{path.stem}-seed{seed}.yaml"))
    _require_comparable([trial for trial in trials if trial.seed == seeds[0]])
    return trials


def _variants(recipes: Path, study: str, only: Sequence[str]) -> list[Path]:
    """The configurations of a study, in the order of its table."""
    folder = recipes / study
    found = {path.stem: path for path in folder.glob("*.yaml")}
    if not found:
        there = sorted({path.parent.name for path in recipes.glob("*/*.yaml")})
        hint = f"there are: {', '.join(there)}" if there else "give the folder of recipes/ablations by --recipes"
        raise SettingsError(f"{folder}: no study with training configurations there; {hint}")
    for name in only:
        if name not in found:
            nearest = get_close_matches(name, found, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are: {', '.join(sorted(found))}"
            raise SettingsError(f"{folder}: no variant {name!r}; {hint}")
    place = {name: number for number, name in enumerate(ORDER)}
    names = sorted(only or found, key=lambda name: (place.get(name, len(place)), name))
    return [found[name] for name in dict.fromkeys(names)]


def _require_comparable(trials: Sequence[Trial]) -> None:
    """Variants differ in something, but neither in their data nor in their budget."""
    for one, other in combinations(trials, 2):
        changed = differences(one.settings, other.settings)
        changed.pop("run")
        if not changed:
            raise SettingsError(
                f"{one.variant} and {other.variant} have the same settings; leave to the variants what they differ in "
                "(--set overrides their files), or take one of them by --only"
            )
        apart = {key: values for key, values in changed.items() if key.startswith(COMMON)}
        if apart:
            both = "; ".join(f"{key} {first!r} and {second!r}" for key, (first, second) in apart.items())
            raise SettingsError(
                f"{one.variant} and {other.variant} cannot be compared, for they differ in {both}; set these in the "
                "base of the study's configurations or by --set"
            )


@contextmanager
def sole_use(out: Path) -> Iterator[tuple[int, ...]]:
    """Make the folder and keep other studies out of it; gives the open files that a trial's process has to inherit.

    The lock is held until this process and the trial's are gone, so that a trial that outlived a killed study is never
    trained by a second process.

    Raises:
        TrainingError: another study or its trial is at work there, or the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("w")
    except OSError as error:
        raise TrainingError(f"{error.filename}: cannot be written ({error.strerror}); give another -o") from error
    with file:
        try:
            import fcntl
        except ModuleNotFoundError:  # only Unix has it
            yield ()
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"{out}: another study, or a trial that a killed one left behind, is at work there; wait for it, stop "
                "it, or give another -o"
            ) from error
        yield (file.fileno(),)


@dataclass(frozen=True)
class Ending:
    """How a session of one trial ended."""

    status: int
    """Exit status as `derain train` has it; negative where the system ended it."""
    signal_number: int | None = None
    """The signal that asked this process to stop, if one did."""


TrainTrial = Callable[[Trial, bool], Ending]
"""Trains a trial to its end; the second argument is whether it has begun already."""


def train_apart(inherited: Sequence[int] = ()) -> TrainTrial:
    """Training in a process of its own, which gives its memory back and has its own devices.

    Ctrl-C and SIGTERM are passed on: the trial finishes its step and saves. A second Ctrl-C ends it at once.
    """

    def train(trial: Trial, resume: bool) -> Ending:
        command = [sys.executable, "-m", "derain", "train", str(trial.configuration), *(["--resume"] if resume else [])]
        with StopRequest() as stop, subprocess.Popen(command, pass_fds=inherited) as child:
            is_passed_on = False
            try:
                while (status := _wait(child, 0.2)) is None:
                    if stop.received is not None and not is_passed_on:
                        child.terminate()  # one in the same terminal had its own Ctrl-C, and does not mind this
                        is_passed_on = True
            except BaseException:
                child.kill()
                raise
        return Ending(status, None if stop.received is None else int(stop.received))

    return train


def _wait(child: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


@dataclass(frozen=True)
class Session:
    """What a session of a study came to."""

    failed: tuple[tuple[Trial, int], ...]
    """Trials that broke off, with their exit status; the others were trained all the same."""
    signal_number: int | None
    """The signal that stopped it, if one did."""


def train_trials(trials: Sequence[Trial], train: TrainTrial, notify: Callable[[str], None]) -> Session:
    """Train what is not finished yet, one after the other.

    Raises:
        TrainingError: a folder holds something else or a run with other settings (before anything is trained), or a
            trial cannot begin as it was asked for.
    """
    progress = [trial.progress() for trial in trials]
    failed: list[tuple[Trial, int]] = []
    for number, (trial, done) in enumerate(zip(trials, progress, strict=True), start=1):
        what = {"new": "begins", "begun": "is resumed", "finished": "is finished already"}[done]
        notify(f"[{number}/{len(trials)}] {trial.name}: {what} ({trial.settings.run})")
        if done == "finished":
            continue
        write_configuration(trial)
        ending = train(trial, done == "begun")
        if ending.signal_number is not None or ending.status in (130, 143):
            return Session(tuple(failed), ending.signal_number or ending.status - 128)
        if ending.status == 2:
            raise TrainingError(f"{trial.name} cannot be trained as it was asked for; the reason stands above")
        if ending.status != 0:
            failed.append((trial, ending.status))
            notify(f"{trial.name}: broke off with exit status {ending.status}; the others are trained")
    return Session(tuple(failed), None)


def write_configuration(trial: Trial) -> None:
    """Write the trial's settings where `derain train` finds them."""
    try:
        trial.configuration.parent.mkdir(parents=True, exist_ok=True)
        write_text(trial.configuration, yaml.safe_dump(trial.settings.model_dump(mode="json"), sort_keys=False))
    except OSError as error:
        raise TrainingError(f"{trial.configuration}: cannot be written ({error.strerror}); give another -o") from error
