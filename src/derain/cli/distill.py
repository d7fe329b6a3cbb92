"""`derain distill run | report | export | review | agreement | calibrate`: keep the trustworthy pairs of many."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from derain.cli.console import INTERRUPTED, SOME_FAILED, UsageErrorGroup, print_line
from derain.cli.distill_base import Base, Preset, Set, TheBase, base_app, index, print_counts
from derain.duration import duration

if TYPE_CHECKING:
    from derain.distill.pipeline.engine import Engine
    from derain.distill.pipeline.progress import Progress
    from derain.distill.pipeline.run import RunReport
    from derain.distill.review.study import Study

distill_app = typer.Typer(
    cls=UsageErrorGroup,
    no_args_is_help=True,
    help="Pick the trustworthy pairs out of many, by comparing them with real rainy photographs.",
)
distill_app.command()(index)
distill_app.add_typer(base_app, name="base")

Run = Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a run.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the page on this machine; 0 takes a free one.")]
Variant = Literal["full", "only-vlm", "no-retrieval", "no-generation"]  # as in settings; a test compares them


@distill_app.command()
def run(
    candidates: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST", help="Manifests of candidate pairs (CSV, Parquet).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; the same command resumes it.")],
    base: Annotated[
        str | None, typer.Option("--db", help="Knowledge base of real photographs: a folder, or a URI of LanceDB.")
    ] = None,
    preset: Preset = "offline",
    overrides: Set = None,
    variant: Annotated[Variant | None, typer.Option(help="Leave stages out, as in the paper's Table 4.")] = None,
    cascade: Annotated[bool, typer.Option("--cascade", help="Ask one judge after the other, until two agree.")] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This process, or the workers of a Ray cluster.")
    ] = "local",
    ray: Annotated[
        Path | None, typer.Option("--ray", help="Workers for each stage of a Ray run (YAML; fields in the reference).")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of the models' answers, which all runs may share.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what an earlier run in this folder did; answers stay.")
    ] = False,
) -> None:
    """Judge candidate pairs against real rainy photographs and write down which can be trusted, and why.

    You can stop or kill it at any moment; the same command resumes it. Exit status 1 when candidates are pending, for a
    model that gave no answer or for files that could not be read.
    """
    from derain.distill.models import open_models, preset_settings
    from derain.distill.pipeline.run import distill

    given = [f"variant={variant}"] if variant is not None else []
    given += ["judging.cascade=true"] if cascade else []
    settings = preset_settings(preset, [*(overrides or ()), *given])
    chosen = _engine(engine, ray)
    try:
        report = distill(candidates, base, out, settings, open_models, chosen, cache, fresh, _progress())
    except KeyboardInterrupt:
        print_line("stopped; nothing is lost, and the same command resumes the run")
        raise typer.Exit(INTERRUPTED) from None
    _print_report(report, out)
    if not report.is_complete:
        raise typer.Exit(SOME_FAILED)


def _engine(name: str, ray: Path | None) -> "Engine":
    from derain.errors import SettingsError
    from derain.settings import load_settings

    if name == "ray":
        from derain.distill.pipeline.ray_engine import RayEngine, RaySettings

        return RayEngine(load_settings(RaySettings, ray))
    if ray is not None:
        raise SettingsError(f"--ray {ray} is for --engine ray; add that, or leave the file out")
    from derain.distill.pipeline.local_engine import LocalEngine

    return LocalEngine()


def _progress() -> "Callable[[Progress], None]":
    """A callback that prints how far a run is, every 20 seconds and at the end of a phase."""
    from time import monotonic

    last = {"prepare": 0.0, "judge": 0.0}

    def notify(progress: "Progress") -> None:
        now = monotonic()
        if now - last[progress.phase] < 20 and progress.done < progress.total:
            return
        last[progress.phase] = now
        left = "" if progress.remaining_s is None else f", about {duration(progress.remaining_s)} left"
        print_line(f"{progress.phase}: {progress.done:,} of {progress.total:,}, {progress.rate:.1f} a second{left}")

    return notify


def _print_report(report: "RunReport", out: Path) -> None:
    outputs = report.outputs
    for name, tally in report.calls.items():
        mean = f", {tally.seconds / tally.asked:.3f} s each" if tally.asked else ""
        print_line(f"{name}: asked {tally.asked:,} times{mean}; {tally.from_cache:,} answers were known")
    print_line(
        f"kept {outputs.kept:,}, dropped {outputs.dropped:,}, pending {outputs.pending:,} in {duration(report.seconds)}"
    )
    for reason, count in outputs.reasons.items():
        print_line(f"  {count:>8,}  {reason}")
    for short in outputs.shortfalls:
        print_line(str(short))
    if outputs.without_references:
        types = ", ".join(f"{name} ({count:,} pairs)" for name, count in outputs.without_references.items())
        print_line(
            f"no photograph in the base to compare with: {types}; to have these judged, index photographs of these "
            "types and run into another folder, or with --fresh"
        )
    for reason, count in outputs.pending_reasons.items():
        print_line(f"{count:,} pending: {reason}")
    print_line(
        f"{outputs.manifest}: what can be trained on; {outputs.kept_file.name}, {outputs.dropped_file.name}: every row"
    )
    if not report.is_complete:
        print_line("the same command asks again for those that are pending; --fresh looks for pictures that came back")
    else:
        print_line(f"look at it: derain distill report {out}")


@distill_app.command()
def report(
    out: Run,
    base: Base = None,
    page: Annotated[Path | None, typer.Option("--page", help="The page to write; OUT/report.html by default.")] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Of the machine, in any currency, to price the stages.")
    ] = None,
) -> None:
    """Write one self-contained page about a run: counts, galleries, agreement, throughput, a map of features."""
    from derain.distill.knowledge.store import KnowledgeBase
    from derain.distill.report.page import write_report

    references = None if base is None else KnowledgeBase.open(base)
    print_line(f"{write_report(out, page, references, price_per_hour)}")


@distill_app.command()
def review(
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="Folder of a run, for a study.")] = None,
    base: Base = None,
    study: Annotated[
        int | None, typer.Option("--study", min=2, help="Vote blindly on so many kept and dropped pairs of OUT.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pairs that a study shows.")] = 0,
    port: Port = 8321,
) -> None:
    """Serve a page on this machine: accept or reject references (--db), or vote on candidates (OUT --study 20)."""
    if (base is None) == (out is None):
        raise typer.BadParameter("give either --db DIR, to look through references, or OUT --study 20, to vote")
    if base is not None and study is not None:
        raise typer.BadParameter("--study is for the pairs of a run: give OUT instead of --db")
    if out is None:
        from derain.distill.knowledge.store import KnowledgeBase
        from derain.distill.review.reference_page import serve_references

        assert base is not None
        serve_references(
            KnowledgeBase.open(base), port=port, on_ready=lambda url: print_line(f"open {url} (Ctrl-C ends it)")
        )
        return
    from derain.distill.review.study import serve_study

    def ready(url: str, drawn: "Study") -> None:
        if len(drawn.pairs) < drawn.wanted:
            print_line(f"the run has {len(drawn.pairs)} pairs to vote on, not {drawn.wanted}")
        print_line(f"open {url} (Ctrl-C ends it); afterwards: derain distill agreement {out}")

    serve_study(out, study or 20, seed, port=port, on_ready=ready)


@distill_app.command()
def agreement(out: Run) -> None:
    """Print how far judges and persons agree, from the votes of a study."""
    from derain.distill.review.agreement import agreement as compare
    from derain.distill.review.agreement import agreement_lines

    for line in agreement_lines(compare(out)):
        print_line(line)


@distill_app.command()
def calibrate(
    good: Annotated[Path, typer.Argument(metavar="GOOD", help="Manifest of pairs that are known to be trustworthy.")],
    negative: Annotated[Path, typer.Argument(metavar="NEGATIVES", help="Manifest of pairs that are known not to be.")],
    base: TheBase,
    judge: Annotated[str, typer.Option("--judge", help="A judge as judging.judges names it.")],
    preset: Preset = "offline",
    overrides: Set = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of the models' answers, which runs share.")
    ] = None,
) -> None:
    """Find the bias with which a judge keeps at most a fifth of known negative pairs, and print its AUC."""
    import shlex

    from derain.distill.calibrating import calibrate_judge
    from derain.distill.models import preset_settings

    settings = preset_settings(preset, overrides or ())
    found = calibrate_judge(judge, good, negative, base, settings, cache, print_counts())
    silent = f"; {found.without_score:,} without a score" if found.without_score else ""
    print_line(f"{judge} on {found.good:,} good and {found.negative:,} negative pairs: AUC {found.area:.3f}{silent}")
    print_line(
        f"a bias of {found.bias:g} keeps {found.good_kept:.0%} of the good pairs "
        f"and {found.negative_kept:.0%} of the negative ones"
    )
    if found.is_guess:
        print_line("with so few pairs this is a rough guess: give some dozens of each kind")
    print_line(f"use it: --set {shlex.quote(found.setting)}")


@distill_app.command()
def export(
    out: Run,
    target: Annotated[Path, typer.Option("--out", "-o", help="Folder to copy the pictures into.")],
    layout: Annotated[
        Literal["folders"], typer.Option(help="folders: SPLIT/TYPE/rainy and SPLIT/TYPE/clean, pairs of one name.")
    ] = "folders",
    split: Annotated[Literal["train", "test", "val"] | None, typer.Option(help="Only this split.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links instead of copies.")] = False,
) -> None:
    """Copy the kept pairs of a run into folders."""
    from derain.distill.pipeline.export import export_folders
    from derain.distill.results import check_run

    check_run(out)
    export_layout = {"folders": export_folders}[layout]
    done = export_layout(out / "manifest.csv", target, split, "link" if link else "copy")
    print_line(f"{done.target}: {done.pairs:,} pairs, {done.files:,} files")
