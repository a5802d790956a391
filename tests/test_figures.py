"""Figures and tables: deterministic, labelled, honest about what is missing."""

import re
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from lib import figures
from lib.figures import axes as plot_axes
from lib.figures import display
from lib.figures.style import REFERENCES, in_turn
from lib.paths import ROOT

NOISE = "defence.noise_multiplier"
PAIRS = [(0, 8), (1, 9), (2, 4), (3, 5)]


def runs(series=("DP-SGD", "plain SGD"), levels=(0, 0.5, 2, 8)):
    """Made-up rows, to see that they are drawn; one for each series, level and pair."""
    random = np.random.RandomState(0)
    return pd.DataFrame([
        {"series": name, NOISE: z, "attack.base": base, "attack.target": target, "attack_seed": 0,
         "accuracy": 0.9 - 0.03 * z + random.rand() / 50, "success": random.rand(), "floor": 0.02,
         "lift": random.rand() - 0.1, "trigger_auc": 0.5 + random.rand() / 2, "target_recall": 0.8,
         "step": 10 * z,
         "natural": 0.01, "collateral": -0.05, "blind": 0.03, "difference": random.randn() / 10,
         "epsilon": np.inf if z == 0 else 8 / z, "delta": 1e-5, "collapsed": z == 8}
        for name in series for z in levels for base, target in PAIRS
    ])


def losses(methods=("LP-2ST", "DP-SGD"), epsilons=(np.inf, 1.0), pairs=PAIRS):
    """Made-up curves: one row a method, epsilon, pair and epoch."""
    return pd.DataFrame([{
        "series": name, "epsilon": epsilon, "attack.base": base, "attack.target": target,
        "attack_seed": 0, "epoch": epoch,
        "loss_poison": (3.0 if name == "DP-SGD" else 2.0) / epoch + base / 10,
        "loss_base": 1.0 / epoch, "loss_clean": 0.5 / epoch
    }
                         for name in methods
                         for epsilon in epsilons
                         for base, target in pairs
                         for epoch in (0.1, 1.0, 10.0, 50.0)])


FIGURES = {
    "sweep": lambda frame: figures.sweep(frame, x=NOISE, y="accuracy", series="series", xscale=
                                         "log", second_axis="epsilon"), "panels": lambda frame:
    figures.panels([{"frame": frame, "x": NOISE, "y": y, "series": "series"}
                    for y in ("accuracy", "success", "trigger_auc")]),
    "parts": lambda frame: figures.parts_bars(frame, label="series"), "matched": lambda frame:
    figures.matched(frame[frame.series == "DP-SGD"], frame[frame.series == "plain SGD"]),
    "paired": lambda frame: figures.paired_differences(frame[frame.series == "DP-SGD"]),
    "methods": lambda frame: figures.matched(frame, frame[frame.series == "plain SGD"]),
    "grouped": lambda frame: figures.paired_differences(frame, series="series"),
    "tradeoff": lambda frame: figures.tradeoff(frame, y=("success", "lift"), corner=(0.8, 0.1)),
    "losses": lambda frame: figures.losses(losses().assign(
        **
        {column: losses()[column] if frame.accuracy.notna().any() else np.nan
         for column in LOSSES})),
    "singular": lambda frame: figures.singular_point(frame.assign(r=frame[NOISE] / 4), x="r"),
}
MEASURES = ["accuracy", "success", "floor", "lift", "trigger_auc", "natural", "collateral", "blind",
            "difference"]
LOSSES = ["loss_poison", "loss_base", "loss_clean"]


def texts(figure):
    root = ElementTree.fromstring(display.svg(figure, alt="x"))
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def shown(monkeypatch):
    """Collects what a notebook would get."""
    found = []
    monkeypatch.setattr(display, "_interactive", lambda: True)
    monkeypatch.setattr(display, "_display", lambda bundle, metadata: found.append(
        (bundle, metadata)))
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_same_bytes_each_time(name):
    first, second = (display.svg(FIGURES[name](runs()), alt="x") for _ in range(2))
    assert first == second
    assert "matplotlib.org" not in first and "dc:date" not in first
    assert len(first) < 60_000


