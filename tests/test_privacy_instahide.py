"""DP-InstaHide's theorem 2 as printed, against exact arithmetic, and what it cannot do."""

from decimal import Decimal, getcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.privacy import instahide_epsilon

N = 50_000
# {scale: epsilons for 1 to 8 records a mix}, computed with 50 digits
KNOWN = {
    1.0: (1.71825, 1.29743, 1.18682, 1.13609, 1.10700, 1.08815, 1.07494, 1.06518),
    0.5: (6.38865, 3.43645, 2.84312, 2.59482, 2.45906, 2.37362, 2.31493, 2.27215),
    32 / 255: (2807.90, 105.392, 39.7126, 25.3198, 19.6070, 16.6410, 14.8500, 13.6596),
    16 / 255: (256185, 5466.47, 601.932, 210.563, 116.004, 79.3936, 61.1797, 50.6268),
    4 / 255: (2.64651e6, 1.08742e6, 576442, 325276, 178413, 89068.5, 40825.5, 18994.3),
}


def exactly(n, draws, width, scale):
    """Both sides of the theorem with 60 digits."""
    getcontext().prec = 60
    share, gain = Decimal(width) / n, 1 / (Decimal(width) * Decimal(scale))
    a = (1 - share + share * gain.exp()).ln()
    b = -(1 - share + share * (-gain).exp()).ln()
    return draws * a, draws * b


@pytest.mark.parametrize("scale", KNOWN)
def test_known_values(scale):
    for width, expected in enumerate(KNOWN[scale], 1):
        assert instahide_epsilon(N, N, width, scale) == pytest.approx(expected, rel=5e-6)


SCALES = st.floats(1e-4, 1e3)


@given(n=st.integers(1, 10**6), width=st.integers(1, 200), scale=SCALES)
def test_it_is_the_larger_side_and_never_beats_one_release_of_every_record(n, width, scale):
    width = min(width, n)
    found = instahide_epsilon(n, n, width, scale)
    a, b = exactly(n, n, width, scale)
    assert found == pytest.approx(float(a), rel=1e-9)
    assert a >= b * (1 - Decimal(10)**-40)
    assert found >= (1 - 1e-9) / scale  # the Laplace mechanism, once, without mixing


@given(n=st.integers(2, 10**6), scale=SCALES)
def test_more_records_in_a_mix_tend_to_that_bound_and_do_not_pass_it(n, scale):
    found = [instahide_epsilon(n, n, width, scale) for width in {1, min(2, n), n // 2 or 1, n}]
    assert min(found) >= (1 - 1e-9) / scale
    assert instahide_epsilon(n, n, n, scale) == pytest.approx(1 / scale)


def test_releases_add_up():
    assert instahide_epsilon(100, 300, 2, 0.5) == pytest.approx(
        3 * instahide_epsilon(100, 100, 2, 0.5))
    assert instahide_epsilon(100, 0, 2, 0.5) == 0


@pytest.mark.parametrize("changes, said", [
    ({"width": 101}, "at most n"), ({"width": 0}, "at least 1"), ({"scale": 0.0}, "scale"),
    ({"n": 2.5}, "whole number"), ({"draws": -1}, "draws")])
def test_numbers_out_of_range(changes, said):
    with pytest.raises(ValueError, match=said):
        instahide_epsilon(**({"n": 100, "draws": 100, "width": 2, "scale": 1.0} | changes))
