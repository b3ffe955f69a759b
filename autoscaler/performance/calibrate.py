"""Correct what is assumed of a replica by what its engines report: a recursive Bayesian estimate, as a value.

The state is one logarithm of a scale per coefficient, ``u ~ N(0, P0)`` before any sample. A sample compares a measured
time with the modelled one, ``log y - log f(u) = h (u - u0) + noise``, where ``h`` is each coefficient's share of the
time: so scales stay positive, and an error of x0.5 weighs as much as one of x2. Information adds up and fades; the
prior never does. Hence directions that the samples do not determine keep their prior: one operating point moves the
level of the curve, split by how uncertain each coefficient was, and cannot bend what was certain.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autoscaler.domain.fleet import Pod, PodState
from autoscaler.domain.observation import EngineLoad
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import is_present, known
from autoscaler.domain.units import Instant, Seconds, elapsed
from autoscaler.errors import InputError
from autoscaler.performance.prior import Uncertainty
from autoscaler.performance.step import (
    EngineLimits,
    FloatArray,
    Handover,
    PrefillModel,
    ReplicaModel,
    StepModel,
)

STEP_NOISE = 0.05  # relative, of a mean over one interval
PREFILL_NOISE = 0.15  # how prompts fell into steps is not reported
FORGETTING = 0.98  # what 15 s leave of a sample's weight: half-life about 8.5 min
FORGETTING_TIME = Seconds(15.0)
GATE = 5.02  # 97.5 % of chi-square with one degree of freedom
PATIENCE = 5  # rejections in a row after which the engine, not the sample, has changed
WIDENING = 4.0  # of the prior's variance, then, up to
WIDEST = 64.0
FORGIVEN = 16.0  # and what was learned before counts so many times less
FURTHEST = math.log(4.0)  # a coefficient is corrected to at most 4 times, at least a quarter of its prior
FORM_SD = 0.02  # what no coefficients can explain, of the form itself
WARM_UP = Seconds(120.0)
SPEAKERS = 4  # samples of a kind that are learned from at one moment
COEFFICIENTS = len(fields(Uncertainty))  # in the order of its fields
DIAGONAL = np.arange(COEFFICIENTS)


@dataclass(frozen=True, slots=True)
class StepSample:
    """Mean time between tokens over an interval, with the mean batch, the KV tokens it held and the KV that came in."""

    batch: float
    kv_tokens: float
    itl_s: float
    pulled_tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class PrefillSample:
    """Mean time in prefill over an interval, queueing apart, with the prompts that came meanwhile."""

    tokens: float  # computed, of one request
    requests_per_second: float
    prefill_s: float


Sample: TypeAlias = StepSample | PrefillSample
NOISE: Mapping[type[Sample], float] = {StepSample: STEP_NOISE, PrefillSample: PREFILL_NOISE}
_STEP, _PROMPT = (attrgetter(*(each.name for each in fields(kind))) for kind in NOISE)
IntArray: TypeAlias = NDArray[np.int64]


def teaches(pod: Pod, at: Instant, warm_up: Seconds = WARM_UP) -> bool:
    """Tell whether a pod's engine shows its true speed: ready for long enough and not on its way out."""
    return (
        pod.state is PodState.READY
        and pod.ready_since is not None
        and pod.draining_since is None
        and elapsed(pod.ready_since, at) >= warm_up
    )


def samples(engines: Iterable[EngineLoad], role: Role) -> tuple[Sample, ...]:
    """Return what engines of a role teach; a missing signal, a preemption or an idle engine teaches nothing."""
    found: list[Sample] = []
    for engine in engines:
        if known(engine.preemptions_per_second, 0.0) > 0:
            continue
        if role.decodes and not (role.prefills and known(engine.computed_prompt_tokens_per_second, 1.0) > 0):
            found.extend(_step_sample(engine))
        if role is Role.PREFILL:
            found.extend(_prefill_sample(engine))
    return tuple(found)


