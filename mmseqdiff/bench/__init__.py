"""Benches: how far the parts are from what is known to be exact."""
