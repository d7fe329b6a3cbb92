"""One self-contained HTML page about a run: what was kept and why, how judges agree, what it cost, how it looks."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from derain.distill.judges.interface import Outcome
from derain.distill.knowledge.references import ReferenceSource, ReferenceVectors
from derain.distill.report.charts import bars, pyramid
from derain.distill.report.feature_map import draw_feature_map
from derain.distill.report.gallery import make_gallery
from derain.distill.report.tally import Tally, tally_run
from derain.distill.report.wording import advice, plain_judges, plain_reason
from derain.distill.results import check_run, noted_total
from derain.distill.review.agreement import Agreement, agreement
from derain.distill.review.votes import VOTES_NAME, read_votes
from derain.errors import DistillError, MissingExtraError
from derain.files import write_text
from derain.types import RainType

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class ReportLimits:
    """What a page holds at most, whatever the size of the run."""

    gallery_pairs: int = 24
    """Of each outcome."""
    gallery_characters: int = 2_000_000
    """Of the pictures of one gallery."""
    map_dots: int = 900
    table_rows: int = 40
    """Of each table; what is left is summed up in one more row."""


def write_report(
    out: Path,
    path: Path | None = None,
    references: ReferenceSource | None = None,
    price_per_hour: float | None = None,
    seed: int = 0,
    limits: ReportLimits = ReportLimits(),
) -> Path:
    """Write the report of a run; returns where it is. The same run gives the same page.

    Args:
        out: the folder of the run.
        path: of the page; `report.html` in the folder by default.
        references: the knowledge base, for the real photographs on the feature map, and for the top of the pyramid,
            which otherwise is what the run noted.
        price_per_hour: of the machine, in any currency, to put a price to the seconds of the stages.
        seed: which pairs the galleries show.

    Raises:
        DistillError: there is no run, a table is damaged, or the page cannot be written.
        MissingExtraError: pyarrow or jinja2 is not installed.
    """
    check_run(out)
    path = path or out / REPORT_NAME
    page = report_html(out, references.vectors() if references is not None else None, price_per_hour, seed, limits)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, page)
    except OSError as error:
        raise DistillError(
            f"{path}: the report cannot be written ({error.strerror}); check the folder, its space and rights"
        ) from error
    return path


def report_html(
    out: Path, references: ReferenceVectors | None, price_per_hour: float | None, seed: int, limits: ReportLimits
) -> str:
    """The page's text."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("the report", "distill") from error
    pages = files("derain.distill.report") / "pages"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"share": _share, "kappa": _kappa, "duration": _duration, "number": _number, "about": _about}
    environment.filters["plain"] = plain_reason
    tally = tally_run(out)
    real = len(references) if references is not None else _real_of(out)
    feature_map = draw_feature_map(out, references, limits.map_dots)
    kept, dropped = tally.outcomes[Outcome.KEPT], tally.outcomes[Outcome.DROPPED]
    galleries = [
        make_gallery(out, outcome, limits.gallery_pairs, seed, limits.gallery_characters)
        for outcome in (Outcome.KEPT, Outcome.DROPPED)
    ]
    return environment.from_string((pages / "report.html.j2").read_text("utf-8")).render(
        style=Markup((pages / "report.css").read_text("utf-8")),
        name=out.resolve().name,
        tally=tally,
        outcomes=list(Outcome),
        real=real,
        pyramid=Markup(pyramid(real, kept, dropped, tally.candidates)),
        bars=Markup(bars(_labelled(tally))),
        tables={
            "source": _bounded(tally.sources, limits.table_rows),
            "type": _bounded(_labelled(tally), limits.table_rows),
        },
        reasons={outcome: _bounded_counts(tally.reasons[outcome], limits.table_rows) for outcome in Outcome},
        waits=advice(tally.reasons[Outcome.PENDING]),
        galleries=galleries,
        judges=plain_judges([judge.name for judge in tally.judges]),
        labels=_labels(),
        study=_study(out),
        stages=tally.stages,
        price_per_hour=price_per_hour,
        map=feature_map,
        map_svg=Markup(feature_map.svg) if feature_map is not None else "",
    )


def _study(out: Path) -> Agreement | None:
    """None where nobody voted, also where all lines of the file of votes are broken off."""
    return agreement(out) if read_votes(out / VOTES_NAME).latest else None


def _real_of(out: Path) -> int | None:
    """How many real photographs the run noted that it had; None where it had none."""
    return noted_total(out, "real") or None


def _labels() -> dict[str, str]:
    return {each.value: each.label for each in RainType} | {"": "unknown"}


def _labelled(tally: Tally) -> dict[str, Mapping[Outcome, int]]:
    return {_labels().get(name, name): counts for name, counts in tally.types.items()}


def _bounded(rows: Mapping[str, Mapping[Outcome, int]], most: int) -> dict[str, Mapping[Outcome, int]]:
    """The rows with the highest sums; all others in one."""
    ranked = sorted(rows.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    shown = dict(ranked[:most])
    if ranked[most:]:
        rest = {outcome: sum(counts.get(outcome, 0) for _, counts in ranked[most:]) for outcome in Outcome}
        shown[f"{len(ranked) - most} others"] = rest
    return shown


def _bounded_counts(counts: Mapping[str, int], most: int) -> dict[str, int]:
    ranked = list(counts.items())
    rest = sum(count for _, count in ranked[most:])
    return dict(ranked[:most]) | ({f"{len(ranked) - most} others": rest} if rest else {})


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _kappa(kappa: float | None) -> str:
    return "-" if kappa is None else f"{kappa:.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _about(value: float) -> str:
    """With three figures, such as 21,600,000."""
    return f"{float(f'{value:.3g}'):,.0f}"


def _duration(seconds: float) -> str:
    """With three figures: milliseconds, seconds, minutes, hours or days."""
    for unit, length in (("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        following = {"ms": 1.0, "s": 120.0, "min": 7200.0, "h": 172800.0}[unit]
        if seconds < following:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"
