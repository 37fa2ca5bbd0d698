"""Hostile bodies at random, and what must hold for each of them."""
