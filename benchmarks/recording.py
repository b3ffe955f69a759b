"""The recorded 1P+1D run, once a second, as a small table: ``python -m benchmarks.recording SHARED`` makes it anew."""

import csv
import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent / "data" / "h200-vllm-0.26-pd-1p1d-qwen3-32b-decode.csv"
SOURCE = "measurements/h200-vllm-0.26/pd-1p1d-qwen3-32b/metrics.jsonl.gz"
SERIES = {
    "vllm:num_requests_running": "running",
    "vllm:kv_cache_usage_perc": "kv_use_ratio",
    "vllm:inter_token_latency_seconds_sum": "itl_sum_s",
    "vllm:inter_token_latency_seconds_count": "itl_count",
    "vllm:prompt_tokens_total": "prompt_tokens",
}
COLUMNS = ("t_s", *SERIES.values())
KV_CAPACITY_TOKENS = 225_280.0


@dataclass(frozen=True, slots=True)
class Tick:
    """Means over one interval of the decode engine."""

    end_s: float  # since the recording's first sample
    batch: float
    kv_tokens: float
    itl_s: float
    pulled_tokens_per_second: float


def ticks(period_s: float) -> list[Tick]:
    """Return the intervals of the recording in which tokens were made."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    found = []
    end = period_s
    while end <= rows[-1]["t_s"]:
        inside = [row for row in rows if end - period_s <= row["t_s"] <= end]
        tokens = inside[-1]["itl_count"] - inside[0]["itl_count"]
        if tokens > 0:
            found.append(
                Tick(
                    end,
                    sum(row["running"] for row in inside) / len(inside),
                    sum(row["kv_use_ratio"] for row in inside) / len(inside) * KV_CAPACITY_TOKENS,
                    (inside[-1]["itl_sum_s"] - inside[0]["itl_sum_s"]) / tokens,
                    (inside[-1]["prompt_tokens"] - inside[0]["prompt_tokens"]) / (inside[-1]["t_s"] - inside[0]["t_s"]),
                )
            )
        end += period_s
    return found


def extract(shared: Path) -> None:
    """Write the table from the recording's scrapes."""
    start: float | None = None
    with gzip.open(shared / SOURCE, "rt", encoding="utf-8") as scrapes, TABLE.open("w", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        for line in scrapes:
            scrape = json.loads(line)
            if scrape["role"] != "decode":
                continue
            start = scrape["t"] if start is None else start
            values = {
                SERIES[text.split("{")[0]]: text.rsplit(" ", 1)[1]
                for text in scrape["text"].splitlines()
                if text.split("{")[0] in SERIES
            }
            writer.writerow([f"{scrape['t'] - start:.3f}", *(values[name] for name in SERIES.values())])


if __name__ == "__main__":
    extract(Path(sys.argv[1]))
