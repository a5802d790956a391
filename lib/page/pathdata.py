"""The `d` of a path: read, simplified below what a screen shows, and written with few letters."""

import re

Point = tuple[float, float]
Step = tuple[str, tuple[Point, ...]]  # a command of M, L, Q, C, Z with absolute points

TOLERANCE = 0.07  # points, 0.1 pixels of the page
SMALL = 12  # outlines of markers are this small: they need the second decimal
_TOKEN = re.compile(r"[A-Za-z]|-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?")
_POINTS = {"M": 1, "L": 1, "Q": 2, "C": 3, "Z": 0}


def parse(commands: str) -> tuple[Step, ...] | None:
    """The steps of a path; None where it has other commands than matplotlib's M, L, Q, C, Z."""
    steps: list[Step] = []
    numbers: list[float] = []
    command = ""
    for token in _TOKEN.findall(commands):
        if not token.isalpha():
            numbers.append(float(token))
        else:
            if numbers or token.upper() not in _POINTS or token not in "MLQCZz":
                return None
            command = token.upper()
        if command == "Z" and token.isalpha():
            steps.append(("Z", ()))
        elif command and _POINTS[command] and len(numbers) == 2 * _POINTS[command]:
            steps.append((command, tuple(zip(numbers[::2], numbers[1::2]))))
            numbers = []
            command = "L" if command == "M" else command
    return None if numbers else tuple(steps)


def points(steps: tuple[Step, ...]) -> list[Point]:
    """All points of the path, those that steer curves too: their hull holds the path."""
    return [point for _, found in steps for point in found]


def simplified(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The path without points of straight stretches that nobody could see."""
    kept: list[Step] = []
    line: list[Point] = []

    def end_line():
        kept.extend(("L", (point,)) for point in _thinned(line)[1:])
        line.clear()

    for command, found in steps:
        if command == "L" and (line or kept):
            line.extend(found)
            continue
        end_line()
        kept.append((command, found))
        line.extend(found[-1:])
    end_line()
    return tuple(kept)


def _thinned(line: list[Point]) -> list[Point]:
    """Douglas and Peucker's reduction of a polyline, without recursion."""
    if len(line) < 3:
        return list(line)
    keep, stack = {0, len(line) - 1}, [(0, len(line) - 1)]
    while stack:
        low, high = stack.pop()
        far, where = max(((_off(line[i], line[low], line[high]), i)
                          for i in range(low + 1, high)), default=(0.0, low))
        if far > TOLERANCE:
            keep.add(where)
            stack += [(low, where), (where, high)]
    return [line[i] for i in sorted(keep)]


def _off(point: Point, start: Point, end: Point) -> float:
    """Distance of a point from a segment."""
    (x, y), (a, b), (c, d) = point, start, end
    length = (c - a) ** 2 + (d - b) ** 2
    along = 0.0 if not length else max(0, min(1, ((x - a) * (c - a) + (y - b) * (d - b)) / length))
    return ((x - a - along * (c - a)) ** 2 + (y - b - along * (d - b)) ** 2) ** 0.5


def encode(steps: tuple[Step, ...]) -> str:
    """The path in relative steps, exact to 0.1 (outlines of markers: 0.01): no drift."""
    extent = max((abs(value) for point in points(steps) for value in point), default=0)
    scale = 10 if extent > SMALL else 100
    at = start = (0, 0)
    texts, last = [], ""
    for command, found in steps:
        if command == "Z":
            texts, last, at = [*texts, "z"], "z", start
            continue
        ends = [(round(x * scale), round(y * scale)) for x, y in found]
        letter, numbers = _relative(command, ends, at)
        # Numbers behind those of a move are lines: a second move needs its letter.
        same = letter == {"m": "l"}.get(last, last)
        texts.append(_numbers(numbers, scale, "" if same else letter))
        last, at = letter, ends[-1]
        start = at if command == "M" else start
    return "".join(texts)


def _relative(command, ends, at):
    """The letter and the numbers of a step from `at`: upright and level lines have their own."""
    steps = [(x - at[0], y - at[1]) for x, y in ends]
    if command == "L" and steps[0][1] == 0:
        return "h", [steps[0][0]]
    if command == "L" and steps[0][0] == 0:
        return "v", [steps[0][1]]
    return command.lower(), [value for step in steps for value in step]


def _numbers(values, scale, letter):
    """Numbers behind their letter; a minus or, after a decimal, a point separates as well."""
    text = letter
    for value in values:
        number = f"{value / scale:.{1 if scale == 10 else 2}f}"
        number = number.rstrip("0").rstrip(".").replace("-0.", "-.")
        number = number[1:] if number.startswith("0.") else number or "0"
        number = "0" if number in ("-0", "-", "") else number
        text += number if (text and text == letter and letter) or number[0] == "-" \
            else " " + number
    return text
