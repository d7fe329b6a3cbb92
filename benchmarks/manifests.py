"""How long a manifest of millions of rows takes to open, and how much memory.

    python benchmarks/manifests.py --rows 2400000

makes a CSV file, a CSV file with every cell in quotes and a Parquet file of synthetic rows, and opens each in a fresh
process: cold (checked and converted, nothing in the cache) and warm (mapped). It then counts the rows, selects those of
the split train, and reads a thousand of them. Seconds are of the wall and of the processor; the largest resident memory
includes the pages of mapped files. `base` is the same process before it opens anything, with NumPy and pyarrow loaded;
`held` is what the process has come to hold in memory of its own, mapped files apart, once the rows are selected, and
`by place` the same after reading rows by their place in the selection.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TYPES = ("drs", "drd", "nrs", "nrd")


def main() -> None:
    """Make the files, and open each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_400_000)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open is not None:
        print(json.dumps(measure(arguments.open)))
        return
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), arguments.rows)
        print(f"{arguments.rows} rows.\n")
        columns = "open, s | processor, s | memory, MB | select, s | all, MB | base, MB | held, MB | by place, MB"
        print(f"| manifest | MB | | {columns} |")
        print("|---|---:|" + "---|" + "---:|" * 8)
        for name, path in files.items():
            for state in ("cold", "warm"):
                command = [sys.executable, __file__, "--open", str(path)]
                environment = os.environ | {"DERAIN_CACHE": str(Path(folder) / "cache")}
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout)
                assert found["rows"] == arguments.rows
                print(
                    f"| {name} | {path.stat().st_size / 1e6:.0f} | {state} | {found['open_s']:.2f} | "
                    f"{found['open_cpu_s']:.2f} | {found['open_mb']} | {found['select_s']:.2f} | {found['all_mb']} | "
                    f"{found['base_mb']} | {found['held_mb']} | {found['by_place_mb']} |",
                    flush=True,
                )
        (converted, *_) = (Path(folder) / "cache").rglob("*.arrow")
        print(f"\nThe converted file has {converted.stat().st_size / 1e6:.0f} MB.")


def synthetic_rows(count: int) -> Iterator[list[str]]:
    """Rows as a large collection has them."""
    for n in range(count):
        name = TYPES[n % 4]
        split = {0: "val", 1: "probe"}.get(n % 50, "train")
        scene = f"scene-{n // 16:07d}"
        rainy, clean = f"rainy/{name}/{n // 10_000:04d}/{n:08d}.jpg", f"clean/{n // 40_000:04d}/{n // 4:08d}.jpg"
        yield [f"{name}-{n:08d}", rainy, clean, name, f"collection {n % 7}", split, scene]


def make_files(folder: Path, count: int) -> dict[str, Path]:
    """The three files, by what they are."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    names = ["id", "rainy", "clean", "type", "source", "split", "scene"]
    files = {"CSV": folder / "plain.csv", "CSV in quotes": folder / "quoted.csv", "Parquet": folder / "table.parquet"}
    for name, quoting in (("CSV", csv.QUOTE_MINIMAL), ("CSV in quotes", csv.QUOTE_ALL)):
        with files[name].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=quoting)
            writer.writerow(names)
            writer.writerows(synthetic_rows(count))
    strings = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    with (
        pa.csv.open_csv(files["CSV"], convert_options=strings) as batches,
        pq.ParquetWriter(files["Parquet"], batches.schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    return files


def measure(path: Path) -> dict[str, float]:
    """Open a manifest in this process."""
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401 - so that loading it is not counted

    from derain.data.table import open_table

    base_mb, base_own_mb = memory_mb("VmHWM"), memory_mb("RssAnon")
    wall, cpu = time.perf_counter(), time.process_time()
    table = open_table(path)
    open_s, open_cpu_s, open_mb = time.perf_counter() - wall, time.process_time() - cpu, memory_mb("VmHWM")
    wall = time.perf_counter()
    counted = sum(table.counts().values())
    rows = table.select("train", TYPES)
    held_mb = memory_mb("RssAnon") - base_own_mb
    some = [rows[n * len(rows) // 1000] for n in range(1000)]
    select_s = time.perf_counter() - wall
    assert counted == len(table)
    assert all(pair.split == "train" for pair in some)
    return {
        "rows": len(table),
        "base_mb": base_mb,
        "open_s": open_s,
        "open_cpu_s": open_cpu_s,
        "open_mb": open_mb,
        "select_s": select_s,
        "all_mb": memory_mb("VmHWM"),
        "held_mb": held_mb,
        "by_place_mb": memory_mb("RssAnon") - base_own_mb,
    }


def memory_mb(name: str) -> int:
    """Of this process, from Linux: `VmHWM`, its largest resident memory so far, or `RssAnon`, what is no file's now.

    (`ru_maxrss` would count the parent's, too.)
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return kib * 1024 // 1_000_000


if __name__ == "__main__":
    main()