@pytest.mark.parametrize("name", FIGURES)
def test_missing_rows_are_drawn_as_missing(name):
    frame = runs()
    some = frame.copy()
    some.loc[some[NOISE] == 2, MEASURES] = np.nan
    assert "<path" in display.svg(FIGURES[name](some), alt="x")
    nothing = FIGURES[name](frame.assign(**dict.fromkeys(MEASURES, np.nan), collapsed=np.nan))
    assert any("not measured" in text for text in texts(nothing) if text)


def test_a_series_without_rows_is_named():
    frame = runs()
    frame.loc[frame.series == "plain SGD", "accuracy"] = np.nan
    figure = figures.sweep(frame, x=NOISE, y="accuracy", series="series")
    assert "not measured: plain SGD" in texts(figure)


def test_few_instances_are_drawn_as_faint_lines_and_many_as_an_interval():
    frame = runs(series=("DP-SGD",), levels=range(1, 8))
    axes = figures.sweep(frame, x=NOISE, y="success", series="series").axes[0]
    faint, = [line for line in axes.get_lines() if line.get_linewidth() == 1]
    assert np.isfinite(faint.get_ydata()).sum() == len(frame) and not axes.containers
    many = pd.concat([frame.assign(attack_seed=seed) for seed in range(10)])
    axes = figures.sweep(many, x=NOISE, y="success", series="series").axes[0]
    assert len(axes.containers) == 1
    assert not [line for line in axes.get_lines() if line.get_linewidth() == 1]
    asked = figures.sweep(frame, x=NOISE, y="success", spread="interval").axes[0]
    assert len(asked.containers) == 1
    with pytest.raises(ValueError, match="'band': expected one of"):
        figures.sweep(frame, x=NOISE, y="success", spread="band")


def test_axes_end_where_the_data_end_and_panels_of_a_measure_share_them():
    frame = runs().assign(accuracy=lambda f: 0.58 + f.accuracy / 10)
    figure = figures.panels([{"frame": some, "x": NOISE, "y": "accuracy", "series": "series"}
                             for some in (frame, frame[frame[NOISE] < 3])])
    left, right = (axes.get_ylim() for axes in figure.axes)
    values = 100 * frame.accuracy
    assert left == right and left[0] < values.min() and left[1] > values.max()
    assert left[1] - left[0] < max(1.3 * (values.max() - values.min()), 6)
    assert figure.axes[0].get_ylabel() == "clean accuracy (higher is better)\n[% of test images]"
    assert figure.axes[1].get_ylabel() == ""


def test_the_reference_is_drawn_last_thickest_and_named_first():
    frame = runs(series=("plain SGD", "DP-SGD", "PATE", "ALIBI"))
    figure = figures.sweep(frame, x=NOISE, y="success", series="series")
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    first = lines.pop("plain SGD")
    assert first.get_linewidth() == 3 > lines["DP-SGD"].get_linewidth()
    assert first.get_zorder() > max(line.get_zorder() for line in lines.values()
                                    if not line.get_label().startswith("_"))
    assert first.get_color() == "#1b1f24"
    path = runs(series=("clip only", "plain SGD")).assign(step=lambda f: 8 - f[NOISE])
    figure = figures.matched(runs(series=("DP-SGD",)), path[::-1], measures=("lift",))
    assert figure.legends[0].get_texts()[0].get_text() == "plain SGD"
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert lines["plain SGD"].get_zorder() > lines["clip only"].get_zorder()


def test_few_lines_are_named_where_they_end():
    frame = runs().assign(success=lambda f: np.where(f.series == "DP-SGD", 0.2, 0.8))
    figure = figures.sweep(frame, x=NOISE, y="success", series="series")
    assert not figure.legends and {"DP-SGD", "plain SGD"} <= set(texts(figure))
    close = figures.sweep(frame.assign(success=0.5), x=NOISE, y="success", series="series")
    assert len(close.legends) == 1


