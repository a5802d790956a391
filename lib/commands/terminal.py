"""How commands print lines, counts and paths."""

from pathlib import Path


def say(line: str) -> None:
    """Print a line and flush it, so that a pipe gets it at once."""
    print(line, flush=True)


def number(count: int, noun: str) -> str:
    """A count with its noun: `1 row`, `2 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(path: Path) -> Path:
    """A path as the user would type it: relative if it is below the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
