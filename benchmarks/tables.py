"""Writes the tables of docs/performance.md from the stored results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_marks import renewed

from pipeline.settings.run import RunSettings
from pipeline.stages.cluster import NodeResources, actor_bytes, cluster_layout

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
START = "<!-- tables of benchmarks/results, written by `python benchmarks/tables.py` -->"
END = "<!-- end of tables -->"
LAID_OUT = (("posrefine_tiny", 256, (1.0,)), ("dekr_w32", 512, (1.0,)), ("dekr_w48", 640, (0.5, 1.0, 2.0)))
CORES, GB_PER_CORE = (2, 4, 8, 16, 64), (1, 2, 4)
"""Of machines whose layout is shown; Ray counts as memory what is left beside its object store."""


def main() -> None:
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(page: str) -> str:
    """The page with its tables renewed."""
    return renewed(page, START, END, tables())


def tables() -> str:
    parts = [network_table(load(path)) for path in sorted(RESULTS.glob("network_*.json"))]
    parts += [predictor_table(load(path)) for path in sorted(RESULTS.glob("predictor_*.json"))]
    for name, write in (
        ("runs", run_tables),
        ("pipeline_workers", workers_table),
        ("pipeline_memory", memory_table),
        ("planning", plan_table),
        ("finalize", finalize_table),
        ("training", training_table),
    ):
        path = RESULTS / f"{name}.json"
        parts += [write(load(path))] if path.exists() else []
    return "\n".join([*parts, layout_table()])


def load(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def network_table(result: dict[str, Any]) -> str:
    rows = [
        (
            *(f"{case['model']}, {case['batch']} x {case['input_size']} px", name),
            *(f"{timing[key]:.3f}" for key in ("median_s", "best_s", "median_cpu_s")),
            *(f"{timing[key]:.2f}" for key in ("speedup", "speedup_cpu")),
        )
        for case in result["cases"]
        for name, timing in case["timings"].items()
    ]
    header = ("network", "form", "median s", "best s", "CPU s", "times as fast", "by CPU s")
    return f"{heading('One forward pass', result)}\n\n{markdown(header, rows)}\n\n{profiles(result)}"


def profiles(result: dict[str, Any]) -> str:
    """Where the first network's time goes, before and after."""
    case = result["cases"][0]
    lines = []
    for name, shares in case["profile"].items():
        shown = ", ".join(f"`{key}` {share:.0%}" for key, share in list(shares.items())[:7])
        lines.append(f"- {case['model']}, {name}: {shown}.")
    return "\n".join(lines) + "\n"


def predictor_table(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{case['model']}, {case['input_hw'][1]}x{case['input_hw'][0]} px, {case['precision']}",
            name,
            f"{timing['median_s']:.3f}",
            f"{timing['median_cpu_s']:.3f}",
            f"{case['forward_passes'][name]:.2f}",
            f"{case['images_per_s'][name]:.2f}",
        )
        for case in result["cases"]
        for name, timing in case["timings"].items()
    ]
    header = ("network", "what", "median s", "CPU s", "forward passes", "images/s")
    return f"{heading('From photographs to poses', result)}\n\n{markdown(header, rows)}\n"


def run_tables(result: dict[str, Any]) -> str:
    idle = result["idle"]
    rows = [
        (
            f"{case['model']}, {case['input_size']} px, {case['precision']}",
            f"{case['images']:,}",
            *(f"{case[key]:.2f}" for key in ("run_images_per_s", "bare_images_per_s")),
            *(f"{case[key]:.0%}" for key in ("efficiency", "efficiency_by_the_run")),
            spent(case["stage_seconds"]),
        )
        for case in result["efficiency"]
    ]
    header = (
        "network",
        "images",
        "run, images/s",
        "bare predictors on all cores, images/s",
        "efficiency",
        "as the run says it",
        "seconds of all workers",
    )
    moved = (
        ("images/s once units flow", f"{idle['images_per_s']:.0f}"),
        ("images/s and core, the S3 server's work included", f"{idle['images_per_s_and_core']:.0f}"),
        ("seconds from the command to the first committed unit", f"{idle['start_to_first_unit_s']:.1f}"),
        ("seconds in all", f"{idle['seconds_in_all']:.1f}"),
        ("seconds of all workers", spent(idle["stage_seconds"])),
    )
    title = f"{idle['images']:,} JPEGs of 640x480 px, {result['image_bytes'] / 1000:.0f} kB each, no network"
    return (
        f"{heading('Runs of the annotate job', result)}\n\n{markdown(header, rows)}\n\n"
        f"{markdown((title, ''), list(moved))}\n"
    )


