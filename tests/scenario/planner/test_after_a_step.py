"""After a level shift the plan follows the new level, and does not go on buying for the surprise."""

from tests.scenario.planner.stories import Kind, pair, served

FINE = served(1.0)
CHAT = Kind(4, 800, 200).load("default", FINE, FINE)


def test_ten_minutes_after_a_step_the_new_level_is_what_is_expected() -> None:
    story = pair(2, 2)
    story.settled({"rag": Kind(2, 3000, 64).load("rag", FINE, FINE), "default": CHAT}, 40)
    plan = story.settled({"rag": Kind(20, 3000, 64).load("rag", FINE, FINE), "default": CHAT}, 40)
    offered = 20 * 3000 + 4 * 800
    assert float(plan.variants["prefill"].reasons[0].evidence["tokens_per_s"]) <= 1.5 * offered
