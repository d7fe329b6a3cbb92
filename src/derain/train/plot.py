"""Pictures of how runs went, drawn from their logs: losses, gains and weights by type, and runs against each other.

After UniRain's figures 1c and 1d (types that converge together) and 7 (ways of weighting them). Every type has its
colour (of Okabe and Ito's palette, which colour-blind people can distinguish) and its line style, the same in all
pictures; runs stand side by side on the same axes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, StrMethodFormatter

from derain.data.paired import CLEAN_LABEL
from derain.errors import TrainingError
from derain.train.log import Row, RunLog, read_log
from derain.train.validation import HARMLESS_DB
from derain.types import RainType

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#000000")
STYLES = ("-", "--", "-.", ":")
CLEAN_STYLE = (0.0, (7.0, 1.5, 1.0, 1.5, 1.0, 1.5))
"""Of clean pictures: a long dash and two dots, which is no type's, so that it is distinct without colour too."""

Course = tuple[list[int], list[float]]
"""Steps and the values at them."""


@dataclass(frozen=True)
class Drawn:
    """What became of a request for plots."""

    written: tuple[Path, ...]
    left_out: tuple[str, ...]
    """A sentence for every plot that the logs have nothing for."""


def draw(runs: Sequence[Path], folder: Path) -> Drawn:
    """Read the logs of runs and draw into a folder, which is made; pictures of a former call are replaced.

    Args:
        runs: folders of one or several runs.
        folder: gets `loss.png`, `psnr_gain.png`, `validation_loss.png`, `weights.png`, `relative_loss.png`, and of
            several runs `runs.png`; what the logs have nothing for is left out.

    Raises:
        TrainingError: a folder is no run's, or nothing can be drawn or written.
    """
    logs = _named(runs, [read_log(run) for run in runs])
    types = types_of(logs)
    styles: Styles = {name: (COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)]) for i, name in enumerate(types)}
    styles[CLEAN_LABEL] = ("#777777", CLEAN_STYLE)
    wanted: list[tuple[str, str, Callable[[], Figure | None]]] = [
        ("loss.png", "no line of training yet", lambda: _losses(logs, types, styles)),
        ("psnr_gain.png", "no validation yet", lambda: _gains(logs, types, styles)),
        ("validation_loss.png", "no validation with L1 yet", lambda: _validation_losses(logs, types, styles)),
        ("weights.png", "no reweighting in the log", lambda: _weights(logs, types, styles)),
        ("relative_loss.png", "no reweighting in the log", lambda: _relative_losses(logs, types, styles)),
    ]
    if len(logs) > 1:
        wanted.append(("runs.png", "no validation yet", lambda: _runs(logs, types)))
    written, left_out = [], []
    for name, why_not, make in wanted:
        figure = make()
        if figure is None:
            left_out.append(f"{name}: {why_not}")
        else:
            written.append(_save(figure, folder / name))
    if not written:
        raise TrainingError(f"{', '.join(map(str, runs))}: nothing to draw yet; wait for the first line of the log")
    return Drawn(tuple(written), tuple(left_out))


def types_of(logs: Sequence[RunLog]) -> list[str]:
    """The types in the logs: the four that have names here in their order, then others in that of the alphabet."""
    found = set()
    for log in logs:
        for row in log.train:
            found |= {key.removeprefix("loss.") for key in row if key.startswith("loss.")}
        for row in log.validation:
            found |= {key.removesuffix(".psnr_out") for key in row if key.endswith(".psnr_out")}
        for row in log.reweighting:
            found |= set(row["weights"])
    known = [name.value for name in RainType]
    return [name for name in known if name in found] + sorted(found - {*known, CLEAN_LABEL})


def smoothed(values: Sequence[float], share: float = 0.03) -> list[float]:
    """Mean over a window centred on each value, `share` of the course to either side (shorter towards the ends)."""
    reach = max(1, round(share * len(values)))
    means = []
    for i in range(len(values)):
        near = min(reach, i, len(values) - 1 - i)
        window = values[i - near : i + near + 1]
        means.append(sum(window) / len(window))
    return means


def course(rows: Sequence[Row], value: Callable[[Row], object]) -> Course:
    """Steps and values of the rows that have one that is a finite number."""
    steps, values = [], []
    for row in rows:
        found = value(row)
        if isinstance(found, int | float) and math.isfinite(found):
            steps.append(int(row["step"]))
            values.append(float(found))
    return steps, values


def at(key: str, inner: str | None = None) -> Callable[[Row], object]:
    """What reads `row[key]`, or `row[key][inner]`, of a row; None where there is none."""
    return lambda row: row.get(key) if inner is None else row.get(key, {}).get(inner)


def gain_db(name: str, row: Row) -> float | None:
    """How far a type's PSNR lies above that of its rainy input, dB, at a validation; None if it was not judged."""
    before, after = row.get(f"{name}.psnr_in"), row.get(f"{name}.psnr_out")
    return None if before is None or after is None else float(after) - float(before)


