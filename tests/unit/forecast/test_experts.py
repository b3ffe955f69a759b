"""Experts, their mixture, and what they learn."""

import math

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from autoscaler.domain.units import Instant, Seconds
from autoscaler.forecast import features, learned, mixture
from autoscaler.forecast.learned import Kind
from autoscaler.forecast.memory import NODES, TRAINED
from autoscaler.forecast.mixture import Mixture
from autoscaler.forecast.onoff import OnOff
from autoscaler.forecast.room import LoadForecaster
from autoscaler.forecast.seasonal import day_profile
from autoscaler.forecast.series import SeriesForecaster
from autoscaler.performance.step import FloatArray
from tests.unit.forecast.test_room import load


def daily(days: float) -> FloatArray:
    minute = np.arange(int(days * 1440))
    noise = np.random.default_rng(0).gamma(50.0, 1.0 / 50.0, len(minute))
    return np.asarray((20.0 + 10.0 * np.sin(2.0 * np.pi * minute / 1440.0)) * noise)


def settled(errors: dict[int, float], minutes: int) -> Mixture:
    """Return a mixture whose experts always said 10 plus their error, where 10 came."""
    mixed = Mixture.of([1.0] * len(errors))
    for minute in range(minutes):
        mixture.issue(
            [mixed], minute, np.full((1, len(errors), len(NODES)), 10.0) + np.array([list(errors.values())]).T
        )
        mixture.settle([mixed], minute, np.array([10.0]))
    return mixed


def test_the_better_expert_gets_the_weight() -> None:
    weights = settled({0: 0.5, 1: 2.0}, minutes=120).weights
    assert (weights[0] > 0.9).all()
    assert weights.sum(axis=0) == pytest.approx(np.ones(len(NODES)))


def test_no_expert_is_lost_for_good() -> None:
    assert (settled({0: 0.1, 1: 50.0}, minutes=600).weights[1] > 0.004).all()


def test_before_any_loss_the_prior_decides() -> None:
    unheard = Mixture.of([1.0, 1.0])
    mixture.issue([unheard], 0, np.full((1, 2, len(NODES)), 1.0))
    assert (unheard.weights == 0.5).all()


def test_a_silent_expert_has_no_say() -> None:
    several = [settled({0: 0.5, 1: 2.0}, minutes=60), settled({0: 0.5, 1: 2.0}, minutes=60)]
    said = np.array([[[math.nan] * len(NODES), [7.0] * len(NODES)], [[math.nan] * len(NODES)] * 2])
    combined = mixture.combined(several, said)
    assert combined[0] == pytest.approx(np.full(len(NODES), 7.0))
    assert np.isnan(combined[1]).all()


def test_a_gap_settles_nothing() -> None:
    mixed = settled({0: 0.5, 1: 2.0}, minutes=60)
    before = mixed.losses.copy()
    mixture.settle([mixed], 60, np.array([math.nan]))
    assert (mixed.losses == before).all()


def test_behind_a_long_gap_nothing_is_judged_by_what_was_said_before_it() -> None:
    series = SeriesForecaster()

    def judged(minutes: range) -> FloatArray:
        for minute in minutes:
            series.observe(Instant(60.0 * minute), 5.0, 60.0)
        return series.council.mixture.counts[:, :, NODES.index(30)].copy()

    before = judged(range(1, 92))
    assert before.any()
    behind = judged(range(136, 165))  # 44 minutes are missing; what is said from then on for 30 minutes is not due yet
    assert (behind == before).all()


def test_flattened_trees_answer_as_scikit_learn_does() -> None:
    draw = np.random.default_rng(0)
    table = draw.normal(size=(400, 6))
    models = [
        HistGradientBoostingRegressor(max_iter=12, max_leaf_nodes=9, random_state=0).fit(table, table @ weights)
        for weights in draw.normal(size=(3, 6))
    ]
    trees = learned.flattened(models)
    for row in table[:20]:
        want = [float(model.predict(row[None])[0]) for model in models]
        assert trees(np.tile(row, (3, 1))) == pytest.approx(want)


def test_trees_whose_nodes_stand_in_another_order_are_refused() -> None:
    table = np.random.default_rng(0).normal(size=(400, 6))
    model = HistGradientBoostingRegressor(max_iter=2, max_leaf_nodes=9, random_state=0).fit(table, table.sum(axis=1))
    nodes = model._predictors[1][0].nodes  # noqa: SLF001 - as another version might write them
    nodes["left"], nodes["right"] = nodes["right"].copy(), nodes["left"].copy()
    with pytest.raises(ValueError, match="scikit-learn puts left children elsewhere"):
        learned.flattened([model])


