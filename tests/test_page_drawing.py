"""Drawings in few bytes: the same to the eye."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from lib.figures import display
from lib.page.limits import largest_parts, too_large
from lib.page.outputs import inline_svg
from lib.page.packed import packed, smaller, unpacked
from lib.page.styles import share_styles, share_symbols, without_quotes


def figure():
    drawn = Figure(figsize=(3, 2))
    axes = drawn.add_subplot()
    axes.errorbar([1, 2, 3, 4], [1, 3, 2, 4], yerr=0.5, marker="s", capsize=3)
    axes.bar([1, 2, 3, 4], 1, alpha=0.4)
    axes.plot(np.linspace(0, 5, 200), np.linspace(0, 5, 200))
    axes.grid(True)
    return display.svg(drawn, alt="a")


def test_nothing_that_is_drawn_is_left_out():
    before = figure()
    after = inline_svg(before, label="a", prefix="f")
    ElementTree.fromstring(after)
    assert all(after.count(f"<{tag}") == before.count(f"<{tag}")
               for tag in ("use", "text", "path"))
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
    style = ("svg { stroke-linejoin: round; font-family: DejaVu Sans }"
             " .symbols { position: absolute }")
    after = f"<style>{style}{rules}</style>{symbols}{without_quotes(parts[0])}"
    one, other = rendered(f"<style>{style}</style>{before}", tmp_path), rendered(after, tmp_path)
    assert one.std() > 0.05  # something is drawn
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
