"""Small SVG: the same drawing in fewer bytes."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from lib.figures.compact import compact_svg
from lib.figures.svg_paths import short_path, subpaths

SVG = "{http://www.w3.org/2000/svg}"


def walked(commands):
    """A slow reader of relative paths: the points of each part, in hundredths."""
    parts, at, start = [], (0, 0), (0, 0)
    for letter, text in re.findall(r"([MmlhvzZ])([^A-Za-z]*)", commands):
        numbers = [round(100 * float(number)) for number in re.findall(r"-?\d*\.?\d+", text)]
        if letter in "zZ":
            at = start
        elif letter in "Mm":
            at = start = tuple(numbers) if letter == "M" else (at[0] + numbers[0],
                                                               at[1] + numbers[1])
            parts.append([at])
        else:
            steps = {"h": [(n, 0) for n in numbers], "v": [(0, n) for n in numbers],
                     "l": list(zip(numbers[::2], numbers[1::2]))}[letter]
            for x, y in steps:
                at = at[0] + x, at[1] + y
                parts[-1].append(at)
    return parts


def seen(points):
    """Points without repetitions and those in the middle of a horizontal or vertical stroke."""
    kept = [p for i, p in enumerate(points) if i in (0, len(points) - 1) or p != points[i - 1]]
    return [p for i, p in enumerate(kept) if i in (0, len(kept) - 1) or not any(
        kept[i - 1][j] == p[j] == kept[i + 1][j]
        and (p[1 - j] - kept[i - 1][1 - j]) * (kept[i + 1][1 - j] - p[1 - j]) > 0 for j in (0, 1))]


@pytest.mark.parametrize("seed", range(20))
def test_short_paths_lead_to_the_same_points(seed):
    random = np.random.RandomState(seed)
    parts = [random.randint(-30, 30, (random.randint(2, 9), 2)) * random.choice([0.1, 1, 2.5])
             for _ in range(3)]
    for part in parts:  # steps, as of curves of shares
        part[1::2, 1] = part[:-1:2, 1][:len(part[1::2])]
    closed = random.randint(0, 2, len(parts))
    text = " ".join("M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in part) + "z" * end
                    for part, end in zip(parts, closed, strict=True))
    wanted = [points for points, _ in subpaths(text)]
    short = short_path(text)
    for found, points in zip(walked(short), wanted, strict=True):
        assert seen(found) == seen(points) or {*found} == {*points}
    assert short.count("z") == closed.sum() and len(short) < len(text)


@pytest.mark.parametrize("text, short", [
    ("M61.4 101.4 L61.4 101.4", "M61.4 101.4h0"),  # a dot stays
    ("M0 0 L10 0 L20 0 L20 5", "M0 0h20v5"),
    ("M0 0 L10 0 L5 0", "M0 0h10-5"),  # there and back
    ("M1 1 L1.5 0.5 L2 3 M4 4 L5 5", "M1 1l.5-.5 .5 2.5m2 1l1 1"),
    ("M 0 2.5 C 0.66 2.5 1.3 2.2 1.8 1.8 z", "M0 2.5C0.66 2.5 1.3 2.2 1.8 1.8z"),
])
def test_paths_by_hand(text, short):
    assert short_path(text) == short


LINE = 'style="fill: none; stroke: #e4e7eb"'


def drawing(body):
    return ElementTree.fromstring(compact_svg(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        '<defs><clipPath id="p"><rect x="0" y="0" width="100" height="50"/></clipPath></defs>'
        f"{body}</svg>"))


def test_lines_of_one_look_become_one_path_but_not_across_what_they_could_hide():
    one = drawing(f'<path d="M0 0 L9 0" {LINE}/><text x="1">a</text><path d="M0 5 L9 5" {LINE}/>')
    assert [path.get("d") for path in one.iter(f"{SVG}path")] == ["M0 0h9m-9 5h9"]
    two = drawing(f'<path d="M0 0 L9 0" {LINE}/><path d="M0 0 L9 9 z" style="fill: #fff"/>'
                  f'<path d="M0 5 L9 5" {LINE}/>')
    assert len(list(two.iter(f"{SVG}path"))) == 3
    faint = 'style="fill: none; stroke: #0072b2; stroke-opacity: 0.4"'  # would not add up
    three = drawing(f'<path d="M0 0 L9 9" {faint}/><path d="M0 9 L9 0" {faint}/>')
    assert len(list(three.iter(f"{SVG}path"))) == 2


def test_only_what_leaves_its_panel_is_clipped():
    clip = 'clip-path="url(#p)"'
    inside = drawing(f'<path {clip} d="M10 10 L90 40" {LINE}/>')
    assert not inside.findall(f".//{SVG}clipPath") and "clip" not in "".join(
        inside.find(f"{SVG}path").attrib)
    wide = 'style="fill: none; stroke: #000; stroke-width: 3; stroke-linecap: square"'
    for out in (f'd="M10 10 L190 40" {LINE}', f'd="M0 10 L100 10" {wide}'):
        assert drawing(f"<path {clip} {out}/>").find(f"{SVG}path").get("clip-path") == "url(#p)"


def test_neighbours_share_a_style_unless_it_is_the_opacity_of_each():
    found = drawing('<text style="font-size: 9px">a</text><text style="font-size: 9px">b</text>')
    group = found.find(f"{SVG}g")
    assert group.get("style") == "font-size:9px" and not group[0].attrib and len(group) == 2
    each = drawing('<path d="M0 0 L9 9 z" style="opacity: 0.4"/>'
                   '<path d="M9 0 L0 9 z" style="opacity: 0.4"/>')
    assert each.find(f"{SVG}g") is None
