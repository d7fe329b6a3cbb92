"""`derain distill index` and `derain distill base list | show | remove`: the knowledge base of real photographs."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derain.cli.console import INTERRUPTED, SOME_FAILED, report_failures, say, usage_errors
from derain.errors import DatasetError

if TYPE_CHECKING:
    from derain.distill.knowledge.indexing import IndexReport

Preset = Annotated[
    str, typer.Option("--preset", help="Models: offline, native, paper, or a YAML file (see the guide).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, such as retrieval.k3=2; may be repeated."),
]
Base = Annotated[str | None, typer.Option("--db", help="Knowledge base: a folder, or a URI of LanceDB.")]
TheBase = Annotated[str, typer.Option("--db", help="Knowledge base: a folder, or a URI of LanceDB.")]

base_app = typer.Typer(no_args_is_help=True, help="Look into a knowledge base, and take photographs out.")
