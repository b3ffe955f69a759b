"""A page of metrics that Prometheus can scrape and a test can change."""

from tests.servers.serving import TEXT, Answer, Serving


class Exposition(Serving):
    """A context manager that serves ``text`` at every path of ``address``; with ``text = None`` it answers 503."""

    def __init__(self, text: str | None = "") -> None:
        """Take the first page."""
        self.text = text
        super().__init__(self._answer)

    def _answer(self, path: str, body: bytes) -> Answer:  # noqa: ARG002 - all the same
        text = self.text
        return 503 if text is None else 200, TEXT, (text or "").encode()
