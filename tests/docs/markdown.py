"""What the tests need of the documents: their fenced blocks, links and commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("examples/**/*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language (empty: none) and text."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document."""
    return [Block(found[1], found[2]) for found in _FENCE.finditer(text)]


def links(text: str) -> list[str]:
    """Return the targets of a document's links and pictures, outside its fenced blocks."""
    return _LINK.findall(_FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str, program: str) -> Iterator[str]:
    """Yield every call of a program in fenced, indented or inline code, with continued lines joined.

    A call ends where a shell would end it (``|``, ``;``, ``&&``, ``>``, ``#``), or at the backtick that closes it.
    """
    joined = re.sub(r"\\\n\s*", " ", text)
    inline = re.findall(r"`([^`\n]+)`", _FENCE.sub("", joined))
    fenced = [line for block in blocks(joined) for line in block.text.splitlines()]
    indented = [line for line in joined.splitlines() if line.startswith("    ")]
    start = re.compile(rf"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?{program} (\S.*)$")
    for code in (*inline, *fenced, *indented):
        if found := start.match(code):
            yield re.split(r"\s(?:\||;|&&|\|\||>|#|<)\s?|\s\s+#|;\s", found[1])[0].strip()
