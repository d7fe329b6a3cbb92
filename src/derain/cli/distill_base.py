"""`derain distill index` and `derain distill base list | show | remove`: the knowledge base of real photographs."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from derain.cli.console import INTERRUPTED, SOME_FAILED, print_line, report_failures

if TYPE_CHECKING:
    from derain.distill.knowledge.record import ReviewStatus

Preset = Annotated[str, typer.Option("--preset", help="Models: offline, native, paper, or a YAML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as retrieval.k3=2; may be repeated."),
]
Base = Annotated[str | None, typer.Option("--db", help="Knowledge base: a folder, or a URI of LanceDB.")]
TheBase = Annotated[str, typer.Option("--db", help="Knowledge base: a folder, or a URI of LanceDB.")]
StatusName = Literal["unreviewed", "accepted", "rejected", "filtered"]

base_app = typer.Typer(no_args_is_help=True, help="Look into a knowledge base, and take photographs out.")


def index(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTOS", help="Real rainy photographs, or folders of them.")],
    base: TheBase,
    preset: Preset = "offline",
    overrides: Set = None,
    filter_file: Annotated[
        Path | None, typer.Option("--prefilter", help="What a new reference has to be (YAML; fields in the reference).")
    ] = None,
    types: Annotated[
        Path | None,
        typer.Option(
            "--types",
            help="Rain types that you give: a CSV with the columns path, type; paths are relative to its folder.",
        ),
    ] = None,
    types_by_folder: Annotated[
        bool, typer.Option("--types-by-folder", help="Photographs below folders named drs, drd, nrs, nrd are these.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder of the models' answers, which runs share.")
    ] = None,
) -> None:
    """Add real rainy photographs to a knowledge base: filtered, described, and made searchable.

    You can stop or kill it at any moment; the same command adds what is missing. Photographs that moved since are
    recognised by their content. Exit status 1 when files could not be read, or a model could not describe them.
    """
    from derain.distill.describing import describe_photographs
    from derain.distill.knowledge.photographs import manual_types
    from derain.distill.knowledge.prefilter import PrefilterSettings
    from derain.distill.knowledge.store import KnowledgeBase
    from derain.distill.models import preset_settings
    from derain.settings import load_settings

    settings = preset_settings(preset, overrides or ())
    prefilter = load_settings(PrefilterSettings, filter_file)
    given = manual_types(photos, types, types_by_folder)
    if given.not_found:
        print_line(
            f"{types}: {len(given.not_found):,} of the {given.in_table:,} photographs that it names are not among "
            f"those found, the first: {given.not_found[0]}"
        )
    try:
        report = describe_photographs(photos, base, settings, prefilter, given.types, cache, print_counts())
    except KeyboardInterrupt:
        print_line("stopped; what is finished is in the base, and the same command adds the rest")
        raise typer.Exit(INTERRUPTED) from None
    print_line(
        f"{report.found:,} files, of which {report.known:,} are in the base already or repeat another byte for byte"
    )
    print_line("added: " + (", ".join(f"{count:,} {name}" for name, count in sorted(report.added.items())) or "none"))
    if report.moved or report.retyped:
        print_line(f"of those it had, {report.moved:,} have moved and {report.retyped:,} were given another type")
    for reason, count in report.filtered.most_common():
        hint = "; the lowest of each type, see quality_percentile of --prefilter" if reason == "low_for_type" else ""
        print_line(f"filtered out: {count:,} {reason}{hint}")
    print_line(f"{base}: {_summary(KnowledgeBase.open(base).tally())}")
    failed = report.unreadable | {path: f"not described: {why}" for path, why in report.not_described.items()}
    report_failures([(str(path), reason) for path, reason in failed.items()], "file")
    if failed:
        raise typer.Exit(SOME_FAILED)


def print_counts() -> Callable[[int, int], None]:
    """A callback that prints how many are done of how many, every 20 seconds and at the end."""
    from time import monotonic

    last = [monotonic()]

    def notify(done: int, total: int) -> None:
        if monotonic() - last[0] >= 20 or done == total:
            last[0] = monotonic()
            print_line(f"{done:,} of {total:,}")

    return notify


def _summary(tally: "Mapping[tuple[ReviewStatus, str, str], int]") -> str:
    """Counts by (status, type, source) in words: references in use by type, the others by status."""
    from derain.distill.knowledge.record import IN_USE

    usable: dict[str, int] = {}
    others: dict[str, int] = {}
    for (status, rain_type, _), count in sorted(tally.items()):
        is_used = status in IN_USE
        row, key = (usable, rain_type) if is_used else (others, status)
        row[key] = row.get(key, 0) + count
    in_use = ", ".join(f"{count:,} {name}" for name, count in usable.items()) or "none"
    return f"references in use: {in_use}" + "".join(f"; {name}: {count:,}" for name, count in others.items())


@base_app.command("list")
def show_all(
    base: TheBase,
    rain_type: Annotated[Literal["drs", "drd", "nrs", "nrd"] | None, typer.Option("--type")] = None,
    status: Annotated[StatusName | None, typer.Option()] = None,
    source: Annotated[str | None, typer.Option(help="Only photographs of this folder or data set.")] = None,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """List photographs: digest, type, status, path, and why they were left out."""
    from derain.distill.knowledge.record import ReviewStatus
    from derain.distill.knowledge.store import KnowledgeBase

    store = KnowledgeBase.open(base)
    chosen = None if status is None else ReviewStatus(status)
    for record in store.list(rain_type, chosen, source, offset, limit):
        reason = f"  ({record.reason})" if record.reason else ""
        print_line(f"{record.digest[:16]}  {record.type or '-':4} {record.status:10} {record.path}{reason}")
    print_line(f"{store.count(rain_type, chosen, source):,} in all; {_summary(store.tally())}")


@base_app.command()
def show(digest: Annotated[str, typer.Argument(help="Of a photograph, or its first digits.")], base: TheBase) -> None:
    """Show all that the base knows of a photograph, and which models described it."""
    from derain.distill.knowledge.store import KnowledgeBase

    store = KnowledgeBase.open(base)
    record = store.get(store.complete(digest))
    print_line(f"digest       {record.digest}")
    print_line(f"path         {record.path}")
    print_line(f"source       {record.source}, {record.width} x {record.height}")
    print_line(f"type         {record.type or '-'} ({record.light or '-'})")
    print_line(f"status       {record.status}" + (f": {record.reason}" if record.reason else ""))
    print_line(f"quality      {record.quality:.3f}; perceptual hash {record.perceptual_hash:016x}")
    print_line(f"caption      {record.caption or '-'}")
    print_line(f"expansion    {record.expansion or '-'}")
    print_line(f"keywords     {', '.join(record.keywords) or '-'}")
    print_line(f"description  {record.description or '-'}")
    for role, identity in store.identities.by_role.items():
        print_line(f"{role:14} " + ("none" if identity is None else f"{identity.model} at {identity.revision}"))


@base_app.command()
def remove(
    base: TheBase,
    digests: Annotated[
        list[str] | None, typer.Argument(metavar="DIGEST", help="Of photographs, or their first digits.")
    ] = None,
    status: Annotated[
        StatusName | None, typer.Option(help="Instead of digests: all photographs of this status.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of these only those with this reason, such as blurred.")
    ] = None,
) -> None:
    """Remove photographs from a base; an index of their folder adds them again (to keep one out, reject it).

    Give digests, or a status. `--status filtered` lets an index with other limits measure again what was filtered.
    """
    from derain.distill.knowledge.record import ReviewStatus
    from derain.distill.knowledge.store import KnowledgeBase

    if bool(digests) == (status is not None):
        raise typer.BadParameter("give either digests or --status, such as --status filtered --reason blurred")
    if digests and reason is not None:
        raise typer.BadParameter("--reason goes with --status; leave it out beside digests")
    store = KnowledgeBase.open(base)
    if status is None:
        print_line(f"{store.remove([store.complete(digest) for digest in digests or ()]):,} removed")
        return
    removed = store.remove_all(ReviewStatus(status), reason)
    print_line(f"{removed:,} removed")
    if reason is not None and not removed:
        reasons = Counter(entry.reason.partition(":")[0] for entry in store.entries() if entry.status == status)
        present = ", ".join(f"{count:,} {name}" for name, count in reasons.most_common() if name)
        print_line(f"none is {status} as {reason}; reasons of those that are: {present or 'none'}")
