"""Generated files: written, compared, and a difference is named."""

from pathlib import Path

import pytest

from tools import generated


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a file that has to hold 42."""
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    entry = generated.Generated("made/answer.txt", ("-c", "print(42)"))
    monkeypatch.setattr(generated, "GENERATED", (entry,))
    return tmp_path / entry.path


def test_what_was_written_passes_the_check(answer: Path) -> None:
    assert generated.main([]) == 0
    assert answer.read_text() == "42\n"
    assert generated.main(["--check"]) == 0


@pytest.mark.parametrize("content", [None, "", "41\n"], ids=["absent", "empty", "stale"])
def test_a_difference_is_named_and_not_mended_by_the_check(
    answer: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        answer.parent.mkdir()
        answer.write_text(content)
    assert generated.main(["--check"]) == 1
    assert "made/answer.txt: differs" in capsys.readouterr().err
    assert (answer.read_text() if answer.exists() else None) == content
