"""Calibrated cameras: what files say of them, and which photo each of them took."""