def relative_l1(name: str, row: Row) -> float | None:
    """A type's L1 after restoring, over that of its rainy input, at a validation; None if it was not judged."""
    before, after = row.get(f"{name}.l1_in"), row.get(f"{name}.l1_out")
    return None if before is None or after is None else float(after) / max(float(before), 1e-8)


def worst_psnr(types: Sequence[str], row: Row) -> float | None:
    """PSNR of the type that is restored worst, dB, at a validation; None if none of the types was judged."""
    return min(_psnrs(types, row), default=None)


def mean_psnr(types: Sequence[str], row: Row) -> float | None:
    """PSNR averaged over the types, dB, at a validation; None if none of the types was judged."""
    found = _psnrs(types, row)
    return sum(found) / len(found) if found else None


def _psnrs(types: Sequence[str], row: Row) -> list[float]:
    return [float(row[f"{name}.psnr_out"]) for name in types if row.get(f"{name}.psnr_out") is not None]


LineStyle = str | tuple[float, tuple[float, ...]]
"""A name, or an offset and the lengths of dashes and gaps."""

Styles = dict[str, tuple[str, LineStyle]]
"""Type -> colour and line style."""


def _losses(logs: Sequence[RunLog], types: Sequence[str], styles: Styles) -> Figure | None:
    if not any(log.train for log in logs):
        return None
    grid = _Grid(logs, "Training loss by type (faint: as logged)", "loss (images in [0, 1])")
    has_positive = False
    for log, axes in zip(logs, grid.main, strict=True):
        for name in [*types, CLEAN_LABEL]:
            steps, values = course(log.train, at(f"loss.{name}"))
            if steps:
                colour, style = styles[name]
                axes.plot(steps, values, color=colour, alpha=0.22, linewidth=0.8)
                axes.plot(steps, smoothed(values), color=colour, linestyle=style, label=_label(name))
                has_positive = has_positive or max(values) > 0
    if has_positive:  # losses of exactly 0 have no place on a logarithmic scale
        for axes in grid.main:
            _logarithmic(axes)
    return grid.finish()


def _gains(logs: Sequence[RunLog], types: Sequence[str], styles: Styles) -> Figure | None:
    if not any(log.validation for log in logs):
        return None
    with_clean = any(f"{CLEAN_LABEL}.psnr_out" in row for log in logs for row in log.validation)
    grid = _Grid(
        logs,
        "Validation: gain in PSNR over the rainy input, by type",
        "gain in PSNR (dB)",
        "PSNR of clean\npictures (dB)" if with_clean else None,
    )
    for log, axes in zip(logs, grid.main, strict=True):
        axes.axhline(0, color="#999999", linewidth=0.8)
        for name in types:
            steps, values = course(log.validation, partial(gain_db, name))
            if steps:
                colour, style = styles[name]
                axes.plot(steps, values, color=colour, linestyle=style, marker="o", markersize=3, label=_label(name))
        axes.plot(*course(log.validation, at("gain_db")), color="black", linewidth=2.4, label="mean")
    for log, axes in zip(logs, grid.strips, strict=False):
        steps, values = course(log.validation, at(f"{CLEAN_LABEL}.psnr_out"))
        axes.plot(steps, values, color=styles[CLEAN_LABEL][0], marker="o", markersize=3)
        axes.axhline(HARMLESS_DB, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(
            f"harmless from {HARMLESS_DB:.0f} dB",
            (0.99, HARMLESS_DB),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=8,
        )
        axes.margins(y=0.25)
    return grid.finish()


def _validation_losses(logs: Sequence[RunLog], types: Sequence[str], styles: Styles) -> Figure | None:
    if not any(relative_l1(name, row) is not None for log in logs for row in log.validation for name in types):
        return None
    grid = _Grid(logs, "Validation: L1 of the output over that of the rainy input, by type", "L1 / L1 of the input")
    for log, axes in zip(logs, grid.main, strict=True):
        axes.axhline(1, color="#999999", linewidth=0.8)
        for name in types:
            steps, values = course(log.validation, partial(relative_l1, name))
            if steps:
                colour, style = styles[name]
                axes.plot(steps, values, color=colour, linestyle=style, marker="o", markersize=3, label=_label(name))
    return grid.finish()


def _weights(logs: Sequence[RunLog], types: Sequence[str], styles: Styles) -> Figure | None:
    if not any(log.reweighting for log in logs):
        return None
    with_af = any(row.get("af") is not None for log in logs for row in log.reweighting)
    title = "Weights by type (dotted: all equal)"
    grid = _Grid(logs, title, "weight (they sum to 1)", "AF (share of TBS)" if with_af else None)
    for log, axes in zip(logs, grid.main, strict=True):
        own = [name for name in types if any(name in row["weights"] for row in log.reweighting)]
        if not own:
            _note(axes, "no reweighting")
        else:
            axes.axhline(1 / len(own), color="#999999", linewidth=0.8, linestyle=":")
        for name in own:
            steps, values = course(log.reweighting, at("weights", name))
            colour, style = styles[name]
            # A weight holds until the next tick.
            axes.plot(steps, values, color=colour, linestyle=style, drawstyle="steps-post", label=_label(name))
        axes.set_ylim(bottom=0)
    for log, axes in zip(logs, grid.strips, strict=False):
        steps, values = course(log.reweighting, at("af"))
        axes.plot(steps, values, color="black", drawstyle="steps-post")
        if not steps:
            _note(axes, "none")
        axes.set_ylim(-0.05, 1.05)
    return grid.finish()


def _relative_losses(logs: Sequence[RunLog], types: Sequence[str], styles: Styles) -> Figure | None:
    if not any(log.reweighting for log in logs):
        return None
    grid = _Grid(logs, "Loss that the weights go by, relative to its first value", "loss / first loss")
    for log, axes in zip(logs, grid.main, strict=True):
        axes.axhline(1, color="#999999", linewidth=0.8)
        if not log.reweighting:
            _note(axes, "no reweighting")
        for name in types:
            steps, values = course(log.reweighting, at("losses", name))
            if steps:
                colour, style = styles[name]
                ratios = [value / max(values[0], 1e-8) for value in values]
                axes.plot(steps, ratios, color=colour, linestyle=style, label=_label(name))
        axes.set_ylim(bottom=0)
    return grid.finish()


def _runs(logs: Sequence[RunLog], types: Sequence[str]) -> Figure | None:
    """The worst type and the mean over the types, every run a line."""
    if not any(log.validation for log in logs):
        return None
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    figure.suptitle("Validation: runs compared")
    worst_axes, mean_axes = figure.subplots(1, 2)
    for number, log in enumerate(logs):
        colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
        for axes, value in ((worst_axes, worst_psnr), (mean_axes, mean_psnr)):
            steps, values = course(log.validation, partial(value, types))
            axes.plot(steps, values, color=colour, linestyle=style, marker="o", markersize=3, label=log.name)
    for axes, title in ((worst_axes, "type with the lowest PSNR"), (mean_axes, "mean over the types")):
        axes.set_title(title, fontsize=10)
        _finish_axes(axes, "PSNR (dB)")
        axes.set_xlabel("step")
    figure.legend(*worst_axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(logs)))
    return figure


