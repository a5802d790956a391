"""Boxes over the models of an ensemble and certified shares: the numbers of the table, labelled,
legible.
"""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from test_figures import texts

from lib import figures
from lib.figures import display
from lib.figures.measures import axis_label, factor, limits, measure_label
from lib.figures.style import INK
from lib.metrics import mean_interval

PAIRS = [(0, 8), (1, 9), (2, 4)]
QUARTILES = ["facts.models_accuracy_q1", "facts.models_accuracy_median", "facts.models_accuracy_q3"]
VALUES = [*QUARTILES, "accuracy", "facts.certified_any"]
SERIES = ("σ 0.5", "σ 1", "σ 2")


def ensembles(series=SERIES, fractions=(0.02, 0.05, 0.1)):
    """Made-up runs: one for each series, poisoned share and pair."""
    random = np.random.RandomState(0)
    return pd.DataFrame([{
        "series": name, "attack.fraction": share, "attack.base": base, "attack.target": target,
        "attack_seed": 0, "dataset": "cifar10", QUARTILES[0]: 0.5 + random.rand() / 20,
        QUARTILES[1]: 0.6 + random.rand() / 20, QUARTILES[2]: 0.7 + random.rand() / 20,
        "accuracy": 0.75 + random.rand() / 10, "facts.certified_any": 0.3, "collapsed": False
    } for name in series for share in fractions for base, target in PAIRS])


def box_spec(frame, **more):
    return {
        "frame": frame, "x": "attack.fraction", "low": QUARTILES[0], "middle": QUARTILES[1],
        "high": QUARTILES[2], "ensemble": "accuracy", "series": "series",
        "xlabel": "poisoned share of all training images", **more
    }


