"""Draw the picture of docs/reweighting.md: four forms of AF on a run in which one type diverges in the end.

    python examples/reweighting_picture.py

The losses are made up, smooth and the same for all; the numbers that the text quotes are printed.
"""

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from derain.objectives.reweight import Reweighting, ReweightSettings, Tick
from derain.types import RainType

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "reweighting.png"
TICKS = 300
TURN = 260
"""From this tick on the loss of night drops rises."""
COURSES = {
    RainType.DRS: (0.040, 0.030, 25.0),
    RainType.DRD: (0.060, 0.025, 110.0),
    RainType.NRS: (0.030, 0.045, 15.0),
    RainType.NRD: (0.070, 0.050, 60.0),
}
"""Final loss, what is lost on the way there, and the ticks in which that falls to 1/e."""
PLAIN = ReweightSettings(
    method="full", af_types="all", floor=0.025, tbs_horizon="window", weight_momentum=0.0, significance=0.0, forget=1.0
)
FORMS = {
    "as printed": PLAIN.model_copy(update={"method": "paper", "signal": "probe"}),
    "|·|": PLAIN,
    "|·| and forgetting": PLAIN.model_copy(update={"forget": 0.98}),
    "full": ReweightSettings(method="full"),
}
"""The first three take the probe, compare slopes of the window and have one floor: they differ by AF alone. The last is
the method as it is: AF falls only for what certainly rises, TBS compares whole runs, and weights follow slowly."""
COLOURS = {RainType.DRS: "#0072b2", RainType.DRD: "#56b4e9", RainType.NRS: "#d55e00", RainType.NRD: "#e69f00"}
TONES = ("#b2182b", "#777777", "#1b7837", "#762a83")


def losses(tick: int) -> dict[str, float]:
    """The probe's loss of each type; that of night drops rises from TURN on."""
    found: dict[str, float] = {
        name: final + lost * math.exp(-tick / constant) for name, (final, lost, constant) in COURSES.items()
    }
    found[RainType.NRD] += 0.0005 * max(0, tick - TURN)
    return found


def follow(settings: ReweightSettings) -> list[Tick]:
    reweighting = Reweighting(list(RainType), settings)
    return [reweighting.tick(losses(tick)) for tick in range(TICKS)]


def draw_weights(axes: Axes, name: str, ticks: list[Tick]) -> None:
    for rain_type in RainType:
        weights = [tick.weights[rain_type] for tick in ticks]
        axes.plot(weights, color=COLOURS[rain_type], label=rain_type.label, linewidth=1.6)
    axes.set_ylabel(f"weight, {name}", fontsize=9)
    axes.set_ylim(0, 1)
    axes.axhline(0.25, color="#bbbbbb", linewidth=0.8, zorder=0)


def main() -> None:
    runs = {name: follow(settings) for name, settings in FORMS.items()}
    figure, rows = plt.subplots(6, 1, figsize=(9, 13.5), sharex=True, height_ratios=(1.1, 1.4, 1, 1, 1, 1))
    for rain_type in RainType:
        rows[0].plot([losses(tick)[rain_type] for tick in range(TICKS)], color=COLOURS[rain_type], linewidth=1.6)
    rows[0].set_ylabel("loss of the probe", fontsize=9)
    for (name, ticks), tone in zip(runs.items(), TONES, strict=True):
        factors = [math.nan if tick.af is None else tick.af for tick in ticks]
        rows[1].plot(factors, color=tone, label=name, linewidth=1.8)
        told = {tick: round(factors[tick], 4) for tick in (50, 100, 200, TURN, TURN + 5, TURN + 20)}
        share = {tick: round(ticks[tick].weights[RainType.NRD], 3) for tick in (TURN, TURN + 5, TURN + 20)}
        print(f"{name}: AF {told}, weight of night drops {share}")
    rows[1].set_ylabel("AF", fontsize=9)
    rows[1].set_ylim(-0.04, 1.06)
    rows[1].legend(loc="center left", bbox_to_anchor=(0.3, 0.5), fontsize=9)
    for axes, (name, ticks) in zip(rows[2:], runs.items(), strict=True):
        draw_weights(axes, name, ticks)
    rows[2].legend(loc="upper left", bbox_to_anchor=(0.08, 1), ncols=4, fontsize=9)
    rows[-1].set_xlabel("tick")
    for axes in rows:
        axes.axvline(TURN, color="black", linewidth=0.8, linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
    rows[0].annotate("night drops diverge", (TURN, 0.105), ha="right", xytext=(-5, 0), textcoords="offset points")
    rows[0].set_xlim(0, TICKS - 1)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=90)
    print(f"{PICTURE}: {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
