"""Checks of what the metrics show: series that are absent, named otherwise, doubled, stale, or that do not join."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from autoscaler.domain.fleet import PodState, Workload
from autoscaler.domain.observation import ModelObservation
from autoscaler.domain.policy import MetricsSource, SLOPolicy
from autoscaler.domain.pool import Role
from autoscaler.domain.signal import GapReason, Missing
from autoscaler.observe.catalogue import ENGINE, MODEL, NAMESPACE, POD, ROLE
from autoscaler.observe.doctor.findings import Check, Finding, MetricsLook, Seen, Series, listed
from autoscaler.observe.engines import ROLE_LABELS
from autoscaler.observe.observer import SCRAPES_IN_WINDOW, stale_after

ENGINES = ("vllm:num_requests_running",)
ENGINES_OLD = ("vllm:gpu_cache_usage_perc",)
PICKER = ("llm_d_epp_request_total",)
PICKER_OLD = ("inference_objective_request_total",)
MEMBERS = ("llm_d_epp_per_endpoint_queue_size", "inference_pool_per_pod_queue_size")
TTFT = ("llm_d_epp_request_ttft_seconds_sum",)
OTHER_ENGINES = {
    "sglang:num_running_reqs": "SGLang",
    "trtllm_num_requests_running": "TensorRT-LLM",
    "dynamo_frontend_active_requests": "Dynamo",
    "tgi_queue_size": "TGI",
}
KV_SIZE = ("vllm:cache_config_info",)
SOURCES = ("vllm:prompt_tokens_by_source_total",)

INVENTORY = (
    *(*ENGINES, *ENGINES_OLD, *PICKER, *PICKER_OLD, *MEMBERS, *TTFT, *OTHER_ENGINES, *KV_SIZE, *SOURCES),
    "vllm:num_requests_waiting",
)
"""Names whose presence and labels are looked at: few, and no buckets, so that a large cluster answers at once."""

RANK = re.compile(r"-rank-\d+$")
USAGE_RATIO = (0.9, 1.05)
UNMATCHED_SHARE = 0.5
LOCAL_PREFILL_SHARE = 0.05
NAMES_CAPPED = "other"
SCRAPE_EVERY_SECONDS = 30.0


def aliases(policy: SLOPolicy) -> frozenset[str]:
    """Return every name under which requests may ask for the model."""
    return frozenset({policy.model, *(p.match.model_name for p in policy.profiles if p.match.model_name)})


def _named(look: MetricsLook, names: Iterable[str]) -> list[Series]:
    wanted = frozenset(names)
    return [series for series in look.series if series.name in wanted]


def _mine(policy: SLOPolicy, look: MetricsLook, names: Iterable[str]) -> list[Series]:
    """Return the series of a policy's model in its namespace."""
    return [
        s
        for s in _named(look, names)
        if s.labels.get(NAMESPACE) == policy.namespace
        and (s.labels.get(MODEL) in aliases(policy) or s.labels.get("target_model_name") in aliases(policy))
    ]


def _observed(policy: SLOPolicy, look: MetricsLook) -> ModelObservation | None:
    return look.observation.models.get(policy.key)


def _workloads(policy: SLOPolicy, look: MetricsLook) -> list[Workload]:
    view = look.fleet.get(policy.key)
    return [w for w in view.workloads.values() if isinstance(w, Workload)] if view else []


