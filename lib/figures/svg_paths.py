"""The `d` of SVG paths in few bytes, without a visible change."""

import re

_TOKEN = re.compile(r"[A-Za-z]|-?\d*\.?\d+")
_STRAIGHT = re.compile(r"[MLz\d.\s-]+")
Point = tuple[int, int]  # in hundredths of the unit: sums of them are exact


def straight(commands: str) -> bool:
    """Whether a path consists of straight lines alone, in absolute coordinates."""
    return _STRAIGHT.fullmatch(commands) is not None


def subpaths(commands: str) -> list[tuple[list[Point], bool]]:
    """The points of each straight part of a path, and whether it is closed."""
    parts, tokens = [], iter(_TOKEN.findall(commands))
    for token in tokens:
        if token == "M":
            parts.append(([_point(tokens)], False))
        elif token == "L":
            parts[-1][0].append(_point(tokens))
        elif token == "z":
            parts[-1] = parts[-1][0], True
        else:
            raise ValueError(f"path {commands[:40]!r}: expected the commands M, L and z alone")
    return parts


def _point(tokens):
    return round(100 * float(next(tokens))), round(100 * float(next(tokens)))


def short_path(commands: str) -> str:
    """The same path in relative coordinates, without points that nobody sees."""
    if not straight(commands):
        return re.sub(r" ?([A-DF-Za-df-z]) ?", r"\1", commands)  # e belongs to a number
    text, at = [], None
    for points, closed in subpaths(commands):
        start = points[0]
        text.append(_command("M", start) if at is None else _command("m", _minus(start, at)))
        steps = _steps(points)
        text += _lines(steps)
        at = start if closed else (start[0] + sum(x for x, _ in steps),
                                   start[1] + sum(y for _, y in steps))
        text += ["z"] if closed else []
    return "".join(text)


def _minus(a, b):
    return a[0] - b[0], a[1] - b[1]


def _steps(points):
    """From point to point; those of no length go, and those that lead straight on become one."""
    steps = []
    for step in map(_minus, points[1:], points):
        if steps and _ahead(steps[-1], step):
            step = steps[-1][0] + step[0], steps[-1][1] + step[1]
            steps.pop()
        if step != (0, 0):
            steps.append(step)
    return steps or [(0, 0)] * (len(points) > 1)  # a stroke without length is a dot


def _ahead(a, b):
    return any(a[i] == b[i] == 0 and a[1 - i] * b[1 - i] > 0 for i in (0, 1))


def _lines(steps):
    """The commands of steps: h, v, or l, whose letter stands once."""
    text, last = [], ""
    for x, y in steps:
        letter, numbers = ("h", (x,)) if y == 0 else ("v", (y,)) if x == 0 else ("l", (x, y))
        command = _command(letter, numbers)
        repeated = letter == last
        text.append((command[1:] if command[1] == "-" else " " + command[1:]) if repeated
                    else command)
        last = letter
    return text


def _command(letter, numbers):
    first, *rest = map(_number, numbers)
    return letter + first + "".join(text if text[0] == "-" else " " + text for text in rest)


def _number(hundredths):
    text = f"{hundredths / 100:.2f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0\.", r"\1.", text) if text not in ("-0", "0") else "0"
