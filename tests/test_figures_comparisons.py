"""A few comparisons as a forest: what is drawn, what is printed, which side is which."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from test_figures import texts

from lib import figures
from lib.figures import display
from lib.figures.comparisons import _wrapped, signed, times
from lib.figures.style import BETTER, INK, WORSE
from lib.metrics import mean_interval

ROWS = {"noise 1 minus plain SGD": -0.22, "clipping alone minus plain SGD": 0.01}
SIDES = ("less of the backdoor is left", "more is left")


def pairs(rows=ROWS):
    random = np.random.RandomState(0)
    return pd.DataFrame([{"comparison": name, "difference": mean + random.randn() / 20}
                         for name, mean in rows.items() for _ in range(10)])


def test_each_row_holds_its_pairs_and_their_t_interval():
    frame = pairs()
    figure = figures.contrasts(frame, by="comparison", sides=SIDES)
    lines, axes = figure.axes[0].get_lines(), figure.axes[0]
    for place, name in enumerate(ROWS):
        values = 100 * frame.difference[frame.comparison == name]
        found = mean_interval(values, bounds=(-200, 200))
        dots, = (line for line in lines if np.allclose(line.get_ydata(), place + 0.24))
        assert dots.get_xdata() == pytest.approx(values)
        drawn = [line.get_xdata() for line in lines if np.allclose(line.get_ydata(), place - 0.06)]
        assert drawn[0] == pytest.approx([found.low, found.high])
        assert drawn[1] == pytest.approx(found.mean)
        written = {text.get_text() for text in axes.texts}
        assert {signed(found.mean, 1),
                f"[{signed(found.low, 1)}, {signed(found.high, 1)}]"} <= written


@pytest.mark.parametrize("better, shaded", [("lower", 1), ("higher", -1)])
def test_both_sides_are_named_and_the_worse_one_is_shaded(better, shaded):
    axes = figures.contrasts(pairs(), by="comparison", better=better, sides=SIDES).axes[0]
    named = {text.get_text(): text.get_color() for text in axes.texts}
    left, right = (BETTER, WORSE) if better == "lower" else (WORSE, BETTER)
    assert named["← " + SIDES[0]] == left and named[SIDES[1] + " →"] == right
    patch, = axes.patches
    ends = patch.get_x(), patch.get_x() + patch.get_width()
    assert to_hex(patch.get_facecolor()) == WORSE
    assert min(ends, key=abs) == pytest.approx(0) and np.sign(sum(ends)) == shaded
    zero, = (line for line in axes.get_lines() if set(line.get_xdata()) == {0})
    assert zero.get_color() == INK
    assert zero.get_linewidth() == max(line.get_linewidth() for line in axes.get_lines())


def test_shares_have_no_sign_and_their_range_and_the_line_stands_where_it_is_asked_for():
    frame = pairs({"attacked": 0.9}).rename(columns={"difference": "success"})
    frame["success"] = frame["success"].clip(0, 1)
    axes = figures.contrasts(frame, by="comparison", value="success", unit="%", at=1.0).axes[0]
    found = mean_interval(100 * frame["success"], bounds=(0, 100))
    written = {text.get_text() for text in axes.texts}
    assert {f"{found.mean:.1f}", f"[{found.low:.1f}, {found.high:.1f}]"} <= written
    assert any(set(line.get_xdata()) == {1.0} for line in axes.get_lines())
    patch, = axes.patches
    assert patch.get_x() == pytest.approx(1.0) and axes.get_xlim()[0] < 1.0
    assert axes.get_xlabel().endswith("[%]")


def test_logarithms_of_ratios_are_written_as_ratios():
    frame = pd.DataFrame({"comparison": "more", "difference": [0.0, 0.30103, 0.60206]})
    figure = figures.contrasts(frame, by="comparison", unit="times", xlabel="poisons needed")
    axes = figure.axes[0]
    assert "×2" in texts(figure) and axes.get_xlabel() == "poisons needed"
    low, high = axes.get_xlim()
    assert {"×1", "×2", "×5"} <= {label.get_text() for label in axes.get_xticklabels()}
    assert low < 0 and high > 0.6
    assert [times(value) for value in (-1, 0.079, 2.05)] == ["×0.1", "×1.2", "×112"]


def test_the_axis_ends_where_the_data_end_and_zero_is_inside():
    for shift in (-0.6, 0.6):
        frame = pairs().assign(difference=lambda f, by=shift: f.difference + by)
        low, high = figures.contrasts(frame, by="comparison").axes[0].get_xlim()
        values = [*(100 * frame.difference), 0]
        span = max(values) - min(values)
        assert low < min(values) and high > max(values)
        assert low > min(values) - 0.2 * span and high < max(values) + 0.2 * span


def test_what_was_not_measured_is_said():
    frame = pairs()
    frame.loc[frame.comparison == next(iter(ROWS)), "difference"] = np.nan
    assert "not measured" in texts(figures.contrasts(frame, by="comparison"))
    assert "not measured" in texts(figures.contrasts(frame.iloc[:0], by="comparison"))
    one = figures.contrasts(frame.iloc[-1:], by="comparison")
    assert "n = 1" in texts(one)


def test_nothing_is_smaller_than_nine_and_a_half_points_or_out_of_the_picture():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figures.contrasts(pairs(), by="comparison", sides=SIDES,
                               xlabel="lift, difference from plain SGD stopped as accurate")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes, width = figure.axes[0], figure.bbox.width
    found = [*axes.texts, *axes.get_yticklabels(), *axes.get_xticklabels(), axes.xaxis.label]
    assert min(text.get_fontsize() for text in found) >= 9.5
    for text in found:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0, text.get_text()


def test_the_same_bytes_each_time_and_few():
    first, second = (display.svg(figures.contrasts(pairs(), by="comparison"), alt="x")
                     for _ in range(2))
    assert first == second and len(first) < 10_000


def test_labels_stand_in_lines_of_even_length():
    assert _wrapped("plain SGD") == ["plain SGD"]
    assert _wrapped("noise 1 minus plain SGD at the same accuracy") == [
        "noise 1 minus plain SGD", "at the same accuracy"]
    assert _wrapped("as\ngiven") == ["as", "given"]


@pytest.mark.parametrize("value, text", [(-22.34, "−22.3"), (0.04, "0.0"), (-0.04, "0.0"),
                                         (3, "+3.0")])
def test_differences_carry_their_sign(value, text):
    assert signed(value, 1) == text


def test_an_unknown_direction_is_named():
    with pytest.raises(ValueError, match="'less': expected 'lower' or 'higher'"):
        figures.contrasts(pairs(), by="comparison", better="less")
