"""Gradients of what moves: outlines and the edges of shadows."""