def test_the_row_in_the_loop_is_the_row_of_the_training() -> None:
    values = daily(9.0)
    newest = features.newest(values, 77, np.array(TRAINED), 0.5)
    for row, horizon in zip(newest, TRAINED, strict=True):
        assert row == pytest.approx(features.rows(values, 77, np.array([len(values) - 1]), horizon, 0.5)[0])


@pytest.mark.parametrize(("days", "kinds"), [(1.9, set()), (2.1, {Kind.RIDGE}), (4.1, {Kind.RIDGE, Kind.BOOSTING})])
def test_learners_wait_for_the_history_they_need(days: float, kinds: set[Kind]) -> None:
    series = SeriesForecaster()
    for i, rate in enumerate(daily(days).tolist()):
        series.remember(Instant(60.0 * (i + 1)), rate, 1.0)
    assert {job.kind for job in series.training_jobs()} == kinds


def test_a_trained_model_speaks_from_the_next_minute_until_a_better_one_is_due() -> None:
    series = SeriesForecaster()
    values = daily(2.2).tolist()
    for i, rate in enumerate(values):
        series.remember(Instant(60.0 * (i + 1)), rate, 1.0)
    (job,) = series.training_jobs()
    series.adopt(job.run())
    assert series.training_jobs() == ()
    series.observe(Instant(60.0 * (len(values) + 1)), values[-1], 1.0)
    ridge = [expert.name for expert in series.council.experts].index("ridge")
    assert np.isfinite(series.council.said(series.memory)[ridge]).all()


def test_the_room_hands_out_training_and_takes_models_back() -> None:
    room = LoadForecaster()
    for i, rate in enumerate(daily(2.1).tolist()):
        room.observe(Instant(60.0 * (i + 1)), {"chat": load("chat", rate)}, long_ago=True)
    signals = []
    while jobs := room.training_jobs():
        signals.append(jobs[0].signal)
        room.adopt(jobs[0].run())
    assert signals == ["requests", "uncached_prompt_tokens", "output_tokens"]
    state = room.to_state()
    assert LoadForecaster.from_state(state).to_state() == state


def test_the_day_profile_is_the_mean_day_without_gaps() -> None:
    values = daily(3.0)
    values[100:200] = math.nan
    profile = day_profile(values, np.arange(len(values)) % 1440)
    assert profile.shape == (1440,)
    assert profile.argmax() == pytest.approx(360, abs=60)
    assert np.isfinite(profile).all()


def on_off(days: int) -> FloatArray:
    """Return a load that is on for one hour of four, at 8 to 12 requests/s."""
    minute = np.arange(days * 1440)
    level = 10.0 + 2.0 * np.sin(minute)
    return np.asarray(np.where(minute % 240 < 60, level, 0.0))


def test_an_on_off_load_is_bounded_by_its_on_level_and_not_by_exploding_ratios() -> None:
    series = SeriesForecaster()
    values = on_off(3)
    covered, highest = [], 0.0
    for i, rate in enumerate(values.tolist()):
        series.observe(Instant(60.0 * (i + 1)), rate, 1.0)
        if 1440 <= i < len(values) - 15:
            bound = series.forecast(series.path(), Seconds(900.0), Seconds(60.0)).at(0.9)
            covered.append(values[i + 15 : i + 16].mean() <= bound)
            highest = max(highest, bound)
    assert series.states.applies
    assert np.mean(covered) >= 0.87
    assert highest <= 3.0 * float(np.quantile(values[values > 0], 0.9))


def test_a_steady_load_has_no_states() -> None:
    states = OnOff()
    states.learn(daily(2.0))
    assert not states.applies
    assert not states.is_off(0.0)


def test_silence_of_every_profile_at_once_is_an_outage_and_enters_no_training() -> None:
    room = LoadForecaster()
    rates = [10.0] * 120 + [0.0] * 12 + [10.0] * 5
    for i, rate in enumerate(rates):
        room.observe(Instant(60.0 * (i + 1)), {name: load(name, rate) for name in ("chat", "rag")})
    values = room.profiles["chat"].series["requests"].memory.minutes.values
    assert np.isnan(values[120:132]).all()
    assert not np.isnan(values[:120]).any()


def test_silence_of_one_profile_alone_is_load_that_ended() -> None:
    room = LoadForecaster()
    for i in range(140):
        loads = {"chat": load("chat", 0.0 if i >= 120 else 10.0), "rag": load("rag", 10.0)}
        room.observe(Instant(60.0 * (i + 1)), loads)
    assert not np.isnan(room.profiles["chat"].series["requests"].memory.minutes.values).any()
