"""Pages with sections that a command writes, between `<!-- name -->` and `<!-- end -->`."""

import re
from collections.abc import Sequence


def _pattern(marker: str) -> str:
    return rf"(<!-- {re.escape(marker)} -->\n)(.*?)(\n?<!-- end -->)"


def section(page: str, marker: str) -> str | None:
    """What stands between a section's markers; None without them."""
    found = re.search(_pattern(marker), page, re.S)
    return found[2] if found else None


def replaced(page: str, marker: str, lines: Sequence[str]) -> str:
    """The page with other lines between a section's markers.

    Raises:
        ValueError: The page has no such section.
    """
    if section(page, marker) is None:
        raise ValueError(f"page must have a section {marker!r}, got none")
    body = "\n".join(lines)
    return re.sub(
        _pattern(marker), lambda found: f"{found[1]}{body}\n<!-- end -->", page, flags=re.S
    )
