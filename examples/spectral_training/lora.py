"""The optimizer of LoRA and ReLoRA, which Sparse Spectral Training is compared with."""

import torch
from pretrain.lora import LoRALinear


class LoRAAdamW(torch.optim.AdamW):
    """AdamW with A and B at a rate of their own; ReLoRA (Lialin et al., 2023) with ``restarts``.

    After every so many steps B A goes into W, the factors and their moments begin anew, and their
    rate rises over ``warmup`` steps.
    """

    def __init__(self, model, *, lr, factor, restarts=None, warmup=20, **options):
        self.layers = [m for m in model.modules() if isinstance(m, LoRALinear)]
        factors = [p for layer in self.layers for p in (layer.A, layer.B)]
        known = {id(p) for p in factors}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": factors, "lr": lr * factor}, {"params": others}]
        super().__init__(groups, lr=lr, **options)
        self.restarts, self.warmup, self.taken = restarts, warmup, 0

    @torch.no_grad()
    def step(self, closure=None):
        group = self.param_groups[0]
        if self.restarts and self.taken >= self.restarts:
            # The schedule sets the rate again after every step.
            group["lr"] *= min(1.0, (self.taken % self.restarts + 1) / self.warmup)
        loss = super().step(closure)
        self.taken += 1
        if self.restarts and self.taken % self.restarts == 0:
            for layer in self.layers:
                layer.weight += layer.B @ layer.A
                layer.restart()
            for p in group["params"]:
                self.state.pop(p, None)
        return loss