def test_between_pair_intervals_are_drawn_only_where_asked_for():
    frame = runs(series=("PATE", "ALIBI"), levels=(1, 2))
    path = runs(series=("plain SGD",)).assign(step=lambda f: 8 - f[NOISE])
    for draw in (lambda **more: figures.tradeoff(frame, **more),
                 lambda **more: figures.matched(frame, path, measures=("lift",), **more)):
        assert not draw().axes[0].containers and not draw().axes[0].collections
        assert draw(intervals=True).axes[0].containers


def test_a_forest_names_both_sides_of_zero():
    frame = runs(series=("LP-2ST", "DP-SGD"), levels=(2, 8))
    found = texts(figures.paired_differences(frame, series="series"))
    assert {"← better", "worse →"} <= set(found)
    axes = figures.paired_differences(frame, series="series", better="higher",
                                      sides=("less", "more")).axes[0]
    shaded, = axes.patches
    assert shaded.get_x() + shaded.get_width() == pytest.approx(0)
    assert {"← less", "more →"} <= {text.get_text() for text in axes.texts}
    with pytest.raises(ValueError, match="'up': expected"):
        figures.paired_differences(frame, better="up")


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_too_small_and_no_figure_too_wide(name):
    drawn = display.svg(FIGURES[name](runs()), alt="x")
    assert min(map(float, re.findall(r"font-size: ?([\d.]+)", drawn))) >= 8.5
    assert float(re.search(r'width="([\d.]+)pt"', drawn)[1]) / 72 * 96 <= 720


def test_zero_and_infinity_have_places_of_their_own():
    scale = plot_axes.make_scale([0, 0.5, 1, np.inf, np.nan], "log")
    assert scale(0) < scale.cut < scale(0.5) < scale(1) < scale(np.inf)
    assert scale(1) - scale(0.5) == pytest.approx(np.log10(2))
    with pytest.raises(ValueError, match="-1.0"):
        plot_axes.make_scale([-1, 1], "log")
    with pytest.raises(ValueError, match="cubic"):
        plot_axes.make_scale([1], "cubic")


def test_infinity_has_room_among_many_values():
    scale = plot_axes.make_scale([*np.geomspace(0.1, 100, 40), np.inf], "log")
    assert scale(np.inf) - scale(100) == pytest.approx(0.1 * (scale(100) - scale(0.1)))
    assert scale(100) < scale.far < scale(np.inf) and scale.cut is None
    assert plot_axes.make_scale([1, 2], "log").far is None


def test_an_empty_setting_can_stand_for_infinity():
    frame = runs(series=("DP-SGD",), levels=(1, 2)).assign(asked=[None] * 4 + [2.0] * 4)
    figure = figures.sweep(frame, x="asked", y="accuracy", xscale="log", missing=np.inf)
    assert "∞" in texts(figure)
    means = [
        line for line in figure.axes[0].get_lines()
        if line.get_marker() == "o" and line.get_linestyle() != "None"
    ]
    assert means[0].get_ydata() == pytest.approx(  # ∞ is the last place, so z = 1 comes after z = 2
        [100 * frame.accuracy[4:].mean(), 100 * frame.accuracy[:4].mean()])
    assert "∞" not in texts(figures.sweep(frame, x="asked", y="accuracy", xscale="log"))


def test_ticks_do_not_touch_and_keep_the_ends():
    values = [2, 40, 150, 410, 850, 1450, 2900, 4700, 10000]
    items = [(plot_axes.number(value), float(value)) for value in values]
    kept = plot_axes.thin(items, 9998, letter=0.013)
    assert kept[0] == ("2", 2.0) and kept[-1] == ("10,000", 10000.0) and kept == sorted(
        kept, key=lambda item: item[1])
    gaps = [(b[1] - a[1]) / 9998 - 0.013 * len(a[0] + b[0]) for a, b in pairwise(kept)]
    assert min(gaps) >= 0.02 and len(kept) < len(values)


@pytest.mark.parametrize("value, text", [(np.inf, "∞"), (0.4996, "0.5"), (-2.5, "−2.5"),
                                         (1450, "1,450"), (10000.0, "10,000"), (2e6, "2e+06")])
def test_numbers_at_ticks(value, text):
    assert plot_axes.number(value) == text