def _step_sample(engine: EngineLoad) -> Iterable[StepSample]:
    """Return the decode sample; KV reserved by requests that still wait for theirs is not read by the step."""
    if not (
        is_present(engine.running)
        and is_present(engine.itl_mean_s)
        and is_present(engine.kv_use_ratio)
        and is_present(engine.kv_capacity_tokens)
    ):
        return ()
    if engine.running < 0.5 or not engine.itl_mean_s > 0:
        return ()
    held = engine.kv_use_ratio * engine.kv_capacity_tokens
    decoding = engine.running / (engine.running + known(engine.deferred, 0.0))
    pulled = 0.0
    if is_present(engine.prompt_tokens_per_second) and is_present(engine.computed_prompt_tokens_per_second):
        pulled = max(0.0, engine.prompt_tokens_per_second - engine.computed_prompt_tokens_per_second)
    return (StepSample(max(1.0, engine.running), held * decoding, engine.itl_mean_s, pulled),)


def _prefill_sample(engine: EngineLoad) -> Iterable[PrefillSample]:
    if not (
        is_present(engine.prefill_mean_s)
        and is_present(engine.requests_per_second)
        and is_present(engine.computed_prompt_tokens_per_second)
    ):
        return ()
    if not (engine.requests_per_second > 0 and engine.prefill_mean_s > 0):
        return ()
    tokens = engine.computed_prompt_tokens_per_second / engine.requests_per_second
    return (PrefillSample(tokens, engine.requests_per_second, engine.prefill_mean_s),) if tokens >= 1 else ()


