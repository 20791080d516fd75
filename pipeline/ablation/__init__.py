"""Ablations: variants of a recipe, equal models on each, and what the difference was worth in bits per byte."""
