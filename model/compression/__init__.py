"""Whole networks as rows of weights: which, how, with how many bytes."""