def queries(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Every query is answered."""
    del policy
    found = [
        Finding(
            name, f"the query failed: {missing.detail}", "see the message; a limit of Prometheus, or of --max-series"
        )
        for name, missing in sorted(look.failures.items())
    ]
    return Seen("the queries of every signal", found)


def engines(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The engines of the model are scraped, under the policy's names."""
    looked = f"{ENGINES[0]}{{namespace={policy.namespace!r}, model_name={policy.model!r}}}"
    if _mine(policy, look, ENGINES):
        return Seen(looked)
    workloads = _workloads(policy, look)
    if policy.scale_to_zero.enabled and workloads and not any(workload.pods for workload in workloads):
        return Seen(looked, skipped="the model sleeps: it has no replica")
    return Seen(looked, [_absent(policy, look, (*ENGINES, *ENGINES_OLD), "engine")])


def _absent(policy: SLOPolicy, look: MetricsLook, names: Iterable[str], who: str) -> Finding:
    """Say why there are no series: another namespace, another model name, another engine, or none at all."""
    series = _named(look, names)
    elsewhere = {s.labels.get(NAMESPACE, "(no label)") for s in series if s.labels.get(MODEL) in aliases(policy)}
    here = {s.labels.get(MODEL, "(no label)") for s in series if s.labels.get(NAMESPACE) == policy.namespace}
    foreign = {engine for name, engine in OTHER_ENGINES.items() if _named(look, (name,))}
    subject = f"{who} series"
    if elsewhere - {policy.namespace}:
        where = listed([*elsewhere])
        return Finding(
            subject, f"the model's {who} series carry namespace {where}", "correct metadata.namespace, or the scrape's"
        )
    if here:
        return Finding(subject, f"served model names are {listed([*here])}, not {policy.model}", "correct spec.model")
    if foreign and who == "engine":
        fix = "serve with vLLM 0.12 or later; series of other engines are not read yet"
        return Finding(subject, f"none of vLLM, but series of {listed([*foreign])}", fix)
    fix = f"let Prometheus scrape the {who}s' /metrics with labels namespace and pod"
    return Finding(subject, "none in any namespace", fix)


def picker(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The endpoint picker is scraped: it alone tells profiles apart and knows requests that wait before the engines."""
    looked = f"{PICKER[0]}{{namespace={policy.namespace!r}, model_name={listed([*aliases(policy)])}}}"
    if policy.metrics.source is MetricsSource.VLLM:
        return Seen(looked, skipped="metrics.source is vllm: no picker is read")
    if _mine(policy, look, (*PICKER, *PICKER_OLD)):
        return Seen(looked)
    return Seen(looked, [_absent(policy, look, (*PICKER, *PICKER_OLD), "picker")])


def picker_generation(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The picker's series carry the labels by which profiles are told apart."""
    looked = "labels of the picker's request counters"
    if _mine(policy, look, PICKER) or not _mine(policy, look, PICKER_OLD):
        return Seen(looked)
    found = [
        Finding(
            f"profile {profile.name}",
            f"matches by fairnessID, which {PICKER_OLD[0]} does not carry: the profile never sees a request",
            "update the endpoint picker to llm-d router v0.9 or later, or match by modelName",
        )
        for profile in policy.profiles
        if profile.match.fairness_id is not None
    ]
    return Seen(looked, found)


def pod_label(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Engine series name their pod as Kubernetes does."""
    found = []
    series = _mine(policy, look, ENGINES)
    without = sum(1 for s in series if not s.labels.get(POD))
    if without:
        fix = "let the scrape attach the pod's name as label pod (PodMonitor does; for static targets: labels)"
        found.append(Finding("label pod", f"{without} engine series have none", fix))
    ranked = [s.labels[POD] for s in series if RANK.search(s.labels.get(POD, ""))]
    if ranked:
        fix = "take the suffix off in the scrape's relabelling: series are joined to pods by name"
        found.append(Finding("label pod", f"carries a rank: {listed(ranked)}", fix))
    return Seen(f"label pod of {len(series)} engine series", found)


def role_label(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The role label, where it is copied, says what the policy says; where only it tells the role, it is there."""
    roles = {pod.name: policy.variant(w.variant).role for w in _workloads(policy, look) for pod in w.pods}
    view = look.fleet.get(policy.key)
    named = view is not None and view.names_pods and bool(roles)
    series = [s for s in _mine(policy, look, ENGINES) if s.labels.get(POD)]
    return Seen(f"label {ROLE} of {len(series)} engine series", [*_role_findings(series, roles, named=named)])


def _role_findings(series: Iterable[Series], roles: dict[str, Role], *, named: bool) -> Iterator[Finding]:
    wrong, absent = [], []
    for s in series:
        label, pod = s.labels.get(ROLE, ""), s.labels[POD]
        if not label:
            absent.append(pod)
        elif pod in roles and ROLE_LABELS.get(label) is not roles[pod]:
            wrong.append(f"{pod} says {label}, the policy {roles[pod]}")
    if wrong:
        fix = "put the variant under the right role, or correct the label llm-d.ai/role of its pod template"
        yield Finding("role", listed(wrong), fix)
    if absent and not named:
        fix = "let the monitor copy it (podTargetLabels: [llm-d.ai/role]), or let doctor and run see the cluster"
        yield Finding("role", f"nothing tells the role of {listed(absent)}", fix)


def scraped_once(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """No engine is scraped twice (a decode pod answers on 8000, through its sidecar, and on 8200)."""
    addresses: dict[tuple[str, str], set[str]] = defaultdict(set)
    for s in _mine(policy, look, ENGINES):
        if s.labels.get("instance"):
            addresses[s.labels.get(POD, ""), s.labels.get(ENGINE, "")].add(s.labels["instance"])
    found = [
        Finding(f"pod {pod}", f"is scraped at {listed([*at])}", "scrape one port: engine series would count twice")
        for (pod, _), at in sorted(addresses.items())
        if len(at) > 1
    ]
    return Seen("addresses under which each engine is scraped", found)


def freshness(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The newest sample of every pod and of the picker is young enough to act on."""
    model = _observed(policy, look)
    found = []
    for pod, load in sorted(model.engines.items()) if model else ():
        if isinstance(load.newest_sample, Missing) and load.newest_sample.reason is GapReason.STALE:
            fix = "is the target down, or the engine frozen? see Prometheus' targets page"
            found.append(Finding(f"pod {pod}", f"its newest sample is too old: {load.newest_sample.detail}", fix))
    stale = [
        load.requests_per_second
        for load in (model.loads.values() if model else ())
        if isinstance(load.requests_per_second, Missing) and load.requests_per_second.reason is GapReason.STALE
    ]
    if stale:
        found.append(
            Finding("picker", stale[0].detail, "is a replica of the picker down? see Prometheus' targets page")
        )
    return Seen(f"age of the newest samples; older than {stale_after(look.windows):.0f} s is not acted on", found)


def scrape_interval(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Rates look back over enough scrapes, and scrapes are frequent enough to react."""
    looked = f"distance of the engines' samples, against a window of {look.windows.fast:.0f} s"
    if look.interval is None:
        return Seen(looked, skipped="no engine has two samples" if _mine(policy, look, ENGINES) else "no engine series")
    found = []
    if look.windows.fast < SCRAPES_IN_WINDOW * look.interval:
        fix = f"leave --window out, or give at least {SCRAPES_IN_WINDOW * look.interval:.0f}s"
        text = f"the window of {look.windows.fast:.0f} s holds fewer than {SCRAPES_IN_WINDOW} scrapes, one each"
        found.append(Finding("--window", f"{text} {look.interval:.0f} s", fix))
    if look.interval > SCRAPE_EVERY_SECONDS:
        fix = "scrape engines and picker every 15 s or more often"
        text = f"every {look.interval:.0f} s: load is seen {SCRAPES_IN_WINDOW * look.interval:.0f} s late"
        found.append(Finding("scrape interval", text, fix))
    return Seen(looked, found)


def pods_join(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Every serving pod has series, and every series has a pod."""
    view = look.fleet.get(policy.key)
    if view is None or not view.names_pods or not (workloads := _workloads(policy, look)):
        return Seen("pods against engine series", skipped="the names of the pods are not known")
    pods = {pod.name: pod.state for workload in workloads for pod in workload.pods}
    shown = {s.labels[POD] for s in _mine(policy, look, ENGINES) if s.labels.get(POD)}
    silent = [name for name, state in pods.items() if state is PodState.READY and name not in shown]
    whole = len(workloads) == len(policy.variants)
    strays = shown - pods.keys() if whole else frozenset()
    found = []
    if silent:
        fix = "does a PodMonitor select them? without series a pod's load is unknown and nothing is scaled down"
        found.append(Finding("pods without series", listed(silent), fix))
    if strays:
        fix = "pods of no variant serve the model: add them as a variant; if they are gone, wait 5 minutes"
        found.append(Finding("series without pod", listed([*strays]), fix))
    return Seen(f"{len(pods)} pods against {len(shown)} in the engine series", found)


def profiles(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Every profile's match has been seen in the picker's labels, and most requests match some."""
    series = _mine(policy, look, (*PICKER, *PICKER_OLD))
    looked = f"model names, fairness ids and priorities of {len(series)} request counters"
    if not series:
        return Seen(looked, skipped="no picker series")
    found = [*_unseen(policy, series)]
    model = _observed(policy, look)
    share = model.unmatched_share if model else 0.0
    matching = any(not profile.match.is_empty for profile in policy.profiles)
    if matching and not isinstance(share, Missing) and share > UNMATCHED_SHARE:
        fix = "let clients send the header x-llm-d-inference-fairness-id, or ask for a model alias"
        found.append(Finding("default", f"{share:.0%} of requests match no profile and count as default", fix))
    return Seen(looked, found)


def _unseen(policy: SLOPolicy, series: Iterable[Series]) -> Iterator[Finding]:
    labels = (("modelName", MODEL), ("fairnessID", "fairness_id"), ("priority", "priority"))
    values = {label: {s.labels.get(label, "") for s in series} - {""} for _, label in labels}
    for profile in policy.profiles:
        match = profile.match
        asked = {
            "modelName": match.model_name,
            "fairnessID": match.fairness_id,
            "priority": None if match.priority is None else str(match.priority),
        }
        for name, label in labels:
            if asked[name] is not None and values[label] and asked[name] not in values[label]:
                seen = f"match.{name} {asked[name]!r} was never seen; seen are {listed([*values[label]])}"
                yield Finding(
                    f"profile {profile.name}", seen, "correct the match; a profile without requests is not sized for"
                )
    for name, label in labels[:2]:
        if NAMES_CAPPED in values[label]:
            fix = "fewer distinct values: a picker keeps 1000, and calls the rest 'other'; a restart empties it"
            yield Finding(f"label {label}", f"the picker's limit of values is reached ({name} {NAMES_CAPPED!r})", fix)


def usage(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Token lengths are observed once for each response (not once a chunk, and not never)."""
    ratio = look.token_ratios.get(policy.key)
    low, high = USAGE_RATIO
    looked = f"observations of output lengths per response ({low} to {high} can be believed)"
    if ratio is None:
        return Seen(looked, skipped="no response in the window, or no picker")
    if low <= ratio <= high:
        return Seen(looked)
    if ratio > high:
        fix = "clients send stream_options.continuous_usage_stats; stop that, or update the picker to a later main"
        return Seen(looked, [Finding("lengths", f"{ratio:.1f} a response: every chunk is counted", fix)])
    fix = "let clients stream with stream_options.include_usage, else lengths are those of all profiles together"
    return Seen(looked, [Finding("lengths", f"only {ratio:.0%} of the responses tell their usage", fix)])


def streaming(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Some requests stream: of the others the first byte says nothing."""
    series = _mine(policy, look, TTFT)
    looked = f"label streaming of {len(series)} TTFT series of the picker"
    if not series or any(s.labels.get("streaming") == "true" for s in series):
        return Seen(looked)
    fix = "nothing to do if no client streams: TTFT is then taken from the engines, all profiles together"
    return Seen(looked, [Finding("TTFT", "no request streams, so the picker cannot tell a first token", fix)])


def handover(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """Decode pods pull the KV cache instead of computing prompts again."""
    looked = "prompt tokens computed on decode pods"
    if not policy.pool(Role.DECODE):
        return Seen(looked, skipped="no decode pool")
    share = look.local_prefill.get(policy.key)
    if share is None:
        return Seen(looked, skipped="no prompt came, or the engines do not tell sources of prompt tokens")
    if share <= LOCAL_PREFILL_SHARE:
        return Seen(looked)
    fix = "the KV hand-over fails or is skipped: see vllm:nixl_num_failed_transfers_total and the sidecar's logs"
    return Seen(looked, [Finding("decode", f"{share:.0%} of their prompt tokens are computed there", fix)])


def traffic(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The offered load of every profile is known: without it every count is held, for ever."""
    model = _observed(policy, look)
    found = []
    for name, load in model.loads.items() if model else ():
        rate = load.requests_per_second
        if isinstance(rate, Missing):
            fix = "see the findings above"
            if rate.reason is GapReason.INCONSISTENT:
                fix = "let all requests pass the picker, and let every replica of the picker be scraped"
            found.append(Finding(f"profile {name}", f"no demand signal, {rate.reason.value}: {rate.detail}", fix))
    return Seen("offered requests per second of every profile", found)


def matchers(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The labels of metrics.matchers are in the series, with the values asked for."""
    if not policy.metrics.matchers:
        return Seen("metrics.matchers", skipped="the policy has none")
    series = _mine(policy, look, (*ENGINES, *PICKER, *PICKER_OLD))
    found = []
    for label, value in policy.metrics.matchers:
        values = {s.labels.get(label, "") for s in series}
        if series and value not in values:
            seen = listed([*(values - {""})]) or "no value at all"
            fix = "correct metrics.matchers, or let the scrape attach the label"
            found.append(Finding(f"matcher {label}", f"{value!r} was never seen; seen is {seen}", fix))
    return Seen(f"labels {listed([label for label, _ in policy.metrics.matchers])} of {len(series)} series", found)


def engine_version(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The engines export what is needed: names of vLLM 0.12 and later, sources of prompt tokens, the size of the KV."""
    pods = {s.labels.get(POD, "") for s in _mine(policy, look, ENGINES)}
    looked = f"series of {len(pods)} engines"
    if not pods:
        return Seen(looked, skipped="no engine series")
    found = []
    if _mine(policy, look, ENGINES_OLD):
        found.append(Finding("vLLM", "exports names that ended with 0.11", "update vLLM to 0.20 or later"))
    elif not _mine(policy, look, SOURCES):
        fix = "update vLLM to 0.16 or later; until then prefix hits read up to 8 % high under pressure"
        found.append(Finding("vLLM", "does not tell the sources of prompt tokens", fix))
    sized = {s.labels.get(POD, "") for s in _named(look, KV_SIZE) if s.labels.get(NAMESPACE) == policy.namespace}
    if unsized := pods - sized:
        fix = "is vllm:cache_config_info dropped by a metricRelabeling? keep it: nothing else tells KV memory"
        found.append(Finding("KV size", f"not told by {listed([*unsized])}", fix))
    return Seen(looked, found)


def members(policy: SLOPolicy, look: MetricsLook) -> Seen:
    """The picker's own list of endpoints holds every serving pod."""
    series = [s for s in _named(look, MEMBERS) if s.labels.get(NAMESPACE) == policy.namespace]
    looked = "endpoints in the picker's queue gauges against serving pods"
    view = look.fleet.get(policy.key)
    ready = [pod.name for w in _workloads(policy, look) for pod in w.in_state(PodState.READY)]
    if not series or view is None or not view.names_pods:
        return Seen(looked, skipped="no such series" if not series else "the names of the pods are not known")
    endpoints = {s.labels.get("model_server_endpoint") or s.labels.get("model_server_pod", "") for s in series}
    known = {RANK.sub("", endpoint).rpartition("/")[2] for endpoint in endpoints}
    dark = [pod for pod in ready if pod not in known]
    fix = "do their labels fit the InferencePool's selector? is llm-d.ai/active-ports set? see `autoscaler undrain`"
    return Seen(looked, [Finding("pods unknown to the picker", listed(dark), fix)] if dark else [])


CHECKS: tuple[Check[MetricsLook], ...] = (
    Check("queries", queries),
    Check("engine-series", engines),
    Check("picker-series", picker),
    Check("picker-generation", picker_generation),
    Check("metrics-matchers", matchers),
    Check("pod-label", pod_label),
    Check("role-label", role_label),
    Check("scraped-once", scraped_once),
    Check("freshness", freshness),
    Check("scrape-interval", scrape_interval),
    Check("pods-join", pods_join),
    Check("picker-members", members),
    Check("profiles", profiles),
    Check("token-usage", usage),
    Check("streaming", streaming),
    Check("engine-version", engine_version),
    Check("kv-handover", handover),
    Check("demand-signal", traffic),
)