def representatives(new: Iterable[Sample]) -> Sequence[Sample]:
    """Return few samples for many of one moment: of each part of the loads seen, the one of median time.

    A median does not follow a sick replica among healthy ones, as a mean would.
    """
    every = tuple(new)
    steps = sorted((s for s in every if isinstance(s, StepSample)), key=lambda step: step.batch)
    prompts = sorted((s for s in every if isinstance(s, PrefillSample)), key=lambda prompt: prompt.tokens)
    return (
        *(sorted(part, key=lambda step: step.itl_s)[len(part) // 2] for part in _parts(steps)),
        *(sorted(part, key=lambda prompt: prompt.prefill_s)[len(part) // 2] for part in _parts(prompts)),
    )


T = TypeVar("T")


def _parts(ordered: Sequence[T]) -> Iterable[Sequence[T]]:
    """Yield the parts of a sequence, about equal and none empty, at most ``SPEAKERS`` of them."""
    count = min(SPEAKERS, len(ordered))
    bounds = [len(ordered) * number // count for number in range(count + 1)] if count else []
    return (ordered[low:high] for low, high in itertools.pairwise(bounds))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of one variant's replicas: the prior, and the information that samples have added to it."""

    prior_model: ReplicaModel
    prior_sd: tuple[float, ...]
    information: tuple[tuple[float, ...], ...]  # shape (coefficients, coefficients)
    weighted: tuple[float, ...]  # information times the logarithms that samples ask for
    widening: float = 1.0  # of the prior's variance
    rejected: int = 0  # samples in a row
    taught: int = 0  # samples accepted, ever
    at: Instant = Instant(0.0)

    @classmethod
    def prior(cls, model: ReplicaModel, uncertainty: Uncertainty) -> "Calibration":
        """Return the state before any sample."""
        zeros = (0.0,) * COEFFICIENTS
        return cls(model, uncertainty.all, (zeros,) * COEFFICIENTS, zeros)

    def updated(self, new: Iterable[Sample], at: Instant) -> "Calibration":
        """Return the state after samples of one moment (``learned``)."""
        return learned([self], [new], at)[0][0]

    def taught_by(self, sample: Sample) -> "Calibration":
        """Return the state after one sample, which is refused where it is too unlikely."""
        belief = _Beliefs.of([self])
        belief.take([0], [sample])
        return belief.states(self.at)[0]

    def _estimate(self) -> tuple[FloatArray, FloatArray]:
        """Return mean and covariance of the logarithms of all scales."""
        belief = _Beliefs.of([self])
        return belief.logs()[0], belief.covariance[0]

    @property
    def model(self) -> ReplicaModel:
        """Return the corrected model."""
        return _Beliefs.of([self]).corrected()[0]

    @property
    def scales(self) -> tuple[float, ...]:
        """Return what each coefficient is multiplied by, in the order of ``Uncertainty``'s fields."""
        return tuple(float(scale) for scale in np.exp(self._estimate()[0]))

    def itl_relative_sd(self, batch: float, kv_tokens: float) -> float:
        """Return the relative standard deviation of the predicted step time."""
        return self._relative_sd(StepSample(batch, kv_tokens, 1.0))

    def relative_error(self, sample: Sample) -> float:
        """Return by what share of the measured time the model is off: above 0, it says too much."""
        measured, modelled, _ = _compared([sample], self.model)
        return float(modelled[0] / measured[0]) - 1.0

    def prefill_relative_sd(self, tokens: float) -> float:
        """Return the relative standard deviation of the predicted time of one prompt."""
        return self._relative_sd(PrefillSample(tokens, 0.0, 1.0))

    def _relative_sd(self, sample: Sample) -> float:
        (shares,), covariance = _compared([sample], self.model)[2], self._estimate()[1]
        return math.sqrt(float(shares @ covariance @ shares) + FORM_SD**2)

    def to_json(self) -> str:
        """Return the whole state as text."""
        model = self.prior_model
        parts = {"step": model.step, "prefill": model.prefill, "handover": model.handover, "limits": model.limits}
        return json.dumps(
            {
                "model": {name: _fields(part) for name, part in parts.items()},
                "prior_sd": self.prior_sd,
                "information": self.information,
                "weighted": self.weighted,
                "widening": self.widening,
                "rejected": self.rejected,
                "taught": self.taught,
                "at": self.at,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """Return the state that ``to_json`` wrote.

        Raises:
            InputError: the text is something else.
        """
        try:
            body = json.loads(text)
            model = body.pop("model")
            return cls(
                prior_model=ReplicaModel(
                    StepModel(**model["step"]),
                    PrefillModel(**model["prefill"]),
                    Handover(**model["handover"]),
                    EngineLimits(**model["limits"]),
                ),
                prior_sd=tuple(body.pop("prior_sd")),
                information=_rows(body.pop("information")),
                weighted=tuple(body.pop("weighted")),
                **body,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"not the state of a calibration: {error!r}; delete it, and history rebuilds it"
            raise InputError(msg) from error


def learned(
    states: Sequence[Calibration], new: Sequence[Iterable[Sample]], at: Instant
) -> tuple[list[Calibration], list[ReplicaModel]]:
    """Return the states of several variants, each after its samples of one moment, and the models corrected by them.

    Older samples count less by their age. Of many replicas some speak for all (``representatives``), so that a moment
    costs the same in any fleet.
    """
    kept = [FORGETTING ** (max(0.0, at - s.at) / FORGETTING_TIME) if s.taught else 1.0 for s in states]
    beliefs, spoken = _Beliefs.of(states, kept), [representatives(samples) for samples in new]
    for kind in NOISE:
        told = [[sample for sample in samples if isinstance(sample, kind)] for samples in spoken]
        for turn in range(max(map(len, told), default=0)):
            rows = [row for row, samples in enumerate(told) if turn < len(samples)]
            beliefs.take(rows, [told[row][turn] for row in rows])
    return beliefs.states(at), beliefs.corrected()


@dataclass(slots=True)
class _Beliefs:
    """What changes of several calibrations while samples are taken in: arrays with a row for each of them."""

    former: Sequence[Calibration]
    models: FloatArray  # priors' coefficients, shape (rows, ...): see ``_model``
    prior: FloatArray  # information of the priors before any widening, shape (rows, coefficients)
    information: FloatArray
    weighted: FloatArray
    widening: FloatArray
    rejected: IntArray
    taught: IntArray
    covariance: FloatArray  # of the logarithms of all scales

    @classmethod
    def of(cls, states: Sequence[Calibration], kept: ArrayLike = 1.0) -> "_Beliefs":
        """Take up what several calibrations know, as far as it is kept."""
        weight = np.array(kept).reshape(-1, 1)
        information = np.array([state.information for state in states]).reshape(-1, COEFFICIENTS, COEFFICIENTS)
        beliefs = cls(
            states,
            np.array([_flat(state.prior_model) for state in states]),
            1.0 / np.array([state.prior_sd for state in states]).reshape(-1, COEFFICIENTS) ** 2,
            weight[:, None] * information,
            weight * np.array([state.weighted for state in states]).reshape(-1, COEFFICIENTS),
            np.array([state.widening for state in states]),
            np.array([state.rejected for state in states], dtype=np.int64),
            np.array([state.taught for state in states], dtype=np.int64),
            np.empty_like(information),
        )
        beliefs._invert(slice(None))
        return beliefs

    def _invert(self, rows: IntArray | slice) -> None:
        precision = self.information[rows].copy()
        precision[:, DIAGONAL, DIAGONAL] += self.prior[rows] / self.widening[rows, None]
        self.covariance[rows] = np.linalg.inv(precision)

    def logs(self, rows: IntArray | slice = slice(None)) -> FloatArray:
        """Return the means of the logarithms of all scales."""
        means = (self.covariance[rows] @ self.weighted[rows, :, None])[:, :, 0]
        return np.minimum(np.maximum(means, -FURTHEST), FURTHEST)

    def take(self, rows: Sequence[int], samples: Sequence[Sample]) -> None:
        """Learn from one sample, all of one kind, of each of some rows, or refuse it where it is too unlikely."""
        at = np.array(rows)
        logs = self.logs(at)
        measured, modelled, shares = _compared(samples, _scaled(_model(self.models[at]), np.exp(logs).T))
        sound = (measured > 0) & (modelled > 0) & np.isfinite(measured) & np.isfinite(modelled)
        at, logs, shares = at[sound], logs[sound], shares[sound]
        innovation, noise = np.log(measured[sound] / modelled[sound]), NOISE[type(samples[0])]
        reach = (self.covariance[at] @ shares[:, :, None])[:, :, 0]
        expected = noise**2 + (shares * reach).sum(axis=1)
        fits = innovation**2 <= GATE * expected
        self._refuse(at[~fits])
        at, wanted, weight = at[fits], (innovation + (shares * logs).sum(axis=1))[fits], noise**-2
        self.information[at] += weight * _squared(shares[fits])
        self.weighted[at] += weight * wanted[:, None] * shares[fits]
        self.covariance[at] -= (
            _squared(reach[fits]) / expected[fits, None, None]
        )  # the inverse after a change of rank one
        self.rejected[at] = 0
        self.taught[at] += 1

    def _refuse(self, rows: IntArray) -> None:
        """Note misses; after many, trust less in the prior and in what was learned before the engine changed."""
        self.rejected[rows] += 1
        changed = rows[self.rejected[rows] >= PATIENCE]
        if len(changed):
            self.rejected[changed] = 0
            self.widening[changed] = np.minimum(WIDEST, WIDENING * self.widening[changed])
            self.information[changed] /= FORGIVEN
            self.weighted[changed] /= FORGIVEN
            self._invert(changed)

    def corrected(self) -> list[ReplicaModel]:
        """Return the corrected models."""
        scales = np.exp(self.logs()).tolist()
        return [_scaled(state.prior_model, own) for state, own in zip(self.former, scales, strict=True)]

    def states(self, at: Instant) -> list[Calibration]:
        """Return the calibrations as they are now, at a moment."""
        rows = zip(
            self.former,
            map(_rows, self.information.tolist()),
            map(tuple, self.weighted.tolist()),
            self.widening.tolist(),
            self.rejected.tolist(),
            self.taught.tolist(),
            strict=True,
        )
        return [
            Calibration(state.prior_model, state.prior_sd, information, weighted, widening, rejected, taught, at)
            for state, information, weighted, widening, rejected, taught in rows
        ]


def _squared(vectors: FloatArray) -> FloatArray:
    """Return each vector times itself, shape (vectors, n, n)."""
    return vectors[:, :, None] * vectors[:, None, :]


def _rows(matrix: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix))


def _fields(part: object) -> Mapping[str, float]:
    return {name: getattr(part, name) for name in part.__slots__}  # type: ignore[attr-defined]  # slotted dataclasses


_PARTS: Mapping[str, type] = {"step": StepModel, "prefill": PrefillModel, "handover": Handover, "limits": EngineLimits}
_flat = attrgetter(*(f"{name}.{each.name}" for name, part in _PARTS.items() for each in fields(part)))


def _model(rows: FloatArray) -> ReplicaModel:
    """Return one model of several, a row of all coefficients (``_flat``) each: with arrays for coefficients."""
    columns = iter(rows.T)
    return ReplicaModel(*(part(*(next(columns) for _ in fields(part))) for part in _PARTS.values()))


def _scaled(model: ReplicaModel, scales: Iterable[Any]) -> ReplicaModel:
    """Return the model with scaled coefficients; what a prompt adds to decode steps follows the speed of prefill.

    ``scales``: one of each coefficient, or, for several models (``_model``), arrays of them.
    """
    base, sequence, kv, knee, floor, speed, stall = scales
    step, prefill, handover = model.step, model.prefill, model.handover
    return ReplicaModel(  # spelt out: twice as fast as replacing fields, and done for every sample
        StepModel(
            base_s=base * step.base_s,
            per_sequence_s=sequence * step.per_sequence_s,
            per_kv_token_s=kv * step.per_kv_token_s,
            per_prefill_token_s=speed * step.per_prefill_token_s,
            knee_sequences=step.knee_sequences,
            per_sequence_beyond_knee_s=knee * step.per_sequence_beyond_knee_s,
            per_root_sequence_s=base * step.per_root_sequence_s,
        ),
        PrefillModel(
            floor_s=floor * prefill.floor_s,
            base_s=speed * prefill.base_s,
            per_token_s=speed * prefill.per_token_s,
            per_token_squared_s=speed * prefill.per_token_squared_s,
            corner=prefill.corner,
        ),
        Handover(handover.base_s, handover.per_token_s, stall * handover.stall_per_token_s),
        model.limits,
    )


def _compared(samples: Sequence[Sample], model: ReplicaModel) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return measured and modelled seconds of samples of one kind, and each coefficient's share of the latter.

    ``model``: of all samples, or of each (``_model``).
    """
    shares = np.zeros((len(samples), COEFFICIENTS))
    if isinstance(samples[0], StepSample):
        batch, kv_tokens, measured, pulled = np.array([_STEP(sample) for sample in samples]).T
        step, dilation = model.step, model.handover.dilation(pulled)
        parts = np.empty((len(samples), 4))
        parts[:, 0], parts[:, 1] = step.base_s, step.per_sequence_s * batch
        parts[:, 2] = step.per_kv_token_s * kv_tokens
        parts[:, 3] = step.per_sequence_beyond_knee_s * np.maximum(0.0, batch - step.knee_sequences)
        total = parts.sum(axis=1)
        shares[:, :4], shares[:, 6] = parts / total[:, None], 1.0 - 1.0 / dilation
        return measured, total * dilation, shares
    tokens, requests_per_second, measured = np.array([_PROMPT(sample) for sample in samples]).T
    seconds, shares[:, 4] = _prefill_s(model, tokens, requests_per_second)
    shares[:, 5] = 1.0 - shares[:, 4]
    return measured, seconds, shares


SPREAD = 1.6
"""Mean square of prompt lengths over the square of their mean, where only the mean is reported."""


def _prefill_s(
    model: ReplicaModel, tokens: FloatArray, requests_per_second: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the mean seconds from when a prompt is scheduled to its first token, and the floor's share of that.

    Those that come during a step share the next one, up to its budget. vLLM schedules a step while the one before
    still runs, so a prompt that finds the engine busy also waits for half a step (few prompts) to a whole one (many).
    """
    prefill, most = model.prefill, np.maximum(tokens, model.limits.max_batched_tokens)
    together, seconds = tokens, prefill.pass_s(tokens, SPREAD * tokens**2)
    busy = np.minimum(1.0, requests_per_second * seconds)
    for _ in range(12):  # a fixed point: the step's time depends on who shares it
        together = np.minimum(most, tokens * (1.0 + busy * requests_per_second * seconds))
        seconds = prefill.pass_s(together, together * SPREAD * tokens)
        busy = np.minimum(1.0, requests_per_second * seconds * tokens / together)
    work = prefill.base_s + prefill.per_token_s * together
    ratio = np.minimum(work / prefill.floor_s, 1e6) ** prefill.corner
    return seconds * (1.0 + busy * (1.0 + busy) / 2.0), 1.0 / (1.0 + ratio)
