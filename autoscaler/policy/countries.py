"""Which countries, and which parts of them, have a calendar of holidays."""

from holidays.utils import list_supported_countries


def subdivisions(country: str) -> tuple[str, ...] | None:
    """Return the codes of a country's parts, sorted; None: no holidays of this country are known."""
    known = list_supported_countries(include_aliases=True)
    return tuple(sorted(known[country])) if country in known else None
