"""Wrap networks for `transformers.Trainer`: they take `labels` and return a mean loss and scores. See docs/trainer.md.

For your own scripts with a standard Trainer; `train.engine = "trainer"` does not need these wrappers.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class _ForTrainer(nn.Module):
    """Base class: the loss is the mean over a batch's targets, and all gradients are dense."""

    # Without this attribute, the Trainer concludes from `**inputs` that the loss is a sum over all accumulated batches,
    # and multiplies it by their number.
    accepts_loss_kwargs = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        # The Trainer's optimizers and its gradient clipping do not support sparse gradients.
        for module in network.modules():
            if getattr(module, "sparse", False) is True and isinstance(module.weight, Tensor):
                module.weight.register_post_accumulate_grad_hook(_make_dense)  # type: ignore[no-untyped-call]


class TaggerForTrainer(_ForTrainer):
    """A tagger for `transformers.Trainer`. Wraps a network with `emissions` and `crf`.

    Example:
        >>> model = TaggerForTrainer(network)
        >>> trainer = transformers.Trainer(model=model, args=arguments, train_dataset=dataset)
    """

    def forward(self, labels: Tensor, mask: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Compute the loss, and in evaluation mode also scores and best paths.

        Args:
            labels: Gold tag ids, (B, L), with any value on padding.
            mask: (B, L) bool, False on padding.
            **inputs: The network's other inputs.

        Returns:
            `loss`, the mean over tokens. In evaluation mode also `logits`, (B, L, tags), and `paths`, the best tag ids,
            (B, L), with -100 on padding as in the Trainer.
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
    """A text classifier for `transformers.Trainer`. Wraps a network with `scores`, whose `loss` is set."""

    def forward(self, labels: Tensor, **inputs: Tensor) -> dict[str, Tensor]:
        """Compute the loss, and in evaluation mode also scores.

        Args:
            labels: Targets of the B texts, as for the network.
            **inputs: The network's other inputs.

        Returns:
            `loss`, the mean over texts. In evaluation mode also `logits`, (B, classes).
        """
        outputs = {"loss": self.network(targets=labels, **inputs) / len(labels)}
        if not self.training:
            outputs["logits"] = self.network.scores(**inputs)
        return outputs


def _make_dense(parameter: Tensor) -> None:
    if parameter.grad is not None and parameter.grad.is_sparse:
        parameter.grad = parameter.grad.to_dense()
