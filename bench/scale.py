"""What a million things cost: each question and order of the registry, at a million and at a thousand.

    python bench/scale.py                                builds both registries, measures, prints
    python bench/scale.py --large 20000 --repeats 40     a first look
    python bench/scale.py --keep DIR                     leave the registries there, and take them from there
    python bench/scale.py --docs docs/benchmarks.md      put the tables into the document

The registries are built with bulk inserts of rows as enrolments leave them (``bench/support/fleet.py``). Then
both are open at once, and take turns: each figure is a median, and a ratio is of two medians of one run.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `bench.support`, wherever this is started

from bench.support import fleet, machine, pages, scale_ports, scale_served


def main() -> int:
    """Measure, and print."""
    options = _parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=options.folder) as name:
        folder = options.keep or Path(name)
        folder.mkdir(exist_ok=True, parents=True)
        places = [_built(folder, Path(name), count) for count in (options.small, options.large)]
        ports = scale_ports.measure(places, [options.small, options.large], options.repeats)
        served = scale_served.measure(Path(name), places, options.rounds) if options.rounds else []
        facts = machine.describe(folder)
    sizes = (f"{options.small:,}", f"{options.large:,}")
    how = f"medians of {options.repeats} calls of each kind, the two registries in turn."
    text = "\n\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d}: {how}",
            "\n".join(f"- {fact}" for fact in facts),
            _table(("through the ports, µs each", *sizes, "ratio"), ports),
            *([_table(("served", *sizes, "ratio"), served)] if served else []),
        ]
    )
    pages.put(text, options.docs, "bench/scale.py")
    return 0


def _built(folder: Path, work: Path, count: int) -> Path:
    """A registry that may be changed; the one that stays is not."""
    path = folder / f"fleet-{count}.db"
    if not path.exists():
        print(f"building a registry of {count:,} things", file=sys.stderr, flush=True)
        fleet.build(path, count)
    copy = work / f"work-{count}.db"
    shutil.copyfile(path, copy)
    copy.chmod(0o600)
    return copy


def _table(titles: tuple[str, ...], measured: list[tuple[str, float, float]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "| --- " * len(titles) + "|"]
    for name, small, large in measured:
        digits = 0 if small >= 100 else 1
        lines.append(f"| {name} | {small:,.{digits}f} | {large:,.{digits}f} | **{large / small:.2f}** |")
    ratios = [large / small for _, small, large in measured if small]
    return "\n".join([*lines, "", f"Median of the ratios: {statistics.median(ratios):.2f}."])


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=int, default=1_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=400, help="calls of each kind")
    parser.add_argument("--rounds", type=int, default=5, help="of the served figures; 0 leaves them out")
    parser.add_argument("--folder", type=Path, help="where the temporary folder goes")
    parser.add_argument("--keep", type=Path, help="where the registries stay")
    parser.add_argument("--docs", type=Path, help="the document to write into")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
