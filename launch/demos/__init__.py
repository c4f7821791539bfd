"""Demonstrations: planning them, converting them, packing them."""
