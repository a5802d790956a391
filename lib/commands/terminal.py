"""What commands print: lines, counts and paths."""

from pathlib import Path


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


def number(count: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def shown(path: Path) -> Path:
    """A path as the user would type it: relative where it lies below the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
