"""One tick of the drain, by table: who leaves, who stays, what stands in the way."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from autoscaler.domain.fleet import Pod, PodState, Workload
from autoscaler.domain.membership import Drain, Membership
from autoscaler.domain.observation import EngineLoad, ModelObservation
from autoscaler.domain.plan import Action, Announce, Readmit, Scale, VariantRef, Withdraw
from autoscaler.domain.policy import Budget, ScaleDown, Scheduler, SchedulerKind, SLOPolicy
from autoscaler.domain.pool import Role, ScaleTarget, Variant
from autoscaler.domain.reason import Code
from autoscaler.domain.signal import GapReason, Missing, Signal
from autoscaler.domain.units import Instant, Seconds
from autoscaler.plan import drain
from tests import planning

NOW = Instant(1_000_000.0)
BEGAN = Instant(NOW - 120.0)
END = Instant(NOW + 480.0)
REF = VariantRef("llm/model", "decode")


def pod(name: str, state: PodState = PodState.READY, *, drained: Drain | None = None, role: str = "decode") -> Pod:
    ready = None if state in drain.UNREADY else Instant(NOW - 9000.0)
    made = Pod(name, role, state, Instant(NOW - 9100.0), uid=f"uid-{name}", ready_since=ready)
    if drained is None:
        return made
    return replace(
        made,
        state=PodState.DRAINING if state is PodState.READY else state,
        draining_since=drained.started,
        drain_deadline=drained.deadline,
        unrouted_since=drained.unrouted,
        empty_since=drained.empty,
    )


def engine(name: str, running: float = 0.0, kv: float = 0.0, age: float = 1.0) -> EngineLoad:
    made = planning.engine(name, running=running)
    return replace(made, kv_use_ratio=kv, newest_sample=Instant(NOW - age))


def scene(  # noqa: PLR0913 - each is what one of the tests is about
    pods: tuple[Pod, ...],
    target: int,
    *,
    engines: Mapping[str, EngineLoad] | None = None,
    listed: Signal[frozenset[str]] | None = None,
    requested: int | None = None,
    role: Role = Role.DECODE,
    drains: int = 2,
    held: bool = False,
    rolling_out: bool = False,
    disturbed: bool = False,
    budget: Budget | None = None,
) -> drain.Scene:
    variant = Variant("decode", role, ScaleTarget("llm", "apps/v1", "Deployment", "decode"), "H200", 1, 1.0, 1, 9)
    policy = SLOPolicy(
        "model", "llm", "m", (), (variant,),
        budget=budget or Budget(),
        scale_down=ScaleDown(Seconds(600.0), drains),
        scheduler=Scheduler(SchedulerKind.INFERENCE_POOL, "p"),
    )  # fmt: skip
    members = frozenset(p.name for p in pods if p.state is PodState.READY) if listed is None else listed
    membership = members if isinstance(members, Missing) else Membership({"a": members, "b": members})
    workload = Workload("decode", len(pods) if requested is None else requested, pods, rolling_out, disturbed)
    reports = {p.name: engine(p.name) for p in pods} if engines is None else engines
    observed = ModelObservation("llm/model", {}, {"decode": workload}, reports, 0.0, membership=membership)
    return drain.Scene(NOW, policy, observed, {"decode": target}, frozenset({"decode"} if held else ()))


def actions(chosen: drain.Scene) -> tuple[Action, ...]:
    return drain.steps(chosen).actions


def withdrawn(chosen: drain.Scene) -> list[str]:
    return [action.pod for action in actions(chosen) if isinstance(action, Withdraw)]


STARTED = Drain(BEGAN, END)
UNROUTED = Drain(BEGAN, END, Instant(NOW - 60.0))
EMPTY = Drain(BEGAN, END, Instant(NOW - 60.0), Instant(NOW - 15.0))


def test_the_least_loaded_leave_first_and_no_more_than_may_drain_at_once() -> None:
    pods = tuple(pod(name) for name in "abcde")
    loads = {name: engine(name, running) for name, running in zip("abcde", (5.0, 1.0, 9.0, 2.0, 3.0), strict=True)}
    assert withdrawn(scene(pods, 1, engines=loads)) == ["b", "d"]
    assert withdrawn(scene(pods, 4, engines=loads)) == ["b"]
    assert withdrawn(scene(pods, 1, engines=loads, drains=3)) == ["b", "d", "e"]


def test_pods_that_do_not_serve_yet_leave_before_any_that_does() -> None:
    pods = (pod("a"), pod("b"), pod("c", PodState.STARTING), pod("d", PodState.PENDING))
    assert withdrawn(scene(pods, 3)) == ["d"]
    assert withdrawn(scene(pods, 2)) == ["d", "c"]


def test_the_drained_one_comes_back_when_another_stops_serving() -> None:
    pods = (pod("a"), pod("b", drained=UNROUTED), pod("c", PodState.FAILED))
    assert actions(scene(pods, 2)) == (
        Readmit(REF, "b", "uid-b"),
        Withdraw(REF, "c", "uid-c", Drain(NOW, Instant(NOW + 600.0))),
    )


@pytest.mark.parametrize(
    ("before", "reports", "after"),
    [
        pytest.param(STARTED, engine("b"), Drain(BEGAN, END, NOW), id="every picker has dropped it"),
        pytest.param(UNROUTED, engine("b"), replace(UNROUTED, empty=NOW), id="it holds nothing"),
        pytest.param(UNROUTED, engine("b", 1.0), UNROUTED, id="it runs a request"),
        pytest.param(UNROUTED, engine("b", age=57.0), UNROUTED, id="a sample from before the last request"),
        pytest.param(UNROUTED, engine("b", age=-30.0), UNROUTED, id="a sample from the future"),
        pytest.param(EMPTY, engine("b", 1.0), UNROUTED, id="empty, and then not"),
    ],
)
def test_notes_follow_what_is_seen(before: Drain, reports: EngineLoad, after: Drain) -> None:
    seen = scene((pod("a"), pod("b", drained=before)), 1, engines={"a": engine("a"), "b": reports})
    expected = () if after == before else (Withdraw(REF, "b", "uid-b", after),)
    assert actions(seen) == expected


def test_a_prefill_pod_is_not_empty_while_it_pins_what_nobody_has_pulled() -> None:
    pods = (pod("a"), pod("b", drained=UNROUTED))
    pinning = {"a": engine("a"), "b": engine("b", 0.0, 0.01)}
    assert actions(scene(pods, 1, engines=pinning, role=Role.PREFILL)) == ()
    assert withdrawn(scene(pods, 1, engines=pinning, role=Role.DECODE)) == ["b"]


def test_exactly_the_empty_ones_are_removed() -> None:
    pods = (pod("a"), pod("b", drained=EMPTY), pod("c", drained=UNROUTED))
    busy = {name: engine(name, 1.0 if name == "c" else 0.0) for name in "abc"}
    assert actions(scene(pods, 1, engines=busy)) == (Scale(REF, 2, 3),)


def test_empty_must_be_seen_twice() -> None:
    stale = {"a": engine("a"), "b": engine("b", age=20.0)}
    assert actions(scene((pod("a"), pod("b", drained=EMPTY)), 1, engines=stale)) == ()


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param(frozenset({"a", "b"}), id="a picker lists it still"),
        pytest.param(Missing(GapReason.UNREACHABLE, NOW, "picker down"), id="no picker answers"),
        pytest.param(frozenset[str](), id="a picker that lists nothing it should"),
    ],
)
def test_nothing_is_removed_on_an_unconfirmed_drain(listed: Signal[frozenset[str]]) -> None:
    steps = drain.steps(scene((pod("a"), pod("b", drained=EMPTY)), 1, listed=listed))
    assert not any(isinstance(action, Scale) for action in steps.actions)
    assert Code.UNCONFIRMED in {reason.code for reason in steps.reasons["decode"]}


def test_nobody_is_withdrawn_where_it_could_not_be_confirmed() -> None:
    assert actions(scene((pod("a"), pod("b")), 1, listed=Missing(GapReason.ABSENT, NOW, "none"))) == ()


def test_load_that_returns_readmits_before_anything_is_created() -> None:
    pods = (pod("a"), pod("b", drained=UNROUTED), pod("c", drained=EMPTY))
    assert actions(scene(pods, 4)) == (Readmit(REF, "b", "uid-b"), Readmit(REF, "c", "uid-c"), Scale(REF, 4, 3))
    assert actions(scene(pods, 2))[0] == Readmit(REF, "b", "uid-b"), "the one that has come furthest goes on"


@pytest.mark.parametrize(
    "drained",
    [
        pytest.param(Drain(BEGAN, Instant(NOW - 1.0)), id="its time is over"),
        pytest.param(Drain(Instant(NOW + 500.0), Instant(NOW + 700.0)), id="begun in the future"),
        pytest.param(Drain(BEGAN, Instant(NOW + 90_000.0)), id="a deadline no drain can have"),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_a_drain_whose_time_is_over_is_undone(drained: Drain, *, held: bool) -> None:
    found = actions(scene((pod("a"), pod("b", drained=drained)), 1, held=held))
    assert found[0] == Readmit(REF, "b", "uid-b")


def test_while_held_drains_stay_and_nothing_begins() -> None:
    assert actions(scene((pod("a"), pod("b"), pod("c", drained=EMPTY)), 3, held=True)) == ()


def test_a_roll_out_holds_removals() -> None:
    assert actions(scene((pod("a"), pod("b", drained=EMPTY)), 1, rolling_out=True)) == ()


def test_soon_after_an_outage_drains_go_on_and_no_count_is_lowered() -> None:
    pods = (pod("a"), pod("b"), pod("c", drained=EMPTY))
    assert actions(scene(pods, 2, disturbed=False)) == (Scale(REF, 2, 3),)
    steps = drain.steps(scene(pods, 1, disturbed=True))
    assert [type(action) for action in steps.actions] == [Withdraw]
    assert Code.UNCONFIRMED in {reason.code for reason in steps.reasons["decode"]}


def test_the_last_decode_pod_stays() -> None:
    assert withdrawn(scene((pod("a"),), 0)) == []


def test_pods_withdrawn_by_others_are_left_alone() -> None:
    theirs = replace(pod("b"), state=PodState.DRAINING)
    assert actions(scene((pod("a"), theirs), 1)) == ()


def test_a_stateful_set_loses_its_highest_ordinals_from_the_top() -> None:
    pods = tuple(replace(pod(f"d-{n}"), ordinal=n) for n in range(4))
    busy = {p.name: engine(p.name, 9.0 if p.ordinal == 3 else 0.0) for p in pods}
    assert withdrawn(scene(pods, 2, engines=busy)) == ["d-3", "d-2"]
    lower = replace(pod("d-2", drained=EMPTY), ordinal=2)
    upper = replace(pod("d-3", drained=UNROUTED), ordinal=3)
    waiting = scene((*pods[:2], lower, upper), 2, engines=busy)
    assert not any(isinstance(action, Scale) for action in actions(waiting)), "the top would go instead"


def test_growth_stays_within_the_budget_until_a_removal_has_released_its_part() -> None:
    assert actions(scene((pod("a"), pod("b")), 5, budget=Budget((("H200", 3),)))) == (Scale(REF, 3, 2),)


def test_a_gated_pod_is_announced_when_it_is_warm() -> None:
    gated = replace(pod("b"), state=PodState.STARTING, warm_up=Seconds(30.0))
    assert actions(scene((pod("a"), gated), 2)) == (Announce(REF, "b", "uid-b"),)
    fresh = replace(gated, ready_since=Instant(NOW - 10.0))
    assert actions(scene((pod("a"), fresh), 2)) == ()


def test_a_group_whose_other_pods_serve_is_not_taken_for_withdrawn() -> None:
    group = replace(pod("b", drained=UNROUTED), others=("b-1",))
    steps = drain.steps(scene((pod("a"), group), 1, listed=frozenset({"a", "b-1"})))
    assert steps.actions == (Withdraw(REF, "b", "uid-b", STARTED), Withdraw(REF, "b-1", "", STARTED))
    assert "b-1" in str(steps.reasons["decode"])
    assert withdrawn(scene((pod("a"), group), 1)) == ["b"], "empty, once no picker lists any of them"


MEMBERS = frozenset({"a", "b", "b-1"})
NEW = Drain(NOW, Instant(NOW + 600.0))
IDLE = {name: engine(name) for name in "ab"} | {"b-1": engine("b-1")}
SILENT = {name: engine(name) for name in "ab"}


@pytest.mark.parametrize(
    ("group", "listed", "target", "reports", "expected"),
    [
        pytest.param(pod("b"), MEMBERS, 1, IDLE, (Withdraw(REF, "b", "uid-b", NEW), Withdraw(REF, "b-1", "", NEW)),
                     id="all its members are withdrawn together"),
        pytest.param(pod("b"), MEMBERS - {"b-1"}, 1, IDLE, (Withdraw(REF, "b", "uid-b", NEW),),
                     id="a pod that is no member is left alone"),
        pytest.param(pod("b", drained=STARTED), MEMBERS - {"b"}, 1, IDLE, (Withdraw(REF, "b-1", "", STARTED),),
                     id="a controller died before the second: the next one goes on"),
        pytest.param(("b-1", pod("b", drained=UNROUTED)), MEMBERS - {"b", "b-1"}, 1, IDLE | {"b-1": engine("b-1", 1.0)},
                     (), id="not empty while another of its pods holds work"),
        pytest.param(("b-1", pod("b", drained=UNROUTED)), MEMBERS - {"b", "b-1"}, 1, SILENT,
                     (), id="nor while one that served reports nothing"),
        pytest.param(("b-1", pod("b", drained=EMPTY)), MEMBERS - {"b", "b-1"}, 1, IDLE, (Scale(REF, 1, 2),),
                     id="it goes as a whole"),
        pytest.param(("b-1", pod("b", drained=UNROUTED)), MEMBERS - {"b", "b-1"}, 2, IDLE,
                     (Readmit(REF, "b", "uid-b"), Readmit(REF, "b-1")), id="and comes back as a whole"),
        pytest.param(("b-1", pod("b")), MEMBERS - {"b-1"}, 2, IDLE, (Readmit(REF, "b-1"),),
                     id="a controller died before the second came back"),
    ],
)  # fmt: skip
def test_a_group_whose_pods_are_members_is_drained_as_one(
    group: Pod | tuple[str, Pod],
    listed: frozenset[str],
    target: int,
    reports: Mapping[str, EngineLoad],
    expected: tuple[Action, ...],
) -> None:
    dark, leader = group if isinstance(group, tuple) else ("", group)
    led = replace(leader, others=("b-1",), others_withdrawn=(dark,) if dark else ())
    busy = {**reports, "a": engine("a", running=9.0)}
    assert actions(scene((pod("a"), led), target, engines=busy, listed=listed)) == expected


LATE = Drain(BEGAN, Instant(NOW - 60.0), Instant(NOW - 60.0), Instant(NOW - 15.0))
FORGOTTEN = Drain(BEGAN, Instant(NOW - 300.0), Instant(NOW - 60.0), Instant(NOW - 15.0))
BACK = Readmit(REF, "b", "uid-b")


@pytest.mark.parametrize(
    ("empty", "requested", "target", "rolling_out", "expected"),
    [
        pytest.param(EMPTY, 1, 1, False, (), id="lowered, its controller has not acted: it would take another pod"),
        pytest.param(EMPTY, 1, 1, True, (), id="lowered, its controller has not even seen it"),
        pytest.param(
            EMPTY, 1, 2, False, (Scale(REF, 2, 1),), id="load returns: a new count first, the pod may be going"
        ),
        pytest.param(EMPTY, 2, 2, True, (), id="the new count is not seen yet"),
        pytest.param(EMPTY, 2, 2, False, (BACK,), id="it is: the pod is there to stay"),
        pytest.param(LATE, 1, 1, False, (), id="its deadline has just passed"),
        pytest.param(FORGOTTEN, 1, 1, False, (BACK,), id="nobody removes it: it does not stay dark"),
    ],
)
def test_a_pod_whose_removal_was_asked_for_stays_withdrawn_until_it_is_gone(
    empty: Drain, requested: int, target: int, expected: tuple[Action, ...], *, rolling_out: bool
) -> None:
    pods = (pod("a"), pod("b", drained=empty))
    assert actions(scene(pods, target, requested=requested, rolling_out=rolling_out)) == expected


def test_a_removal_that_is_not_done_is_not_counted_twice() -> None:
    pods = (pod("a"), pod("b", drained=EMPTY), pod("c", drained=UNROUTED))
    reports = {"a": engine("a"), "b": engine("b"), "c": engine("c", running=5.0)}
    steps = drain.steps(scene(pods, 1, engines=reports, requested=2))
    assert steps.actions == (), "another step down would take c with its work"
    assert "an earlier removal is not done: 3 pods, of 2 asked for" in str(steps.reasons["decode"])
