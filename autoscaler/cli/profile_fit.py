"""``autoscaler profile fit``: a profile from benchmark files, or from what one's own Prometheus remembers."""

import asyncio
import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from autoscaler.cli import options, wiring
from autoscaler.domain.policy import SLOPolicy
from autoscaler.domain.pool import Role, Variant
from autoscaler.domain.units import Instant, Seconds
from autoscaler.errors import InputError
from autoscaler.observe.observer import PrometheusHistory
from autoscaler.performance import fit as fitting
from autoscaler.performance import grid, learn
from autoscaler.performance.accelerators import accelerator as accelerator_named
from autoscaler.performance.prior import Serving, physics_prior
from autoscaler.performance.profile import Profile, Provenance, ValidRange
from autoscaler.performance.profile_document import dump_profile
from autoscaler.performance.shapes import Shape, built_in, shape_of
from autoscaler.performance.step import EngineLimits, ReplicaModel

EPILOG = (
    "Examples: autoscaler profile fit grid.json --name mine --model Qwen/Qwen3-32B -a H200-SXM; "
    "autoscaler profile fit --name mine --prometheus http://prometheus:9090 --policy p.yaml --variant decode-h200"
)
STEP = Seconds(15.0)
MOST_MOMENTS = 50_000

ModelOption = Annotated[str, typer.Option("--model", help="Hugging Face name of a common model, e.g. Qwen/Qwen3-32B.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The model's config.json, where it is not common.")]
AcceleratorOption = Annotated[str, typer.Option("--accelerator", "-a", help="E.g. H200-SXM.")]
ParallelOption = Annotated[int, typer.Option("--tensor-parallel", min=1, help="Accelerators per replica.")]
BitsOption = Annotated[int, typer.Option("--weight-bits", help="16, 8 or 4.")]


def fit(  # noqa: PLR0913 - each is an option of the command
    files: Annotated[list[Path] | None, typer.Argument(help="Grid, vllm bench serve or GuideLLM JSON.")] = None,
    *,
    name: Annotated[str, typer.Option("--name", help="Name of the new profile.")],
    model: ModelOption = "",
    accelerator: AcceleratorOption = "",
    config: ConfigOption = None,
    tensor_parallel: ParallelOption = 1,
    weight_bits: BitsOption = 16,
    prometheus: Annotated[
        str, typer.Option("--prometheus", help="Learn from this Prometheus instead; with --policy and --variant.")
    ] = "",
    policy: Annotated[Path | None, typer.Option("--policy", "-p", help="The policy that has the variant.")] = None,
    variant: Annotated[str, typer.Option("--variant", help="Whose engines to learn from.")] = "",
    pods: Annotated[str, typer.Option("--pods", help="Regular expression of its pods. Default: TARGET-.*")] = "",
    begin: Annotated[str | None, typer.Option("--from", help="Default: one day before --to.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Default: now.")] = None,
    window: options.WindowOption = None,
    token_file: options.TokenFileOption = None,
    user: options.UserOption = "",
    password_file: options.PasswordFileOption = None,
    ca_file: options.CaFileOption = None,
) -> None:
    """Fit a profile and print it; what the data do not say is taken from physics (or the variant's profile)."""
    if bool(files) == bool(prometheus):
        msg = "give benchmark files, or --prometheus with --policy and --variant: one of the two"
        raise InputError(msg)
    if files:
        engine = Engine(model, config, accelerator, Serving(tensor_parallel=tensor_parallel, weight_bits=weight_bits))
        typer.echo(dump_profile(from_files(files, name, engine)), nl=False)
        return
    past = past_of(policy, variant, pods, options.moment(begin, "--from"), options.moment(end, "--to"))
    connection = options.connection(prometheus, token_file, user, password_file, ca_file)

    async def remembered() -> learn.History:
        metrics = await wiring.metrics_source(connection, [past.policy], past.end, options.window(window))
        return await history_of(past, PrometheusHistory([past.policy], metrics))

    typer.echo(dump_profile(from_history(past, name, asyncio.run(remembered()))), nl=False)


@dataclass(frozen=True, slots=True)
class Engine:
    """What somebody says was measured, or is to be estimated."""

    llm: str
    config: Path | None
    accelerator: str
    serving: Serving

    def physics(self) -> ReplicaModel:
        """Return what physics says of it.

        Raises:
            InputError: model or accelerator are not known, or do not fit.
        """
        if not (self.llm and self.accelerator):
            msg = "--model and --accelerator say what the figures are of; give both"
            raise InputError(msg)
        try:
            return physics_prior(accelerator_named(self.accelerator), self.shape(), self.serving).model
        except ValueError as error:
            raise InputError(str(error)) from error

    def shape(self) -> Shape:
        """Return the shape of a common model, or of the one that a config.json describes.

        Raises:
            InputError: it is not common, or the file is no such file.
        """
        return built_in(self.llm) if self.config is None else shape_of(grid.read_json(self.config), self.llm)


