"""What is said of advisories: an advisory fails, silence is told and fails nothing."""

from typing import Any

import pytest

from tools import audit
from tools.audit import judged

CLEAN = {"name": "aiohttp", "version": "3.14.0", "vulns": []}
UNKNOWN = {"name": "numpy", "skip_reason": "Dependency not found on PyPI"}
BAD = {"name": "urllib3", "version": "2.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.0.6"]}]}


def test_an_advisory_names_package_and_fix() -> None:
    found = judged({"dependencies": [CLEAN, UNKNOWN, BAD]})
    assert found.advisories == ("urllib3 2.0.0: PYSEC-1; fixed in 2.0.6",)
    assert found.told[-1] == "advisories: 1 on 2 packages; 1 could not be asked about"


def test_a_service_that_knows_nothing_is_not_taken_for_a_clean_bill() -> None:
    found = judged({"dependencies": [UNKNOWN, UNKNOWN]})
    assert found.told == ["advisories: the service could not be asked about any of 2 packages; try again online"]


@pytest.mark.parametrize(
    ("found", "status"),
    [(judged({"dependencies": [CLEAN]}), 0), (judged({"dependencies": [BAD]}), 1), (None, 0)],
)
def test_only_an_advisory_fails(monkeypatch: pytest.MonkeyPatch, found: audit.Audit | None, status: int) -> None:
    bill: dict[str, Any] = {"components": [], "bomFormat": "CycloneDX", "specVersion": "1.5"}
    monkeypatch.setattr(audit, "bill_of_materials", lambda: bill)
    monkeypatch.setattr(audit, "audited", lambda: found)
    assert audit.main() == status


@pytest.mark.skipif(not audit.UV.exists(), reason="build/tools/uv is missing: run `make setup`")
def test_the_bill_of_materials_names_every_locked_package_of_the_runtime() -> None:
    found = audit.bill_of_materials()
    names = {component["name"] for component in found["components"]}
    assert {"aiohttp", "numpy", "kubernetes-asyncio", "pydantic", "prometheus-client"} <= names
    assert not {"pytest", "mypy", "ruff"} & names, "tools of development are not shipped"
