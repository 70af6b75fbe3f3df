"""Plain low-rank training to compare with: frozen weights and a trained product of thin factors."""

import math

import torch
from torch import nn
from torch.nn import functional


class LoRALinear(nn.Module):
    """y = x (W + B A)^T + bias, W frozen as it was drawn (Hu et al., 2021, arXiv:2106.09685)."""

    def __init__(self, linear, rank):
        super().__init__()
        m, n = linear.weight.shape
        self.weight = nn.Parameter(linear.weight.detach(), requires_grad=False)
        self.bias = linear.bias
        self.A = nn.Parameter(torch.empty(rank, n))
        self.B = nn.Parameter(torch.empty(m, rank))
        self.restart()

    def restart(self):
        """Draw A, and begin at B = 0."""
        nn.init.normal_(self.A, std=1 / math.sqrt(self.A.shape[1]))
        nn.init.zeros_(self.B)

    def forward(self, x):
        return functional.linear(x, self.weight, self.bias) + (x @ self.A.T) @ self.B.T


def convert(model, parts, rank):
    """Replace the linear layers with one of `parts` in their names, in place."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and any(part in name for part in parts):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, LoRALinear(layer, rank))