class _Grid:
    """A panel for each run, on shared axes; below each, where there is something for it, a strip of its own."""

    def __init__(self, logs: Sequence[RunLog], title: str, label: str, strip_label: str | None = None) -> None:
        columns = min(3, len(logs))
        lines = math.ceil(len(logs) / columns)
        heights = [3.0, 1.0] if strip_label else [3.0]
        width = 7.6 if columns == 1 else 4.4 * columns
        self.figure = Figure(figsize=(width, (5.4 if strip_label else 4.4) * lines), layout="constrained")
        self.figure.suptitle(title)
        self.main: list[Axes] = []
        self.strips: list[Axes] = []
        grid = self.figure.add_gridspec(lines * len(heights), columns, height_ratios=heights * lines)
        for number, log in enumerate(logs):
            line, column = divmod(number, columns)
            first = self.main[0] if self.main else None
            axes = self.figure.add_subplot(grid[line * len(heights), column], sharex=first, sharey=first)
            if len(logs) > 1:
                axes.set_title(log.name, fontsize=10)
            self.main.append(axes)
            lowest = axes
            _finish_axes(axes, label if column == 0 else "")
            if strip_label:
                first = self.strips[0] if self.strips else None
                lowest = self.figure.add_subplot(grid[line * len(heights) + 1, column], sharex=axes, sharey=first)
                axes.tick_params(labelbottom=False)
                self.strips.append(lowest)
                _finish_axes(lowest, strip_label if column == 0 else "")
            lowest.set_xlabel("step")

    def finish(self) -> Figure:
        """Put one legend below, for all panels."""
        found: dict[str, Artist] = {}
        for axes in self.main:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                found.setdefault(str(label), handle)
        columns = 3 if self.figure.get_figwidth() < 8 else 6
        self.figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)
        return self.figure


def _label(name: str) -> str:
    """`drs (day streaks)` where the type has a name here."""
    return f"{name} ({RainType(name).label})" if name in set(RainType) else name


def _finish_axes(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _note(axes: Axes, text: str) -> None:
    """Words in the middle of an empty panel."""
    axes.text(0.5, 0.4, text, transform=axes.transAxes, ha="center", va="center", color="#777777")


def _logarithmic(axes: Axes) -> None:
    """A scale on which halving is the same everywhere, with plain numbers at it."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(lambda *_: "")


def _named(runs: Sequence[Path], logs: Sequence[RunLog]) -> list[RunLog]:
    """The logs under names that differ: the folders', or their whole paths where those are the same."""
    names = [log.name for log in logs]
    if any(one == other for one, other in pairwise(sorted(names))):
        names = [str(run) for run in runs]
    return [RunLog(n, log.train, log.validation, log.reweighting) for n, log in zip(names, logs, strict=True)]


def _save(figure: Figure, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130, format="png")
    except OSError as error:
        raise TrainingError(
            f"{path}: the plot cannot be written ({error.strerror}); name another folder by -o"
        ) from error
    return path
