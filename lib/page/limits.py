"""How large the page may grow, and what makes a notebook's part of it large."""

import re
from collections.abc import Mapping

SIZE_LIMIT = 4_000_000  # bytes of the page: 31 notebooks at the limit of each, and the table
NOTEBOOK_LIMIT = 120_000  # bytes of a notebook's part, picture panels included
NAMED = 3  # parts that a warning names
_PART = re.compile(r'<figure id="([^"]+)".*?</figure>|<div class="result" id="([^"]+)".*?</table>'
                   r'|<details class="code">.*?</details>', re.DOTALL)


def too_large(page: str, bodies: Mapping[str, str]) -> list[str]:
    """A sentence for each notebook, and for the page, beyond its limit; bodies: HTML by name."""
    found = [f"report, {name}: {_kilobytes(body)} kB in the page, more than "
             f"{NOTEBOOK_LIMIT / 1000:.0f} kB; the largest parts are {largest_parts(body)}"
             for name, body in bodies.items() if len(body.encode()) > NOTEBOOK_LIMIT]
    if len(page.encode()) > SIZE_LIMIT:
        largest = max(bodies, key=lambda name: len(bodies[name]), default="none")
        found.append(f"the report has {len(page.encode()) / 1e6:.1f} MB, more than "
                     f"{SIZE_LIMIT / 1e6:.0f} MB; the largest section is {largest}")
    return found


def largest_parts(body: str) -> str:
    """The three largest parts of a notebook with their kilobytes: figures, tables, all its code."""
    sizes: dict[str, int] = {}
    for part in _PART.finditer(body):
        name = part[1] or part[2] or "code"
        sizes[name] = sizes.get(name, 0) + len(part[0].encode())
    largest = sorted(sizes, key=lambda name: -sizes[name])[:NAMED]
    return ", ".join(f"{name} ({sizes[name] / 1000:.0f} kB)" for name in largest) or "its text"


def _kilobytes(text):
    return f"{len(text.encode()) / 1000:.0f}"