@pytest.mark.parametrize("series, instances, single", [(3, 5, True), (3, 6, False), (4, 5, False)])
def test_single_instances_are_drawn_where_they_are_few(series, instances, single):
    frame = runs(series=("DP-SGD", "PATE", "ALIBI", "LP-2ST")[:series], levels=(1, 2))
    frame = pd.concat(
        [frame[frame["attack.base"] == 0].assign(attack_seed=seed) for seed in range(instances)])
    lines = figures.sweep(frame, x=NOISE, y="success", series="series").axes[0].get_lines()
    assert any(line.get_linewidth() == 1 for line in lines) == single


def test_epsilon_stands_above_its_noise():
    figure = figures.sweep(runs(), x=NOISE, y="accuracy", series="series", second_axis="epsilon")
    found = texts(figure)
    assert "ε at δ = 1e-5 (∞: no guarantee)" in found and "∞" in found and "4" in found


def test_mean_and_interval_are_over_instances():
    frame = runs(series=("DP-SGD",), levels=(2,))
    twice = pd.concat([frame, frame.assign(init_seed=1, accuracy=frame.accuracy + 0.02)])
    line = figures.sweep(twice, x=NOISE, y="accuracy").axes[0].get_lines()
    means = [
        item.get_ydata() for item in line if item.get_marker() == "o" and len(item.get_xdata()) == 1
    ]
    assert means[0][0] == pytest.approx(100 * (frame.accuracy.mean() + 0.01))
    dots = next(
        item for item in line if item.get_linewidth() == 3.2 or item.get_markersize() == 3.5)
    assert np.isfinite(np.unique(dots.get_ydata())).sum() == len(PAIRS)  # seeds were averaged


def test_intervals_stop_where_the_measure_does():
    from lib.figures.means import interval

    found = interval([99.0, 90.0, 99.9], within=(0, 100))
    assert found.high == 100 and 0 < found.low < found.mean
    edge = interval([100 + 1e-9, 100 + 1e-9], within=(0, 100))
    assert edge.low <= edge.mean <= edge.high  # rounding may not turn an error bar round


def test_path_is_read_at_first_passage():
    from lib.figures.headline import _first_passage

    path = pd.DataFrame({"step": [3, 1, 2, 4], "accuracy": [0.4, 0.1, 0.5, 0.6],
                         "lift": [9, 0.0, 0.2, 0.3]})
    accuracy, lift = _first_passage(path, "accuracy", "lift", "step")
    assert accuracy.tolist() == [0.1, 0.5, 0.6] and lift.tolist() == [0.0, 0.2, 0.3]


def points(axes, look):
    """The (x, y) of the single points drawn in the style of a method."""
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.get_lines()
            if line.get_marker() == look.marker and line.get_color() == look.color
            and len(line.get_xdata()) == 1]


def test_every_method_has_its_points_and_levels():
    frame = runs(series=("DP-SGD", "LP-2ST"), levels=(0, 2, 4))
    path = runs(series=("plain SGD",)).assign(step=lambda f: 8 - f[NOISE])
    figure = figures.matched(frame, path, measures=("lift",))
    for name in ("DP-SGD", "LP-2ST"):
        means = 100 * frame[frame.series == name].groupby("epsilon")[["accuracy", "lift"]].mean()
        assert np.array(points(figure.axes[0],
                               figures.SERIES[name])) == pytest.approx(means.to_numpy())
    found = texts(figure)
    assert found.count("no guarantee") == 2 and found.count("ε 4") == 2 and {
        "DP-SGD", "LP-2ST", "plain SGD"
    } <= set(found)
    left, least = figure.axes[0].get_xlim()[0], 100 * frame.groupby(["series", "epsilon"
                                                                     ]).accuracy.mean().min()
    assert 70 < left < least  # the path starts at 66%


def test_an_empty_level_can_be_no_guarantee():
    frame, asked = runs(series=("PATE", "ALIBI"), levels=(0, 2)), "defence.epsilon"
    frame[asked] = frame.epsilon.where(np.isfinite(frame.epsilon))
    for missing, count in ((np.inf, 2), (None, 0)):
        forest = figures.paired_differences(frame, by=asked, series="series", missing=missing)
        assert sum("no guarantee" in label.get_text()
                   for label in forest.axes[0].get_yticklabels()) == count
        matched = figures.matched(frame, runs(series=("plain SGD", )), by=asked,
                                  measures=("lift", ), missing=missing)
        assert texts(matched).count("no guarantee") == count


