"""This report: claims of its own, and its answer in sentences.

D1a and D1b are the headline. An underfitted model shows little of anything, a backdoor included, so
a noisy model's backdoor is compared with that of the plain model when it was as accurate.
"""

from lib.papers import Paper

PAPER = Paper("this report", order=0)
