"""The answer in three sentences: from rows, with words that follow them.

And the intervals of published numbers.
"""

import pandas as pd
import pytest

from lib import verdicts
from lib.metrics import Interval
from lib.papers.ours import answer, tuned
from lib.verdicts import published
from lib.verdicts.claim import Number


def test_without_rows_each_sentence_says_what_is_missing():
    sentences = [one.sentence for one in verdicts.answer({})]
    assert len(sentences) == 2 and all("not measured" in sentence for sentence in sentences)


def test_the_words_follow_the_published_rows():
    from lib.commands.worker import _published

    rows = _published()
    falls, matched, certified = verdicts.answer(rows)
    choices, dp = tuned.compared(rows["11_dpsgd"])
    rate = tuned.favourites(choices)["DP-SGD 4"]
    line = dp[(dp["defence.noise_multiplier"] == 4) & (dp["training.lr"] == rate)]
    assert falls.sentence.startswith("DP-SGD lowers") and "at epsilon 3.7" in falls.sentence
    assert "add-remove" in falls.note and "PLD" in falls.note
    assert f"and {line['epsilon'].mean():.2g};" in falls.note
    assert f"{100 * line['success'].mean():.0f}% [" in falls.note
    assert "the 1,000 stamped test images" in falls.note and "10 class pairs" in falls.note
    assert "can do nearly as well, without any guarantee" in matched.sentence
    assert "0 of 3 levels are decided" in matched.note and "−22.3 [−27.2, −17.5]" in matched.note
    assert "The learning rate decides: at epsilon 3.7 a rate of 0.1 in place" in matched.note
    assert certified.sentence.startswith("Certificates do not cover this attack")
    assert "RAB none of 567,504" in certified.note and "DPA none of 130,458" in certified.note


def test_a_sentence_fits_two_lines_of_the_first_screen():
    from lib.commands.worker import _published

    assert all(len(one.sentence) < 180 for one in verdicts.answer(_published()))


def test_sentences_change_with_the_numbers():
    from lib.commands.worker import _published

    rows = _published()
    frame = rows["11_dpsgd"].copy()
    frame.loc[frame["defence.clip"].eq(True) & frame["noise_multiplier"].gt(0),
              ["success", "lift"]] = 0.99
    falls, matched, _ = verdicts.answer(rows | {"11_dpsgd": frame})
    assert falls.sentence.startswith("DP-SGD does not lower")
    assert "3 of 3 levels are decided" in matched.note
    assert "The learning rate decides" not in matched.note  # all rates leave the same now
    certified = rows["40_smoothing"].assign(**{"facts.certified_count": 2.0})
    found = verdicts.answer(rows | {"40_smoothing": certified})[2]
    assert "RAB none" not in found.note
    assert "40 or 41" in verdicts.answer(rows | {"40_smoothing": pd.DataFrame()})[2].sentence


@pytest.mark.parametrize(
    "difference, words", [
        ((-0.1, -0.2, -0.05), "does worse"), ((0.1, 0.05, 0.2), "can do better"),
        ((0.0, -0.1, 0.1), "indistinguishable"),
        ((0.0, -0.01, 0.01), "can do nearly as well")])
def test_stopping_early_is_judged_by_its_interval(difference, words):
    mean, low, high = difference
    assert words in answer._as_good(Interval(mean, low, high, 10))


@pytest.mark.parametrize(
    "text, numbers, result",
    [
        ("98.1 (n 1000), then", (), "98.1 (n 1000) [97.1, 98.8], then"),
        ("5.00 (1/20)", (), "5.00 (1/20) [0.888, 23.6]"),
        ("FC 80, 5 of",
         (Number("x", 80, 20), Number("y", 5.0, 20)), "FC 80 [58.4, 91.9], 5 [0.888, 23.6] of"),
        # two may be meant
        ("5 in one, 5 in another",
         (Number("x", 5, 20), Number("y", 5, 100)), "5 in one, 5 in another"),
        ("epsilon about 4 at noise 175",
         (Number("epsilon", 4, unit=""), ), "epsilon about 4 at noise 175"),
        ("shape only", (), "shape only")
    ])
def test_a_published_rate_has_its_own_interval(text, numbers, result):
    assert published.with_intervals(text, numbers) == result
