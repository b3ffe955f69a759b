"""Profiles of what was never measured: fitted to aiconfigurator-core's predictions where installed, else physics."""

import datetime as dt
import importlib
import importlib.metadata
import importlib.util
from dataclasses import replace

from autoscaler.domain.pool import Role
from autoscaler.errors import InputError
from autoscaler.performance.accelerators import Accelerator
from autoscaler.performance.fit import DecodePoint, PrefillPoint, fit_prefill, fit_step
from autoscaler.performance.prior import Serving
from autoscaler.performance.profile import Profile, Provenance, ValidRange
from autoscaler.performance.step import PrefillModel, ReplicaModel, StepModel

SYSTEMS = {
    "A100-SXM-80GB": "a100_sxm",
    "H100-SXM": "h100_sxm",
    "H200-SXM": "h200_sxm",
    "B200": "b200_sxm",
    "L40S": "l40s",
}
BATCHES = (1, 4, 16, 32, 64, 128, 192, 256)
CONTEXTS = (256, 1024, 4096, 16384)
LENGTHS = (32, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
TOO_FAST = 1.12
"""By so much its prefill times were too short against our H200 measurements."""
PUBLISHED = dt.date(2026, 11, 22)


def estimated(
    prior: ReplicaModel, llm: str, accelerator: Accelerator, serving: Serving, *, physics_only: bool = False
) -> Profile:
    """Return an estimated profile; its provenance says by what.

    Raises:
        InputError: aiconfigurator-core is installed and cannot answer for this engine.
    """
    by_tables = not physics_only and importlib.util.find_spec("aiconfigurator_core") is not None
    by_tables = by_tables and accelerator.name in SYSTEMS
    step, prefill = _by_tables(llm, accelerator, serving) if by_tables else (prior.step, prior.prefill)
    step = replace(step, per_prefill_token_s=prior.step.per_prefill_token_s)
    version = importlib.metadata.version("aiconfigurator-core") if by_tables else ""
    source = f"aiconfigurator-core {version}, prefill x {TOO_FAST}" if by_tables else "physics prior"
    short = llm.rsplit("/", maxsplit=1)[-1].casefold()
    return Profile(
        name=f"{accelerator.name.split('-')[0].casefold()}-tp{serving.tensor_parallel}-{short}",
        roles=tuple(Role),
        accelerator=accelerator.name,
        accelerators_per_replica=serving.tensor_parallel,
        llm=llm,
        model=ReplicaModel(step, prefill, prior.handover, prior.limits),
        provenance=Provenance("estimated" if by_tables else "derived", source, "autoscaler profile estimate"),
        valid=ValidRange(
            batch=(float(BATCHES[0]), float(BATCHES[-1])),
            context_tokens=(float(CONTEXTS[0]), float(CONTEXTS[-1])),
            prompt_tokens=(float(LENGTHS[0]), float(LENGTHS[-1])),
        ),
        date=PUBLISHED,
        engine="vllm",
        engine_version="any",
    )


def _by_tables(llm: str, accelerator: Accelerator, serving: Serving) -> tuple[StepModel, PrefillModel]:
    """Return the models fitted to the tables' predictions."""
    sdk = importlib.import_module("aiconfigurator_core.sdk")
    try:
        engine = sdk.EngineHandle.compile(
            llm, SYSTEMS[accelerator.name], "vllm", tp_size=serving.tensor_parallel, backend_version="current"
        )
        decode = [
            DecodePoint(batch, context, engine.predict_decode_latency(batch, context, 2) / 1e3)
            for batch in BATCHES
            for context in CONTEXTS
        ]
        prompts = [
            PrefillPoint(length, TOO_FAST * engine.predict_prefill_latency(1, length, 0) / 1e3) for length in LENGTHS
        ]
    except Exception as error:  # its errors have no common base
        msg = f"aiconfigurator-core cannot estimate {llm} on {accelerator.name}: {error}; use --physics"
        raise InputError(msg) from error
    return fit_step(decode), fit_prefill(prompts)
