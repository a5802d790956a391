"""Families of trainings at equal accuracy: what the figures draw, and what they say."""

import pandas as pd
import pytest

from lib import figures

LEVELS = (0.5, 0.6, 0.7)


def lines():
    """Envelopes of two families over three instances; one does not reach the last accuracy."""
    return pd.DataFrame([
        {"family": family, "instance": instance, "accuracy": level, "lift": lift * level}
        for family, lift in (("DP-SGD", 0.1), ("plain SGD", 0.3)) for instance in "abc"
        for level in LEVELS if (family, instance, level) != ("DP-SGD", "c", 0.7)])


def apart():
    wide = lines().pivot(index=["instance", "accuracy"], columns="family", values="lift").dropna()
    return (wide["DP-SGD"] - wide["plain SGD"]).rename("difference").reset_index()


def test_envelopes_draw_accuracies_that_all_reach_and_the_reference_thickest():
    left, right = figures.envelopes(lines(), apart()).axes
    widths = {line.get_label(): line.get_linewidth() for line in left.lines}
    assert widths["plain SGD, least over its settings"] > widths["DP-SGD, least over its settings"]
    assert left.lines[-1].get_label().startswith("plain SGD")  # drawn last, on top
    ends = {line.get_label()[:5]: max(line.get_xdata()) for line in left.lines}
    assert ends == {"plain": pytest.approx(70), "DP-SG": pytest.approx(60)}
    means = [line for line in right.lines if len(line.get_xdata()) == 2 and line.get_color()
             != "#1b1f24" and line.get_linewidth() > 1]
    assert means[0].get_ydata() == pytest.approx([-10, -12])
    assert "above 0 is worse" in right.get_title(loc="left")


def test_empty_envelopes_say_so():
    figure = figures.envelopes(lines().iloc[:0], apart().iloc[:0])
    assert all(any("not measured" in text.get_text() for text in axes.texts)
               for axes in figure.axes)


def points():
    return pd.DataFrame([
        {"series": series, "rate": rate, "attack.base": base, "attack.target": 9, "attack_seed": 0,
         "accuracy": 0.5 + rate, "lift": 0.1 * rate, "difference": 0.1, "step": 1}
        for series in ("noise 1", "noise 2") for rate in (0.1, 0.2) for base in (0, 1)])


def test_settings_are_labelled_once_where_they_lie_together():
    axes = figures.by_setting(points(), series="series", along="rate",
                              references={"plain SGD": points()}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.1", "0.2"]
    assert axes.lines[-1].get_label() == "plain SGD" and axes.lines[-1].get_linewidth() == 3
    free = figures.by_setting(points(), series="series", along="rate", measure="difference",
                              labels=False).axes[0]
    assert not free.texts and "stopped as accurate" in free.get_ylabel()
    assert any(set(line.get_ydata()) == {0} for line in free.lines)  # the line at zero


def test_paths_collapse_on_logarithmic_axes():
    frame = points().assign(progress=[1.0, 2.0] * 4, noise=0.0)
    left, right = figures.collapsed(
        frame, [("progress", "lift", "one"), ("noise", "lift", "two")], series="series",
        setting="rate").axes
    assert left.get_xscale() == left.get_yscale() == "log"
    assert all(not len(line.get_xdata()) for line in right.lines)  # nothing at or below zero


def test_dots_stand_beside_their_reference():
    frame = pd.DataFrame({"candidate": ["a", "a", "b", "b"], "set-up": "x", "instance": [1, 2] * 2,
                          "share": [0.8, 0.9, 0.4, 0.6]})
    axes = figures.dots(frame, value="share", by="candidate", series="set-up", instance="instance",
                        reference=0.5, xlabel="share").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.containers[0].lines[0].get_xdata() == pytest.approx([0.85, 0.5])
    with pytest.raises(ValueError, match="lacks the columns"):
        figures.dots(frame, value="lift", by="candidate", series="set-up", instance="instance",
                     reference=0.5, xlabel="share")