def test_levels_may_be_texts():
    frame = runs(
        series=("PATE", "ALIBI"),
        levels=(1, 2)).assign(level=lambda f: f[NOISE].map({1: "640 queries", 2: "all queries"}))
    found = texts(figures.matched(frame, runs(series=("plain SGD",)), by="level"))
    assert found.count("640 queries") == 4  # two methods in two panels
    found = texts(figures.paired_differences(frame, by="level", series="series"))
    assert found.index("640 queries") < found.index("all queries")


def test_a_method_without_rows_is_named_in_every_panel():
    frame = runs(series=("PATE", "ALIBI"), levels=(1, 2))
    frame.loc[frame.series == "ALIBI", ["lift", "success", "trigger_auc"]] = np.nan
    assert texts(figures.matched(frame,
                                 runs(series=("plain SGD", )))).count("not measured: ALIBI") == 2
    assert texts(figures.tradeoff(frame)).count("not measured: ALIBI") == 1


def test_a_forest_names_methods_levels_and_neighbours():
    frame = runs(series=("LP-2ST", "DP-SGD"), levels=(0, 2)).assign(missing="")
    frame["adjacency"] = np.where(np.isinf(frame.epsilon), "none",
                                  np.where(frame.series == "LP-2ST", "label", "add-remove"))
    gone = (frame.series == "LP-2ST") & (frame[NOISE] == 2)
    frame.loc[gone, ["difference", "missing"]] = [np.nan, "below the path"]
    frame.loc[(frame.series == "DP-SGD") & (frame[NOISE] == 2) & (frame["attack.base"] == 0),
              "difference"] = np.nan
    labels = [
        label.get_text()
        for label in figures.paired_differences(frame, series="series").axes[0].get_yticklabels()
    ]
    assert labels == [
        "LP-2ST", "ε 4 (label)", "no guarantee", "DP-SGD", "ε 4 (add-remove)", "no guarantee"
    ]
    found = texts(figures.paired_differences(frame, series="series"))
    assert "below the path" in found and any(text.endswith("n = 3 of 4") for text in found if text)
    one = figures.paired_differences(frame[frame[NOISE] == 2], series="series").axes[0]
    assert [label.get_text() for label in one.get_yticklabels()] == [
        "LP-2ST, ε 4 (label)", "DP-SGD, ε 4 (add-remove)"
    ]


def test_a_forest_draws_the_mean_difference_of_each_method():
    frame = runs(series=("LP-2ST", "DP-SGD"), levels=(2,))
    axes = figures.paired_differences(frame, series="series").axes[0]
    for place, name in enumerate(("LP-2ST", "DP-SGD")):
        drawn, = points(axes, figures.SERIES[name])
        assert drawn == pytest.approx((100 * frame[frame.series == name].difference.mean(), place))


def settings(rows):
    """One run for each (series, epsilon, accuracy, success)."""
    return pd.DataFrame(rows, columns=["series", "epsilon", "accuracy", "success"])


def test_pareto_front():
    frame = settings([("PATE", 1, 0.6, 0.1), ("PATE", np.inf, 0.9, 0.5), ("ALIBI", 1, 0.6, 0.2),
                      ("ALIBI", 2, 0.5, 0.1), ("DP-SGD", 4, 0.6, 0.1),
                      ("DP-SGD", 8, np.nan, np.nan)])
    found = figures.pareto(frame)
    kept = found[found.front]
    # equal ones both stay
    assert list(zip(kept.series, kept.epsilon)) == [("PATE", 1), ("PATE", np.inf), ("DP-SGD", 4)]
    assert len(found) == 5 and found.n.eq(1).all() and found.accuracy_low.isna().all()
    words = figures.front_text(found).replace("\N{NO-BREAK SPACE}", " ")
    assert words == "Pareto front (means): PATE ε 1, no guarantee; DP-SGD ε 4"
    assert figures.front_text(figures.pareto(frame.iloc[5:])).endswith("not measured")


