"""The page on scenario files names every field and every fault, and no other fault."""

import re
from pathlib import Path

from pydantic import BaseModel

from autoscaler.simulate import scenario_file
from autoscaler.simulate.faults import EFFECTS, FaultKind

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "scenario-file.md").read_text(encoding="utf-8")


def parts() -> list[type[BaseModel]]:
    found = [
        value
        for value in vars(scenario_file).values()
        if isinstance(value, type) and issubclass(value, scenario_file.Part)
    ]
    return [part for part in found if part is not scenario_file.Part]


def test_every_field_is_on_the_page() -> None:
    fields = {field.alias or name for part in parts() for name, field in part.model_fields.items()}
    words = set(re.findall(r"\w+", PAGE))
    assert len(fields) > 50
    assert fields <= words


def test_every_fault_is_on_the_page_and_has_an_effect() -> None:
    table = PAGE.split("## `faults[]`")[1]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == {kind.value for kind in FaultKind}
    assert EFFECTS.keys() == set(FaultKind)
