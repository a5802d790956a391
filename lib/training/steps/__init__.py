"""Gradient sums of a group: closed forms, coefficients of the inputs, and sample by sample."""
