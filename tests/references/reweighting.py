"""Weights of the types from a whole table of losses at once: every tick is computed from all of the history."""

from collections.abc import Sequence

from derain.objectives.methods import Plan
from derain.objectives.reweight import Reweighting, Tick
from derain.objectives.slopes import (
    EPSILON,
    EPSILON_RELEASED,
    adaptive_factor,
    adaptive_factor_printed,
    adaptive_factor_released,
    balance_scores,
    blend_weights,
    change_error,
    change_since_start,
    convergence_slope,
    mix,
    raise_to_floor,
    slope_error,
    stability_scores,
    weights_released,
)


def weights_of_every_tick(table: Sequence[Sequence[float]], plan: Plan) -> list[list[float]]:
    """A row of weights for each row of losses (ticks, types), by the equations in their batch form."""
    released = plan.method == "released"
    curves = [list(row) if released else ratios(row, table[0]) for row in table]
    types = range(len(table[0]))
    rows: list[list[float]] = []
    history: list[list[float]] = []
    largest: list[float] = []
    errors: list[float] = []
    for now in range(1, len(table) + 1):
        if now <= plan.warmup or plan.method == "uniform":
            rows.append([1 / len(types) for _ in types])
            continue
        window = curves[max(0, now - plan.window) : now]
        slopes = [convergence_slope([row[i] for row in window]) for i in types]
        history.append(slopes)
        before = rows[-1]
        considered = [i for i in types if plan.af_types == "all" or before[i] >= (1 - 1e-9) / len(types)]
        error = [slope_error([row[i] for row in window]) for i in types]
        worst = max(considered, key=lambda i: (slopes[i] - plan.significance * error[i], slopes[i]))
        largest.append(convergence_slope([max(row) for row in window]) if released else slopes[worst])
        errors.append(error[worst])
        changes = [change_since_start([row[i] for row in window], curves[0][i]) for i in types]
        change_errors = [change_error([row[i] for row in window]) for i in types]
        epsilon = EPSILON_RELEASED if released else EPSILON
        if plan.tbs_horizon == "window":
            tbs = balance_scores(slopes, epsilon, error, plan.significance)
        else:
            tbs = balance_scores(changes, epsilon, change_errors, plan.significance)
        tss = stability_scores(history[-plan.window :], epsilon)
        if released:
            factor = adaptive_factor_released(largest[-plan.window :], plan.tau)
            rows.append(blend_weights(before, weights_released(factor, tbs, tss, plan.floor), plan.weight_momentum))
            continue
        constants = {"fixed-af": 0.5, "no-tss": 1.0, "no-tbs": 0.0}
        if plan.method in constants:
            factor = constants[plan.method]
        elif plan.method == "paper":
            factor = adaptive_factor_printed(largest, plan.tau, plan.forget)
        else:
            factor = adaptive_factor(largest, plan.tau, plan.forget, errors, plan.significance)
        rows.append(blend_weights(before, raise_to_floor(mix(factor, tbs, tss), plan.floor), plan.weight_momentum))
    return rows


def ratios(losses: Sequence[float], first: Sequence[float]) -> list[float]:
    return [loss / max(start, 1e-8) for loss, start in zip(losses, first, strict=True)]


def follow(reweighting: Reweighting, table: Sequence[Sequence[float]]) -> list[Tick]:
    """All ticks over a table of losses (ticks, types in the order of `reweighting.types`)."""
    return [reweighting.tick(dict(zip(reweighting.types, row, strict=True))) for row in table]
