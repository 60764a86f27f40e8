"""The colour of skin from melanin and blood, as a smooth function that never leaves the plausible."""

from __future__ import annotations

import torch
from torch import Tensor


def squash(coefficients: Tensor, bound: float = 3.0) -> Tensor:
    """Coefficients pulled smoothly into (-bound, bound); small ones stay as they are."""
    return bound * torch.tanh(coefficients / bound)


def skin_colour(melanin: Tensor, blood: Tensor, polynomial: Tensor) -> Tensor:
    """Linear RGB albedo [..., 3] of skin.

    `melanin` and `blood` [...] are positions on the logarithmic ranges of both chromophores that
    tools/open_head/skin_spectra.py documents; tanh keeps them inside the ranges. `polynomial` [M, 3] holds
    log albedo over both, in the order melanin^i blood^j, i rising first over j.
    """
    degree = int((8 * polynomial.shape[0] + 1) ** 0.5 - 3) // 2
    x, y = torch.tanh(melanin), torch.tanh(blood)
    log_albedo = torch.zeros_like(x)[..., None]
    row = polynomial.shape[0]
    for i in range(degree, -1, -1):  # Horner's rule in both variables
        first = row - (degree - i + 1)
        inner = torch.zeros_like(x)[..., None]
        for coefficient in polynomial[first:row].flip(0):
            inner = torch.addcmul(coefficient, inner, y[..., None])
        log_albedo = torch.addcmul(inner, log_albedo, x[..., None])
        row = first
    return log_albedo.exp()