def from_files(files: list[Path], name: str, engine: Engine) -> Profile:
    """Return the profile that benchmark files make.

    Raises:
        InputError: they cannot be read, hold values that cannot be, or too few of them.
    """
    prior = engine.physics()
    grids = [grid.read_benchmark(path) for path in files]
    decode = [point for each in grids for point in each.decode]
    prefill = [point for each in grids for point in each.prefill if point.prompts == 1]
    try:
        step = fitting.fit_step(decode, [point for each in grids for point in each.mixed]) if decode else prior.step
        passes = fitting.fit_prefill(prefill) if prefill else prior.prefill
    except ValueError as error:
        msg = f"{', '.join(map(str, files))}: {error}; add files with other batches, contexts or lengths"
        raise InputError(msg) from error
    measured = next((limits for each in grids if (limits := _limits(each)) is not None), prior.limits)
    missing = [part for part, points in (("step", decode), ("prefill", prefill)) if not points]
    names = ", ".join(path.name for path in files)
    source = f"{names}; {' and '.join(missing)} derived by physics" if missing else names
    return Profile(
        name=name,
        roles=tuple(Role),
        accelerator=accelerator_named(engine.accelerator).name,
        accelerators_per_replica=engine.serving.tensor_parallel,
        llm=engine.llm,
        model=ReplicaModel(step, passes, prior.handover, measured),
        provenance=Provenance("measured", source, f"autoscaler profile fit {' '.join(path.name for path in files)}"),
        valid=ValidRange(
            batch=_span([point.batch for point in decode]),
            context_tokens=_span([point.context_tokens for point in decode]),
            prompt_tokens=_span([point.tokens for point in prefill]),
        ),
        date=_day(max(path.stat().st_mtime for path in files)),
        engine="vllm",
        engine_version=grids[0].engine_version,
    )


def _span(values: list[float]) -> tuple[float, float] | None:
    return (min(values), max(values)) if values else None


def _day(at: float) -> dt.date:
    return dt.datetime.fromtimestamp(at, tz=dt.UTC).date()


def _limits(measured: grid.Grid) -> EngineLimits | None:
    capacity = measured.kv_capacity_tokens
    if capacity is None:
        return None
    return EngineLimits(capacity, measured.max_sequences, measured.max_batched_tokens, measured.block_tokens)


@dataclass(frozen=True, slots=True)
class Past:
    """Whose engines to learn from, and when."""

    policy: SLOPolicy
    variant: Variant
    pods: re.Pattern[str]
    begin: Instant
    end: Instant


def past_of(policy: Path | None, variant: str, pods: str, begin: Instant | None, end: Instant | None) -> Past:
    """Return what the options ask to learn from.

    Raises:
        InputError: they contradict each other, or the policy has no such variant.
    """
    if policy is None or not variant:
        msg = "--prometheus needs --policy and --variant: whose engines to learn from"
        raise InputError(msg)
    loaded = wiring.policies([policy])[0]
    chosen = next((each for each in loaded.variants if each.name == variant), None)
    if chosen is None:
        msg = f'--variant: {loaded.key} has no "{variant}"; it has {", ".join(each.name for each in loaded.variants)}'
        raise InputError(msg)
    try:
        pattern = re.compile(pods or f"{re.escape(chosen.target.name)}-.*")
    except re.error as error:
        msg = f"--pods: {pods!r} is no regular expression: {error}"
        raise InputError(msg) from error
    until = end if end is not None else wiring.WallClock().now()
    since = begin if begin is not None else Instant(until - 86_400.0)
    if not 0 < until - since <= MOST_MOMENTS * STEP:
        msg = f"--from {since:.0f} --to {until:.0f}: between 15 s and {MOST_MOMENTS * STEP / 86_400:.1f} days are read"
        raise InputError(msg)
    return Past(loaded, chosen, pattern, since, until)


async def history_of(past: Past, remembered: PrometheusHistory) -> learn.History:
    """Return each moment's engines of the variant's pods.

    Raises:
        ObservationError: Prometheus does not answer.
    """
    found = []
    async for observation in remembered.past(past.begin, past.end, STEP):
        model = observation.models.get(past.policy.key)
        engines = {} if model is None else model.engines
        found.append((observation.at, {pod: load for pod, load in engines.items() if past.pods.fullmatch(pod)}))
    return found


def from_history(past: Past, name: str, history: learn.History) -> Profile:
    """Return the profile that a variant's engines make, beginning from its profile or physics.

    Raises:
        InputError: too little was seen.
    """
    variant = past.variant
    pods = {pod for _, engines in history for pod in engines}
    if not pods:
        msg = f"no pod that reported matches {past.pods.pattern!r}; name those of {variant.name} with --pods"
        raise InputError(msg)
    try:
        found = learn.learned(wiring.prior(past.policy, variant), history, variant.role)
    except InputError as error:
        msg = f"{variant.name}: {error}"
        raise InputError(msg) from error
    times = " to ".join(
        dt.datetime.fromtimestamp(at, tz=dt.UTC).isoformat("T", "seconds") for at in (past.begin, past.end)
    )
    origin = variant.performance_profile or "physics"
    source = (
        f"{found.samples} samples of {len(pods)} pods of {variant.name}, {times}; median error on samples held out "
        f"{found.error:.1%}, before learning {found.prior_error:.1%}; began from {origin}"
    )
    own = {"itl_error" if variant.role.decodes else "prefill_error": found.error}
    return Profile(
        name=name,
        roles=(variant.role,),
        accelerator=accelerator_named(variant.accelerator).name,
        accelerators_per_replica=variant.accelerators_per_replica,
        llm=past.policy.model,
        model=found.model,
        provenance=Provenance(
            "measured", source, f"autoscaler profile fit --prometheus --variant {variant.name}", **own
        ),
        valid=found.valid,
        date=_day(past.end),
        engine="vllm",
        engine_version="unknown",
    )
