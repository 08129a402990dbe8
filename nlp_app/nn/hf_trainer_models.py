"""Our networks as `transformers.Trainer` wants a model: `labels` in, a mean loss and scores out. docs/trainer.md.

For scripts of one's own around a stock Trainer; `train.engine = "trainer"` needs none of this.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class _ForTrainer(nn.Module):
    """A network whose loss is the mean over a batch's targets, and whose gradients are all dense."""

    # Otherwise the Trainer takes `**inputs` for a sign that the loss is a sum over all accumulated batches, and
    # multiplies it by their number.
    accepts_loss_kwargs = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        # The Trainer's optimizers and its clipping know no sparse gradients.
        for module in network.modules():
            if getattr(module, "sparse", False) is True and isinstance(module.weight, Tensor):
                module.weight.register_post_accumulate_grad_hook(_make_dense)  # type: ignore[no-untyped-call]


class TaggerForTrainer(_ForTrainer):
    """A tagger (a network with `emissions` and `crf`) for `transformers.Trainer`."""

    def forward(self, labels: Tensor, mask: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """`loss`, the mean over tokens; in evaluation also `logits`, (B, L, tags), and `paths`, (B, L), the best tags.

        labels: (B, L) tag ids, anything where mask is False; mask: (B, L) bool, True = real; inputs: as the network's.
        Paths are -100 where mask is False, as the Trainer pads.
        """
        tags = labels.masked_fill(~mask, 0)
        outputs = {"loss": self.network(tags=tags, mask=mask, **inputs) / mask.sum()}
        if not self.training:
            outputs["logits"] = self.network.emissions(mask=mask, **inputs)
            outputs["paths"] = tags.masked_fill(~mask, -100)
            for row, path in enumerate(self.network.crf.decode(outputs["logits"], mask)):
                outputs["paths"][row, : len(path)] = tags.new_tensor(path)
        return outputs


class ClassifierForTrainer(_ForTrainer):
    """A text classifier (a network with `scores`, its `loss` set) for `transformers.Trainer`."""

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """`loss`, the mean over texts; in evaluation also `logits`, (B, K). labels: as the network's targets."""
        outputs = {"loss": self.network(targets=labels, **inputs) / len(labels)}
        if not self.training:
            outputs["logits"] = self.network.scores(**inputs)
        return outputs


def _make_dense(parameter: Tensor) -> None:
    if parameter.grad is not None and parameter.grad.is_sparse:
        parameter.grad = parameter.grad.to_dense()
