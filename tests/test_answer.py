"""The answer in three sentences: from rows, with words that follow them.

And the intervals of published numbers.
"""

import pandas as pd
import pytest

from lib import verdicts
from lib.papers.ours import tuned
from lib.verdicts import published
from lib.verdicts.claim import Number


def test_without_rows_each_sentence_says_what_is_missing():
    sentences = verdicts.answer({})
    assert len(sentences) == 2 and all("not measured" in sentence for sentence in sentences)


def test_the_words_follow_the_published_rows():
    from lib.commands.worker import _published

    rows = _published()
    falls, matched, certified = verdicts.answer(rows)
    choices, dp = tuned.compared(rows["11_dpsgd"])
    rate = tuned.favourites(choices)["DP-SGD 4"]
    assert falls.startswith(
        "DP-SGD lowers attack success") and "add-remove" in falls and "PLD" in falls
    line = dp[(dp["defence.noise_multiplier"] == 4) & (dp["training.lr"] == rate)]
    assert f"{line['epsilon'].mean():.2g} " in falls.replace(
        ",", " ") and f"{100 * line['success'].mean():.0f}% [" in falls
    assert "of the 1,000 stamped test images" in falls and "10 class pairs" in falls
    assert "leaves less at 3 of 3 noise levels and more at 0" in matched
    assert "The learning rate decides: at epsilon 3.7 a rate of 0.1 in place of 0.03" in matched
    assert "by which rate of plain SGD a tuning draw chose" in matched
    assert certified.count("ensembles") == certified.count(" of ") - 1 == 2


def test_sentences_change_with_the_numbers():
    from lib.commands.worker import _published

    rows = _published()
    frame = rows["11_dpsgd"].copy()
    frame.loc[frame["defence.clip"].eq(True) & frame["noise_multiplier"].gt(0),
              ["success", "lift"]] = 0.99
    falls, matched, _ = verdicts.answer(rows | {"11_dpsgd": frame})
    assert falls.startswith("DP-SGD does not always lower")
    assert "leaves less at 0 of 3 noise levels and more at 3" in matched
    assert "The learning rate decides" not in matched  # all rates leave the same now
    certified = rows["40_smoothing"].assign(**{"facts.certified_count": 2.0})
    assert "RAB none" not in verdicts.answer(rows | {"40_smoothing": certified})[2]
    assert "40 or 41" in verdicts.answer(rows | {"40_smoothing": pd.DataFrame()})[2]


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
