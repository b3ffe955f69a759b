"""Where servers are looked for, and in which order."""

from pathlib import Path

import pytest

from tools.servers import find

PLACES = ("ETCD_BIN", "KUBEBUILDER_ASSETS", "cache", "PATH")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Return one folder per place, all of them searched, all of them empty."""
    folders = {"ETCD_BIN": tmp_path / "own", "KUBEBUILDER_ASSETS": tmp_path / "assets", "PATH": tmp_path / "path"}
    monkeypatch.setenv(find.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folders["KUBEBUILDER_ASSETS"]))
    monkeypatch.setenv("PATH", str(folders["PATH"]))
    monkeypatch.delenv("ETCD_BIN", raising=False)
    folders["cache"] = find.ETCD.folder
    for folder in folders.values():
        folder.mkdir(parents=True)
    return folders


def executable(folder: Path) -> Path:
    path = folder / "etcd"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("first", range(len(PLACES)), ids=PLACES)
def test_the_first_place_that_has_it_wins(places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    found = {place: executable(places[place]) for place in PLACES[first:]}
    if "ETCD_BIN" in found:
        monkeypatch.setenv("ETCD_BIN", str(found["ETCD_BIN"]))
    assert find.find("etcd") == found[PLACES[first]]


@pytest.mark.usefixtures("places")
def test_all_that_is_missing_is_named() -> None:
    with pytest.raises(find.MissingServersError, match=r"etcd, kube-apiserver.*make servers"):
        find.locate(["etcd", "kube-apiserver"])


def test_a_variable_that_names_nothing_is_an_error_not_a_detour(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(places["PATH"])
    monkeypatch.setenv("ETCD_BIN", "/nowhere/etcd")
    with pytest.raises(find.BadVariableError, match="ETCD_BIN=/nowhere/etcd: no such executable"):
        find.find("etcd")


def test_another_version_has_another_place_in_the_cache() -> None:
    assert find.Package("etcd", "9.9.9", ("etcd",)).folder != find.ETCD.folder