def shares(ks=(50, 250), pairs=PAIRS, level=0.8):
    """Made-up certificates of partitions: a row a run and radius."""
    return pd.DataFrame([{
        "series": f"k {k}", "radius": radius, "attack.base": base, "attack.target": target,
        "attack_seed": 0, "dataset": "cifar10",
        "correct": (level + base / 50) * (1 - radius / (k // 2)), "collapsed": False
    } for k in ks for base, target in pairs for radius in range(k // 2 + 1)])


def share_spec(frame, **more):
    return {
        "frame": frame, "series": "series", "xlabel": "certified radius [training images]", **more
    }


def shown(axis):
    """The tick labels within the limits; matplotlib keeps others that it does not draw."""
    low, high = axis.get_view_interval()
    return [
        label for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        if low <= place <= high
    ]


FIGURES = {
    "boxes": lambda missing: figures.boxes([
        box_spec(ensembles().assign(**dict.fromkeys(VALUES, np.nan) if missing else {}), chance=0.1,
                 mark="facts.certified_any", title=title)
        for title in ("N 1,000", "N 100", "with DP-SGD")
    ]), "certificates": lambda missing: figures.certificates([
        share_spec(shares().assign(**{"correct": np.nan} if missing else {}), xscale=xscale,
                   ceilings={"k 50": 25, "k 250": 125}, vertical=[(2000, "2%: 2,000"),
                                                                  (5000, "5%: 5,000")])
        for xscale in ("linear", "log")
    ]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_same_bytes_each_time_and_narrow_enough_for_a_phone(name):
    first, second = (display.svg(FIGURES[name](False), alt="x") for _ in range(2))
    assert first == second and len(first) < 60_000
    assert FIGURES[name](False).get_figwidth() <= 7.6
    assert "not measured" not in " ".join(filter(None, texts(FIGURES[name](False))))


@pytest.mark.parametrize("name, panels", [("boxes", 3), ("certificates", 2)])
def test_nothing_measured_is_said_in_every_panel(name, panels):
    assert texts(FIGURES[name](True)).count("not measured") == panels


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_no_text_covers_another_or_leaves_the_figure(name, columns):
    draw = {"boxes": figures.boxes, "certificates": figures.certificates}[name]
    specs = {
        "boxes": [
            box_spec(ensembles(), title="clean test images, a thousand models",
                     mark="facts.certified_any")
        ] * 3, "certificates": [
            share_spec(
                shares(), xscale="log", title="deep partition aggregation on features",
                xlabel="certified radius [training images inserted or deleted]",
                vertical=[(1, "one"), (2000, "2%: 2,000"),
                          (2500, "this attack, 2.5% of all images: 2,500"), (5000, "5%: 5,000"),
                          (9000, "9%: 9,000")])
        ] * 3
    }[name]
    figure = draw(specs, columns=columns)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [(text.get_text(), text.get_window_extent(canvas.get_renderer()))
             for axes in figure.axes
             for text in [
                 *axes.texts, axes.xaxis.label, axes.yaxis.label, axes._left_title,
                 *shown(axes.xaxis), *shown(axes.yaxis)
             ]
             if text.get_text()]
    found += [(text.get_text(), text.get_window_extent()) for text in figure.legends[0].get_texts()]
    width, height = figure.bbox.size
    for text, box in found:
        assert box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1, text
    for i, (text, box) in enumerate(found):
        for other, around in found[:i]:
            across = min(box.x1, around.x1) - max(box.x0, around.x0)
            up = min(box.y1, around.y1) - max(box.y0, around.y0)
            assert across < 1 or up < 1, (text, other)


# Boxes

def rectangles(axes):
    """(low, high) of the boxes from left to right."""
    return [(box.get_y(), box.get_y() + box.get_height())
            for box in sorted(axes.patches, key=lambda box: box.get_x()) if box.get_width()]


def markers(axes, look):
    """Heights of the single markers of a series from left to right."""
    found = [(line.get_xdata()[0], line.get_ydata()[0])
             for line in axes.get_lines()
             if line.get_marker() == look.marker and line.get_color() == look.color
             and len(line.get_xdata()) == 1]
    return [height for _, height in sorted(found)]


def test_boxes_are_means_of_the_quartiles_over_instances():
    frame = ensembles()
    # a second seed is no second instance
    twice = pd.concat([frame, frame[frame["attack.base"] == 0].assign(init_seed=1)])
    axes = figures.boxes([box_spec(twice)]).axes[0]
    expected = 100 * frame.groupby(["attack.fraction", "series"])[VALUES].mean()
    assert np.array(rectangles(axes)) == pytest.approx(expected[[QUARTILES[0],
                                                                 QUARTILES[2]]].to_numpy())
    medians = sorted((line.get_xdata()[0], line.get_ydata()[0])
                     for line in axes.get_lines()
                     if line.get_linewidth() == 2.2)
    assert [height for _, height in medians] == pytest.approx(expected[QUARTILES[1]].tolist())
    for name, look in figures.series_styles(SERIES).items():
        assert markers(axes, look) == pytest.approx(
            expected.xs(name, level="series").accuracy.tolist())


def test_the_interval_of_the_ensemble_is_over_instances():
    frame = ensembles(series=("σ 1",), fractions=(0.05,))
    axes = figures.boxes([box_spec(frame)]).axes[0]
    bars, = [container for container in axes.containers if container.has_yerr]
    found, = bars.lines[2][0].get_segments()
    expected = mean_interval(100 * frame.accuracy, bounds=(0, 100))
    assert found[:, 1] == pytest.approx([expected.low, expected.high])
    assert "ensemble, 95% interval" in texts(axes.figure)
    single = figures.boxes([box_spec(frame.iloc[:1])])
    assert "ensemble" in texts(single) and not single.axes[0].containers


def test_binary_tasks_are_instances():
    frame = ensembles(series=("σ 1", ),
                      fractions=(0.05, )).iloc[:2].assign(**{"attack.base": 1, "attack.target": 0})
    assert not figures.boxes([box_spec(frame)]).axes[0].containers
    frame["dataset"] = ["airplane-bird", "auto-dog"]
    assert len(figures.boxes([box_spec(frame)]).axes[0].containers) == 1


def test_boxes_have_units_chance_and_marks():
    figure = figures.boxes([box_spec(ensembles(), chance=0.1, mark="facts.certified_any"),
                          box_spec(ensembles(), mark="accuracy", mark_label="of the twin")])
    found = texts(figure)
    for text in ("[% of test images]", "2%", "5%", "10%", "poisoned share of all training images",
                 "chance", "certified at all", "of the twin", "box: quartiles of models"):
        assert text in found, text
    axes, other = figure.axes
    line, = [line for line in axes.get_lines() if line.get_label() == "chance"]
    assert line.get_ydata() == [10, 10]
    assert {line.get_marker() for line in axes.get_lines()} & {"x", "+"} == {"x"}
    crosses = [
        line.get_ydata()[0]
        for line in axes.get_lines()
        if line.get_marker() == "x" and len(line.get_xdata())
    ]
    assert crosses == pytest.approx([30] * 9)
    assert "+" in {line.get_marker() for line in other.get_lines()}
    # once a row
    assert (axes.get_ylabel(), other.get_ylabel()) == (
        "clean accuracy (higher is better)\n[% of test images]", "")


def test_settings_stand_in_equal_steps():
    frame = ensembles(series=("DPA", )).assign(
        k=lambda f: f["attack.fraction"].map({0.02: 50, 0.05: 250, 0.1: 1000}))
    axes = figures.boxes([
        box_spec(frame.rename(columns={"k": "defence.partitions"}), x="defence.partitions",
                 xlabel=None)
    ]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["50", "250", "1,000"]
    assert list(axes.get_xticks()) == [0, 1, 2] and axes.get_xlabel() == "partitions k"
    named = figures.boxes([box_spec(frame.assign(k=frame.k.map("k {}".format)), x="k")]).axes[0]
    assert [label.get_text() for label in named.get_xticklabels()] == ["k 50", "k 250", "k 1000"]


def test_a_missing_box_and_a_missing_series_are_said():
    frame = ensembles()
    frame.loc[(frame.series == "σ 1") & (frame["attack.fraction"] == 0.05), VALUES] = np.nan
    frame.loc[frame.series == "σ 2", VALUES] = np.nan
    found = texts(figures.boxes([box_spec(frame)]))
    assert found.count("not measured") == 1 and "not measured: σ 2" in found
    # a single model has no quartiles
    nothing = ensembles(series=("RAB",)).assign(**dict.fromkeys(QUARTILES))
    axes = figures.boxes([box_spec(nothing)]).axes[0]
    assert not rectangles(axes) and len(markers(axes, figures.series_styles(["RAB"])["RAB"])) == 3


def test_collapsed_ensembles_are_hollow():
    frame = ensembles(series=("σ 1",)).assign(collapsed=lambda f: f["attack.fraction"] == 0.1)
    axes = figures.boxes([box_spec(frame)]).axes[0]
    faces = [
        box.get_facecolor()
        for box in sorted(axes.patches, key=lambda box: box.get_x())
        if box.get_width()
    ]
    assert [face == (1, 1, 1, 1) for face in faces] == [False, False, True]
    points = [
        line for line in axes.get_lines() if line.get_marker() == "o" and len(line.get_xdata())
    ]
    assert [point.get_markerfacecolor() == "white" for point in points] == [False, False, True]
    assert "hollow: collapsed model" in texts(axes.figure)


# Certificates

def curve(axes, look):
    """The drawn curve of a series as {radius: height}."""
    line, = [
        line for line in axes.get_lines()
        if line.get_drawstyle() == "steps-pre" and line.get_color() == look.color
    ]
    return dict(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))


@pytest.mark.parametrize("xscale", ["linear", "log"])
def test_curves_are_means_over_instances_with_their_band(xscale):
    frame = shares()
    axes = figures.certificates([share_spec(frame, xscale=xscale)]).axes[0]
    for name, look in figures.series_styles(["k 50", "k 250"]).items():
        expected = 100 * frame[frame.series == name].groupby("radius").correct.mean()
        assert curve(axes, look) == pytest.approx(expected.to_dict())
    first, second = (mean_interval(
        100 * frame[(frame.series == "k 50") & (frame.radius == radius)].correct, bounds=(0, 100))
                     for radius in (0, 1))
    heights = [
        height for radius, height in axes.collections[0].get_paths()[0].vertices if radius == 0
    ]
    # the step down is at the smaller radius
    assert (min(heights), max(heights)) == pytest.approx((second.low, first.high))
    assert len(axes.collections) == 2 and "band: 95% interval" in texts(axes.figure)


def test_the_first_radius_always_has_its_marker():
    axes = figures.certificates([share_spec(shares(), xscale="log")]).axes[0]
    marked = [
        line.get_markevery() for line in axes.get_lines() if line.get_drawstyle() == "steps-pre"
    ]
    assert all(found[0] == 0 and 3 <= len(found) <= 10
               for found in marked) and marked[0] != marked[1]


def test_one_instance_has_no_band():
    frame = shares(pairs=PAIRS[:1])
    for some in (frame,
                 frame.drop(columns=["attack.base", "attack.target", "attack_seed", "dataset"])):
        figure = figures.certificates([share_spec(some)])
        assert not figure.axes[0].collections and "band: 95% interval" not in texts(figure)
        assert len(curve(figure.axes[0], figures.series_styles(["k 50"])["k 50"])) == 26


def test_instances_with_other_radii_never_raise_a_curve():
    rows = [(0, 0, 0.8), (0, 2, 0.4), (0, 4, 0.0), (1, 0, 0.6), (1, 3, 0.2), (1, 6, 0.1)]
    frame = pd.DataFrame(rows, columns=["attack_seed", "radius", "correct"])
    axes = figures.certificates([share_spec(frame, series=None)]).axes[0]
    found = curve(axes, figures.series_styles([""])[""])
    assert found == pytest.approx({0: 70, 2: 30, 3: 10, 4: 5, 6: 5})
    ended = figures.certificates([share_spec(frame[frame.radius < 4], series=None)]).axes[0]
    assert list(curve(ended, figures.series_styles([""])[""])) == [0, 2]  # seed 0 is not known at 3


def test_seeds_of_an_instance_are_averaged_where_one_has_ended():
    rows = [(0, 0, 0, 0.8), (0, 0, 1, 0.0), (0, 1, 0, 0.8), (0, 1, 1, 0.8), (0, 1, 2, 0.4),
            (1, 0, 0, 0.6), (1, 0, 1, 0.6), (1, 0, 2, 0.6)]
    frame = pd.DataFrame(rows, columns=["attack_seed", "init_seed", "radius", "correct"])
    found = curve(
        figures.certificates([share_spec(frame, series=None)]).axes[0],
        figures.series_styles([""])[""])
    assert found == pytest.approx({0: 70, 1: 50, 2: 40})  # at 2: (0 + 40) / 2 and 60


def test_a_curve_at_zero_is_seen():
    frame = shares().assign(correct=lambda f: f.correct.where(f.series == "k 250", 0.0))
    figure = figures.certificates([share_spec(frame)])
    axes = figure.axes[0]
    assert set(curve(axes, figures.series_styles(["k 50"])["k 50"]).values()) == {0}
    cut = figures.certificates([share_spec(
        frame[(frame.series == "k 250") | (frame.radius == 0)])]).axes[0]
    # a table may end at the first 0
    assert curve(cut, figures.series_styles(["k 50"])["k 50"]) == {0: 0, 125: 0}
    assert axes.get_ylim()[0] < 0 and "k 50" in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]


def test_a_missing_curve_is_named():
    frame = shares()
    frame.loc[frame.series == "k 250", "correct"] = np.nan
    assert "not measured: k 250" in texts(figures.certificates([share_spec(frame)]))
    assert "not measured" in texts(figures.certificates([share_spec(frame.iloc[:0])]))


def test_ceilings_stand_in_the_look_of_their_series():
    looks = figures.series_styles(["k 50", "k 250"])
    figure = figures.certificates([share_spec(shares(), ceilings={"k 50": 25, "k 250": 125})])
    ticks = {
        line.get_color(): list(line.get_xdata())
        for line in figure.axes[0].get_lines()
        if line.get_linewidth() == 2.4
    }
    assert ticks == {looks["k 50"].color: [25, 25], looks["k 250"].color: [125, 125]}
    assert any(text and text.startswith("ceiling") for text in texts(figure))
    shared = figures.certificates([share_spec(shares(), ceilings={"k 50": 30,
                                                                  "k 250": 30})]).axes[0]
    assert [line.get_color() for line in shared.get_lines() if line.get_linewidth() == 2.4] == [INK]
    with pytest.raises(ValueError, match="k 51"):
        figures.certificates([share_spec(shares(), ceilings={"k 51": 25})])


@pytest.mark.parametrize("xscale", ["linear", "log"])
def test_an_attack_beyond_every_radius_is_shown_and_labelled(xscale):
    figure = figures.certificates(
        [share_spec(shares(), xscale=xscale, vertical=[(2000, "this attack: 2,000")])])
    axes = figure.axes[0]
    most = 100 * shares()["correct"].max()
    line, = [line for line in axes.get_lines() if list(line.get_xdata()) == [2000, 2000]]
    assert line.get_ydata()[0] < 0 and line.get_ydata()[1] > most and axes.get_xlim()[1] > 2000
    note, = axes.texts[-1:]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box = note.get_window_extent(canvas.get_renderer())
    # over every curve
    assert note.get_text() == "this attack: 2,000" and box.y0 > axes.transData.transform(
        (0, most))[1]
    assert most < axes.get_ylim()[1] and max(axes.get_yticks()) == 80  # where the data end


def test_zero_stands_apart_on_a_logarithmic_axis():
    axes = figures.certificates([share_spec(shares(), xscale="log")]).axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["0", "1", "10", "100"] and "//" in [text.get_text() for text in axes.texts]
    places = axes.transData.transform([(value, 0) for value in (0, 1, 10, 100)])[:, 0]
    assert places[2] - places[1] == pytest.approx(places[3] -
                                                  places[2]) and places[0] < places[1] - 20
    above = figures.certificates([share_spec(shares().query("radius > 0"), xscale="log")]).axes[0]
    assert above.get_xscale() == "log" and "//" not in [text.get_text() for text in above.texts]
    few = shares().query("series == 'k 50'").assign(radius=lambda f: f.radius / 50)
    assert [
        label.get_text()
        for label in figures.certificates([share_spec(few, xscale="log")]).axes[0].get_xticklabels()
    ] == ["0", "0.02", "0.05", "0.1", "0.2", "0.5"]


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="xlabel"):
        figures.certificates([{"frame": shares()}])
    with pytest.raises(ValueError, match="cubic"):
        figures.certificates([share_spec(shares(), xscale="cubic")])
    with pytest.raises(ValueError, match="-1"):
        figures.certificates([share_spec(shares().replace({"radius": {1: -1}}))])
    with pytest.raises(ValueError, match="correct"):
        figures.certificates([share_spec(shares().drop(columns="correct"))])
    with pytest.raises(ValueError, match="middle"):
        figures.boxes([box_spec(ensembles(), middle=None)])
    with pytest.raises(ValueError, match="typo"):
        figures.boxes([box_spec(ensembles(), ensemble="typo")])
    with pytest.raises(ValueError, match="at least one dict"):
        figures.boxes([])


@pytest.mark.parametrize(
    "column, label",
    [("facts.certified_any", "certified at all (higher is better)\n[% of test images]"),
     ("facts.certified_attack",
      "certified against this attack\n[% of test images] (higher is better)"),
     ("facts.truth", "true label, triggered (higher is better)\n[% of attacked test images]"),
     ("facts.printed", "printed by RAB's script\n[% of all test images, triggered]"),
     ("facts.models_accuracy_q1",
      "clean accuracy, first quartile of the models\n[% of test images] (higher is better)"),
     ("facts.models_printed_median",
      "printed by RAB's script, median of the models\n[% of all test images, triggered]")])
def test_measures_of_certificates_have_units(column, label):
    assert measure_label(column) == label
    assert factor(column) == 100 and limits(column) == (0, 100)


def test_settings_of_certificates_have_names():
    assert axis_label("defence.noise") == "smoothing noise σ"
    assert axis_label("defence.partitions") == "partitions k"