def test_pareto_means_and_intervals_are_over_instances():
    from lib.metrics import mean_interval

    frame = runs(series=("ALIBI",), levels=(2,))
    twice = pd.concat([frame, frame.assign(init_seed=1)])
    found = figures.pareto(twice, y="lift").iloc[0]
    expected = mean_interval(frame.lift, bounds=(-1, 1))
    assert (found.lift, found.lift_low, found.lift_high, found.n) == pytest.approx(
        (expected.mean, expected.low, expected.high, len(PAIRS)))


def test_tradeoff_draws_what_it_is_given():
    frame = settings([("PATE", 1, 0.6, 0.1), ("PATE", None, 0.9, 0.5),
                      ("ALIBI", 1, 0.5, 0.3)]).assign(collapsed=[False, False, True])
    figure = figures.tradeoff(frame, corner=(0.8, 0.1), missing=np.inf)
    axes, look = figure.axes[0], figures.SERIES["PATE"]
    drawn = [
        line for line in axes.get_lines()
        if line.get_marker() == look.marker and len(line.get_xdata())
    ]
    assert [(*map(float, line.get_xdata()), *map(float, line.get_ydata()))
            for line in drawn] == [(60, 90, 10, 50)]
    front, = [line for line in axes.get_lines() if line.get_label() == "Pareto front"]
    assert front.get_xdata().tolist() == [60, 90] and front.get_ydata().tolist() == [10, 50]
    beaten, = [line for line in axes.get_lines()
               if line.get_marker() == figures.SERIES["ALIBI"].marker and len(line.get_xdata())]
    assert beaten.get_alpha() < 1 and beaten.get_markerfacecolor() == "white"
    box, = axes.patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == pytest.approx(
        (80, 0, 20, 10))
    ideal, = [line for line in axes.get_lines() if line.get_label() == "ideal"]
    assert (*ideal.get_xdata(), *ideal.get_ydata()) == (100, 0)
    assert {"no guarantee", "hollow: collapsed model"} <= set(texts(figure))


def test_losses_are_means_over_instances_in_their_panels():
    frame = losses()
    figure = figures.losses(
        frame.assign(epsilon=frame.epsilon.where(frame.series == "LP-2ST", frame.epsilon * 0.9996)))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["LP-2ST, no guarantee", "DP-SGD, no guarantee", "LP-2ST, ε 1", "DP-SGD, ε 1"]
    drawn = {
        line.get_color(): line for line in figure.axes[2].get_lines() if len(line.get_xdata()) == 4
    }
    expected = frame[(frame.series == "LP-2ST")
                     & (frame.epsilon == 1)].groupby("epoch")[LOSSES].mean()
    for column, colour in zip(LOSSES, ("#c44e00", "#0072b2", "#57606a"), strict=True):
        assert drawn[colour].get_ydata() == pytest.approx(expected[column].to_numpy())
    top, bottom = figure.axes[:2], figure.axes[2:]
    highest = frame[frame.series == "DP-SGD"].groupby("epoch").loss_poison.mean().max()
    assert top[0].get_ylim()[1] > highest > frame[frame.series == "LP-2ST"].groupby(
        "epoch").loss_poison.mean().max()
    assert top[0].get_ylim() == top[1].get_ylim() and bottom[0].get_ylim() == bottom[1].get_ylim()
    assert all(len(axes.collections) == 3 for axes in figure.axes)  # bands over four instances


def test_losses_of_few_instances_are_drawn_one_by_one():
    axes = figures.losses(losses(pairs=PAIRS[:3])).axes[0]
    faint = [line for line in axes.get_lines() if line.get_linewidth() == 0.8]
    assert not axes.collections and [int(np.isnan(line.get_ydata()).sum())
                                     for line in faint] == [3, 3, 3]