def spent(stages: dict[str, float]) -> str:
    return (
        f"load {stages['load']:.1f}, infer {stages['infer']:.1f} (predictor {stages['predictor']:.1f}), "
        f"commit {stages['commit']:.1f}"
    )


def workers_table(result: dict[str, Any]) -> str:
    one = result["rows"][0]["images_per_s"]
    rows = [
        (
            str(row["actors"]),
            f"{row['images']:,}",
            f"{row['images_per_s']:.1f}",
            f"{row['images_per_s'] / one:.2f}",
        )
        for row in result["rows"]
    ]
    header = ("inference actors", "images", "images/s", "times as fast")
    title = f"A run of `{result['model']}` by number of actors, one thread each"
    return f"{heading(title, result)}\n\n{markdown(header, rows)}\n"


def memory_table(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{row['images']:,}",
            f"{row['seconds']:.0f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['images_per_s']:.0f}",
        )
        for row in result["rows"]
    ]
    header = ("images", "seconds", "peak memory of driver, Ray and workers, GB", "images/s")
    return f"{heading('A run without a network, on tiny images', result)}\n\n{markdown(header, rows)}\n"


def training_table(result: dict[str, Any]) -> str:
    rows = [
        (name, f"{timing['median_s']:.3f}", f"{timing['best_s']:.3f}", f"{timing['speedup']:.2f}")
        for name, timing in result["timings"].items()
    ]
    header = ("a step", "median s", "best s", "times as fast")
    title = f"Training `posrefine_tiny` on {result['batch_size']} views of {result['input_size']} px"
    return f"{heading(title, result)}\n\n{markdown(header, rows)}\n"


def plan_table(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{row['keys']:,}",
            f"{row['units']:,}",
            f"{row['seconds']:.0f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['manifest_bytes'] / 1e6:.0f}",
        )
        for row in result["rows"]
    ]
    header = ("keys", "units", "seconds", "peak memory, GB", "manifest, MB")
    return f"{heading('Planning', result)}\n\n{markdown(header, rows)}\n"


def finalize_table(result: dict[str, Any]) -> str:
    rows = [
        (row["way"], f"{row['finalize_s']:.1f}", f"{row['peak_bytes'] / 1e9:.2f}", f"{row['images']:,}")
        for row in result["rows"]
    ]
    header = ("written by", "seconds", "peak memory, GB", "images")
    title = f"Tables of {result['units']:,} units, Ray's start included ({result['times_as_fast']:.2f} times as fast)"
    return f"{heading(title, result)}\n\n{markdown(header, rows)}\n"


def layout_table() -> str:
    """What a run with default settings would start; computed, not measured."""
    header = ("cores of a machine", *(f"{gb} GB a core" for gb in GB_PER_CORE))
    lines = []
    for name, input_size, scales in LAID_OUT:
        settings = RunSettings.model_validate(
            {"input": "in", "output": "out", "model": name, "weights": "untrained", "scales": scales}
        )
        each = actor_bytes(settings, input_size)
        rows = []
        for cores in CORES:
            nodes = [NodeResources(cores, 0, gb * cores * 1e9) for gb in GB_PER_CORE]
            found = [cluster_layout(settings, [node], each) for node in nodes]
            rows.append((str(cores), *(f"{layout.actors} x {layout.threads_per_actor}" for layout in found)))
        shown = ", ".join(f"{scale:g}" for scale in scales)
        lines.append(
            f"**Inference actors and threads of each, by default** (by the rule, not measured): {name} at "
            f"{input_size} px, scales {shown}.\n\n{markdown(header, rows)}\n"
        )
    return "\n".join(lines)


def heading(title: str, result: dict[str, Any]) -> str:
    machine = result["machine"]
    cores = f"{result['threads']} of {machine['cores']}" if "threads" in result else f"{machine['cores']}"
    where = machine["gpu"] or f"{cores} cores {machine['cpu']}"
    packages = ", ".join(f"{name} {machine[name]}" for name in ("torch", "ray", "pyarrow") if name in machine)
    return (
        f"**{title}**: {where}, {packages}, {machine['date']}, load average "
        f"{machine['load_average_1min']} when it began."
    )


def markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
