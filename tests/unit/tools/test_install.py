"""Making servers: all of a package or nothing of it, and a failure that says what to do."""

from pathlib import Path

import pytest

from tools.servers import find, install
from tools.servers.__main__ import main


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder of a machine that has nothing."""
    for name in [find.variable_of(binary) for package in find.PACKAGES for binary in package.binaries]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv(find.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_made_package_is_found_and_not_made_again(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(target: Path) -> None:
        (target / "etcd").write_text("#!/bin/sh\necho etcd Version: 3.6.8\n")
        (target / "etcd").chmod(0o755)

    monkeypatch.setitem(install.INSTALLERS, "etcd", make)
    install.install(find.ETCD)
    assert find.locate(["etcd"]) == {"etcd": bare / "etcd-3.6.8" / "etcd"}


def test_a_failed_making_leaves_nothing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(target: Path) -> None:
        (target / "kube-apiserver").write_text("half of it")
        raise install.InstallError

    monkeypatch.setitem(install.INSTALLERS, "kubernetes", make)
    with pytest.raises(install.InstallError):
        install.install(find.KUBERNETES)
    assert list(bare.iterdir()) == []


@pytest.mark.usefixtures("bare")
def test_each_missing_tool_is_named_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    told = capsys.readouterr().err
    assert "Go is needed" in told
    assert "KUBEBUILDER_ASSETS" in told
    assert "PROMTOOL_BIN" in told


def test_a_check_reports_and_makes_nothing(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.count("missing") == 5
    assert not bare.exists()


def test_a_go_that_is_too_old_is_refused_before_it_builds(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent))
    with pytest.raises(install.InstallError, match=r"go1\.19\.8.*too old.*Go 1\.26"):
        install.install(find.ETCD)
    assert list(bare.iterdir()) == []