def test_losses_of_one_panel_that_are_missing():
    frame = losses().assign(setting=lambda f: f.epsilon.where(np.isfinite(f.epsilon)))
    frame.loc[(frame.series == "DP-SGD") & frame.setting.isna(), LOSSES] = np.nan
    figure = figures.losses(frame, rows="setting")
    empty = [
        axes.get_title(loc="left") for axes in figure.axes if any(t.get_text() == "not measured"
                                                                  for t in axes.texts)
    ]
    assert len(figure.axes) == 4 and empty == [figure.axes[1].get_title(loc="left")]
    assert len(figure.axes[0].get_yticks()) > 1  # the axis that the row shares keeps its ticks
    assert "not measured" in texts(figures.losses(frame.iloc[:0]))


def test_losses_need_epochs_above_zero():
    with pytest.raises(ValueError, match="epoch 0 "):
        figures.losses(losses().replace({"epoch": {0.1: 0.0}}))
    with pytest.raises(ValueError, match="loss_poison"):
        figures.losses(losses().drop(columns="loss_poison"))


def test_long_labels_of_bars_are_wrapped():
    frame = runs(series=[f"{name}, 200 teachers and all queries, ε 1" for name in "abcdefghijkl"],
                 levels=(2, ))
    figure = figures.parts_bars(frame, label="series")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 12 and all(max(map(len, label.split("\n"))) <= 34 for label in labels)
    assert labels[0].replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ") == frame.series.iloc[0]


def test_negative_parts_go_left_of_zero():
    bars = figures.parts_bars(runs(), label="series").axes[0].patches
    collateral = [bar for bar in bars if bar.get_width() < 0]
    assert [bar.get_x() + bar.get_width() for bar in collateral] == pytest.approx([-5.0, -5.0])


def test_collapsed_models_are_hollow_and_counted():
    found = texts(FIGURES["matched"](runs()))
    assert "hollow: collapsed model" in found
    assert any("4/4 collapsed" in text for text in found if text)
    axes, look = FIGURES["methods"](runs()).axes[0], figures.SERIES["DP-SGD"]
    faces = [
        line.get_markerfacecolor() for line in axes.get_lines() if line.get_marker() == look.marker
        and len(line.get_xdata()) == 1 and line.get_color() == look.color
    ]
    assert faces == ["white", look.color, look.color, look.color]  # the smallest epsilon is noise 8


def test_series_differ_without_colour():
    aliases = {"no defence", "no noise", "threshold", "PATE (noise)"}
    styles = figures.series_styles([name for name in figures.SERIES if name not in aliases])
    assert len(styles) == 10
    assert len({look.marker for look in styles.values()}) == len(styles)
    # A reference may share a line with another: it is thicker.
    assert len({(str(look.line), name in REFERENCES)
                for name, look in styles.items()}) == len(styles)
    assert styles["DP-SGD"] == figures.series_styles(["x", "DP-SGD"])["DP-SGD"]
    assert all(contrast(look.color) >= 3 for look in styles.values())
    with pytest.raises(ValueError, match="11 series"):
        figures.series_styles(map(str, range(11)))


def test_two_names_of_one_defence_look_alike_unless_they_meet():
    assert figures.series_styles(["PATE (noise)"])["PATE (noise)"] == figures.SERIES["PATE"]
    met = figures.series_styles(["PATE", "PATE (noise)", "DP-SGD"])
    assert met["PATE"] == figures.SERIES["PATE"] and len(set(met.values())) == 3


def test_more_defences_than_styles_share_them_unless_they_meet(monkeypatch):
    names = [f"defence {number}" for number in range(23)]
    known = in_turn(names)
    assert list(known) == names and len(set(known.values())) == 10
    for name, look in known.items():
        monkeypatch.setitem(figures.SERIES, name, look)
    assert figures.series_styles(names[10:11]) == {names[10]: known[names[0]]}
    met = figures.series_styles([names[0], names[10], names[20], names[1]])
    assert met[names[0]] == known[names[0]] and met[names[1]] == known[names[1]]
    assert len(set(met.values())) == 4
    with pytest.raises(ValueError, match="11 series"):
        figures.series_styles(names[:11])


@pytest.mark.parametrize("kind", ["normal", "deutan", "protan"])
def test_methods_that_share_a_figure_differ_for_the_colour_blind(kind):
    names = ("DP-SGD", "PATE (noise)", "PATE (queries)", "LP-2ST", "ALIBI", "randomised response")
    seen = [perceived(figures.SERIES[name].color, kind) for name in names]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    assert min(apart) > 15  # CIELAB units; 2.3 is just noticeable side by side


