"""Step model and prior on the runs of real engines that aiconfigurator-core carries (the extra ``profiles``).

Aggregated engines: time per output token = a + e sqrt(B) + b B + c B (isl + osl/2) + p B isl/osl.
"""

import csv
import importlib.util
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from autoscaler.errors import InputError
from autoscaler.performance import prior
from autoscaler.performance.accelerators import accelerator
from autoscaler.performance.shapes import built_in
from autoscaler.performance.step import FloatArray

SYSTEMS = {"h100_sxm": "H100-SXM", "b200_sxm": "B200"}
HELD_OUT = {"h200_sxm": "H200-SXM"}
"""Nothing was chosen on these runs: experts, latents, 8 and 4 bits and TP > 1 where only a dense model was measured."""
BITS = {"fp8": 8, "bf16": 16, "fp4": 4, "int4": 4}
ENOUGH = 6
PHYSICAL_TPOT_S = (1e-4, 1.0)


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one engine set-up; ``rows`` has columns B, isl, osl and seconds per output token."""

    system: str
    llm: str
    precision: str
    tensor_parallel: int
    plain: bool  # neither data- nor expert-parallel
    rows: FloatArray


def table_path() -> Path | None:
    """Return where the table is, or None where the extra is not installed."""
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "systems" / "silicon_sample.csv"
    return path if path.is_file() else None


def groups(path: Path) -> Sequence[Group]:
    """Return the groups of aggregated runs with enough different operating points."""
    found: dict[tuple[str, ...], list[tuple[float, float, float, float]]] = defaultdict(list)
    keys = (
        "system", "backend", "backend_version", "model_path", "precision", "tp_size",
        "attention_dp_size", "moe_tp_size", "moe_ep_size",
    )  # fmt: skip
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["mode"] != "agg" or not row["batch_size"]:
                continue
            tpot_s = float(row["silicon_tpot_ms"]) / 1e3
            if PHYSICAL_TPOT_S[0] < tpot_s < PHYSICAL_TPOT_S[1]:
                point = (float(row["batch_size"]), float(row["isl"]), float(row["osl"]), tpot_s)
                found[tuple(row[key] for key in keys)].append(point)
    return [_group(key, points) for key, points in found.items() if len({p[:3] for p in points}) >= ENOUGH]


def _group(key: tuple[str, ...], points: Sequence[tuple[float, float, float, float]]) -> Group:
    system, _, _, llm, precision, parallel, data, _, experts = key
    plain = data in {"", "1"} and experts in {"", "1"}
    return Group(system, llm, precision, int(parallel or 1), plain, np.array(points))


def left_out_error(group: Group) -> float:
    """Return the mean relative error, each operating point predicted from the others of its group."""
    batch, isl, osl, measured = group.rows.T
    form = np.stack([np.ones_like(batch), np.sqrt(batch), batch, batch * (isl + osl / 2), batch * isl / osl])
    points = np.stack([batch, isl, osl])
    errors: list[float] = []
    for left in np.unique(points, axis=1).T:
        kept = ~np.all(points == left[:, None], axis=0)
        scales, _ = nnls((form[:, kept] / measured[kept]).T, np.ones(int(kept.sum())))
        errors.extend(np.abs(scales @ form[:, ~kept] / measured[~kept] - 1.0))
    return float(np.mean(errors))


def prior_error(group: Group, systems: Mapping[str, str]) -> float | None:
    """Return the mean relative error of the prior alone; None where it does not apply."""
    if group.system not in systems or group.precision not in BITS or not group.plain:
        return None
    try:
        shape = built_in(group.llm)
        serving = prior.Serving(tensor_parallel=group.tensor_parallel, weight_bits=BITS[group.precision])
        model = prior.physics_prior(accelerator(systems[group.system]), shape, serving).model
    except (InputError, ValueError):
        return None
    batch, isl, osl, measured = group.rows.T
    held = batch * (isl + osl / 2)
    return float(np.abs(model.step.step_s(batch, held, batch * isl / osl) / measured - 1.0).mean())


def errors(path: Path) -> Mapping[str, FloatArray]:
    """Return the groups' errors: left out, of the prior alone where its constants were chosen, and where not."""
    every = groups(path)
    alone = {
        name: np.array([error for group in every if (error := prior_error(group, systems)) is not None])
        for name, systems in (("prior", SYSTEMS), ("held_out", HELD_OUT))
    }
    return {"left_out": np.array([left_out_error(group) for group in every]), **alone}
