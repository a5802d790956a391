"""Drawings in few bytes: the same to the eye."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lib.figures import display
from lib.page.limits import largest_parts, too_large
from lib.page.outputs import inline_svg
from lib.page.packed import packed, smaller, unpacked
from lib.page.pathdata import encode, parse, points, simplified
from lib.page.styles import share_markers, share_styles, share_symbols, without_quotes

places = st.tuples(st.floats(-500, 500), st.floats(-500, 500))
TOKEN = re.compile(r"[a-z]|-?(?:\d+\.?\d*|\.\d+)")


def absolute(commands):
    """A slow reader of relative paths: the points one after the other."""
    at, start, found, letter, numbers = (0, 0), (0, 0), [], "", []
    need = {"m": 2, "l": 2, "h": 1, "v": 1, "q": 4, "c": 6}
    for token in TOKEN.findall(commands):
        if token.isalpha():
            letter = token
            if letter == "z":
                at = start
            continue
        numbers.append(float(token))
        if len(numbers) < need[letter]:
            continue
        pairs = {"h": [(numbers[0], 0)], "v": [(0, numbers[0])]}.get(
            letter, list(zip(numbers[::2], numbers[1::2])))
        ends = [(at[0] + x, at[1] + y) for x, y in pairs]
        found, at, numbers = [*found, *ends], ends[-1], []
        if letter == "m":
            start, letter = at, "l"
    return found


@given(st.lists(st.tuples(st.sampled_from("MLQCZ"), places, places, places), max_size=30))
@settings(max_examples=60, deadline=None)
def test_relative_steps_do_not_drift(drawn):
    count = {"M": 1, "L": 1, "Q": 2, "C": 3, "Z": 0}
    steps = (("M", ((20.0, 20.0),)),
             *((command, ends[:count[command]]) for command, *ends in drawn))
    steps = tuple((command, tuple(ends)) for command, ends in steps)
    read = absolute(encode(steps))
    assert len(read) == len(points(steps))
    assert np.allclose(read, points(steps), atol=0.051)


def test_paths_are_read_as_matplotlib_writes_them():
    steps = parse("M0 2.75C0.73 2.75 1.43 2.46 1.94 1.94L1 -2e-1z")
    assert steps == (("M", ((0, 2.75),)), ("C", ((.73, 2.75), (1.43, 2.46), (1.94, 1.94))),
                     ("L", ((1, -.2),)), ("Z", ()))
    assert parse("M1 2A3 4 0 0 0 1 1") is None and parse("m1 2") is None
    assert parse("M1 2 3 4") == (("M", ((1, 2),)), ("L", ((3, 4),)))


@given(st.lists(st.floats(0, 300), min_size=3, max_size=60))
@settings(max_examples=60, deadline=None)
def test_what_is_left_out_of_a_line_is_out_of_sight(heights):
    line = [(5.0 * x, y) for x, y in enumerate(heights)]
    steps = (("M", (line[0],)), *(("L", (point,)) for point in line[1:]))
    kept = points(simplified(steps))
    assert set(kept) <= set(line) and kept[0] == line[0] and kept[-1] == line[-1]
    x, y = zip(*kept)
    gaps = np.abs(np.interp([point[0] for point in line], x, y) - heights)
    slope = np.abs(np.diff(y) / np.diff(x)).max()  # upright gaps of steep lines are longer
    assert gaps.max() <= 0.07 * np.hypot(1, slope) + 1e-9


def figure():
    drawn = Figure(figsize=(3, 2))
    axes = drawn.add_subplot()
    axes.errorbar([1, 2, 3, 4], [1, 3, 2, 4], yerr=0.5, marker="s", capsize=3)
    axes.bar([1, 2, 3, 4], 1, alpha=0.4)
    axes.plot(np.linspace(0, 5, 200), np.linspace(0, 5, 200))
    axes.grid(True)
    return display.svg(drawn, alt="a")


def test_markers_ticks_and_lines_of_a_style_are_one_element():
    before = figure()
    after = inline_svg(before, label="a", prefix="f")
    ElementTree.fromstring(after)
    assert after.count("<use") < 3 < before.count("<use")
    assert after.count("<text") == before.count("<text")
    assert len(after) < len(before)


def rendered(svg, folder):
    """The drawing's pixels, where a browser is there."""
    from shutil import which
    from subprocess import run

    import matplotlib.image

    if which("chromium") is None:
        pytest.skip("no chromium to draw with")
    page, picture = Path(folder, "page.html"), Path(folder, "page.png")
    page.write_text(f"<!DOCTYPE html><body style='margin:0'>{svg}", "utf-8")
    run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={picture}",
         "--window-size=500,400", page.as_uri()], check=True, capture_output=True, timeout=60)
    return matplotlib.image.imread(picture)[..., :3]


def test_the_same_drawing_to_the_eye(tmp_path):
    before = figure()
    parts, rules = share_styles([inline_svg(before, label="a", prefix="f")])
    parts, symbols = share_symbols(parts)
    parts, markers = share_markers(parts)
    style = ("svg { stroke-linejoin: round; font-family: DejaVu Sans }"
             " .symbols { position: absolute }")
    after = f"<style>{style}{rules}{markers}</style>{symbols}{without_quotes(parts[0])}"
    one, other = rendered(f"<style>{style}</style>{before}", tmp_path), rendered(after, tmp_path)
    assert one.std() > 0.05  # something is drawn
    # Marks at the edge of the axes show whole now: a few pixels differ, not a line.
    assert (np.abs(one - other).max(axis=-1) > 0.5).mean() < 2e-3


def test_data_are_turned_and_come_back():
    text = 'name,share,step\n"a, ""b""",0.123456,123456\n,1234.56,7\n'
    assert unpacked(packed(text)) == 'name,share,step\n"a, ""b""",0.1235,123456\n,1235,7\n'


def test_a_broken_picture_stays_as_it_is():
    assert smaller("data:image/png;base64,AAAA") == "data:image/png;base64,AAAA"


def test_a_large_notebook_names_its_largest_parts():
    parts = "".join(f'<figure id="f{i}">{"x" * 20_000 * i}</figure>' for i in range(1, 5))
    found = too_large("", {"11_dpsgd": parts, "12_pate": "y"})
    assert len(found) == 1 and "11_dpsgd" in found[0]
    assert "f4 (80 kB), f3 (60 kB), f2 (40 kB)" in found[0] and largest_parts("") == "its text"