# Machado et al. 2009, severity 1, on linear RGB.
SEEN = {
    "normal": np.eye(3), "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                                    [-0.011820, 0.042940, 0.968881]],
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]]
}


def perceived(colour, kind):
    """CIELAB coordinates of a colour as it is seen."""
    rgb = np.array([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)])
    rgb = np.array(SEEN[kind]) @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055)**2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192,
                                                                            0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(rgb, 0, 1) / (0.9505, 1, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(colour):
    """WCAG contrast of a colour to white."""
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_image_grid_is_one_picture():
    images = np.arange(5 * 3 * 8 * 8, dtype=np.uint8).reshape(5, 3, 8, 8)
    drawn = display.svg(figures.image_grid(images, list("abcde"), columns=3), alt="x")
    assert drawn.count("<image") == 1 and all(f">{title}</text>" in drawn for title in "abcde")
    with pytest.raises(ValueError, match="float64"):
        figures.image_grid(images / 255, list("abcde"))
    with pytest.raises(ValueError, match="2 titles for 5 images"):
        figures.image_grid(images, ["a", "b"])


def test_show_gives_a_labelled_figure_with_its_data(shown):
    frame = pd.DataFrame({"class": ["<script>"], "accuracy": [0.25]})
    figures.show(FIGURES["sweep"](runs()), id="11-a", caption="C", alt='a "quoted" <alt>',
                 data=frame)
    (bundle, metadata), = shown
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.get("role") == "img" and root.get("aria-label") == 'a "quoted" <alt>'
    assert bundle["text/csv"] == "class,accuracy\n<script>,0.25\n"
    assert metadata == {"figure": {"id": "11-a", "caption": "C", "alt": 'a "quoted" <alt>'}}


def test_what_was_found_is_kept_beside_the_figure(shown):
    figures.show(FIGURES["sweep"](runs()), id="11-a", caption="C", alt="A", finding="z 2 wins.")
    assert shown[0][1]["figure"]["finding"] == "z 2 wins."


@pytest.mark.parametrize("wrong", [{"id": "a b"}, {"caption": " "}, {"alt": ""}])
def test_show_refuses_what_a_reader_cannot_use(wrong):
    with pytest.raises(ValueError, match="|".join(wrong)):
        figures.show(None, **{"id": "a", "caption": "c", "alt": "d", "data": None, **wrong})


def test_show_is_quiet_outside_a_notebook():
    code = ("import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as plt\n"
            "from lib import figures; figures.style(); figure, _ = plt.subplots()\n"
            "figures.show(figure, id='a', caption='c', alt='d', data=None)\n"
            "assert not plt.get_fignums()")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_empty_table_says_so(shown):
    figures.table(pd.DataFrame(columns=["a", "b"]), id="t", caption="Nothing.")
    bundle = shown[0][0]
    assert '<td colspan="2">not measured</td>' in bundle["text/html"]
    assert bundle["text/plain"] == "Nothing.\n\nnot measured"


def test_table_escapes_and_rounds(shown):
    frame = pd.DataFrame({"name": ["<script>x</script>", None], "epsilon": [np.inf, np.nan],
                          "share": [0.123456, 98.7654], "n": [3, 4], "ok": [True, False]})
    figures.table(frame, id="t", caption="A <caption>")
    bundle = shown[0][0]
    assert "<script>" not in bundle["text/html"] and "A &lt;caption&gt;" in bundle["text/html"]
    for text in ("∞", "not measured", "0.123", "98.8", ">3<", "yes", "no"):
        assert text in bundle["text/html"], text
    assert "0.123456" in bundle["text/csv"]


@pytest.mark.parametrize("value, text", [(0.0, "0"), (1e-5, "1.00e−05"), (123456.0, "123456"),
                                         (-0.5, "−0.500"), (99.96, "100"), (7, "7")])
def test_numbers_are_written_for_readers(value, text):
    assert display.format_cell(value) == text


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match="epsilon_typo"):
        figures.sweep(runs(), x="epsilon_typo", y="accuracy")
