"""Bidirectional LSTM over padded rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nlp_app.runtime.weights import Array, Floats, Integers, WeightType

_HALF = np.float32(0.5)


class BiLstm:
    """One bidirectional LSTM layer, both directions in one loop.

    sigmoid(x) is (tanh(x / 2) + 1) / 2. So with halved weights of the sigmoid gates, one tanh serves all four gates;
    the gates are reordered to input, forget, output and candidate, so that the sigmoid gates are one slice.

    Args:
        weights: The arrays of the network, by name.
        name: The name of the layer.
    """

    def __init__(self, weights: Mapping[str, Array], name: str) -> None:
        directions = [_gates(weights, f"{name}.{direction}") for direction in ("forwards", "backwards")]
        inputs, hidden, biases = zip(*directions, strict=True)
        self.inputs = np.ascontiguousarray(np.concatenate(inputs, 1))  # (inputs, 8 hidden)
        self.recurrent = np.ascontiguousarray(np.stack(hidden))  # (2, hidden, 4 hidden)
        self.bias = np.concatenate(biases)
        self.width = self.recurrent.shape[1]

    def __call__(self, x: Floats, lengths: Integers | None) -> Floats:
        """Run both directions and concatenate their outputs.

        Args:
            x: Inputs, (B, L, inputs).
            lengths: Number of real positions of each row, (B,); None: no row has padding.

        Returns:
            Hidden states of the forward and backward LSTM, (B, L, 2 hidden).
        """
        rows, steps, width = x.shape
        order = None if lengths is None else _reversal(lengths, steps)
        gates = x.reshape(rows * steps, width) @ self.inputs
        gates += self.bias
        gates = gates.reshape(rows, steps, 2, 4 * self.width)
        by_step = np.empty((steps, 2, rows, 4 * self.width), np.float32)
        by_step[:, 0] = gates[:, :, 0].swapaxes(0, 1)
        by_step[:, 1] = _reverse(gates[:, :, 1], order).swapaxes(0, 1)
        states = self._run(by_step)
        output = np.empty((rows, steps, 2 * self.width), np.float32)
        output[:, :, : self.width] = states[:, 0].swapaxes(0, 1)
        output[:, :, self.width :] = _reverse(states[:, 1].swapaxes(0, 1), order)
        return output

    def _run(self, inputs: Floats) -> Floats:
        """Run the recursion over (L, 2, B, 4 hidden): hidden states (L, 2, B, hidden)."""
        steps, _, rows, _ = inputs.shape
        width = self.width
        states = np.empty((steps, 2, rows, width), np.float32)
        gates = np.empty((2, rows, 4 * width), np.float32)
        sigmoids, candidate = gates[..., : 3 * width], gates[..., 3 * width :]
        enter, keep, leave = (gates[..., part * width : (part + 1) * width] for part in range(3))
        cell, entering = np.zeros((2, rows, width), np.float32), np.empty((2, rows, width), np.float32)
        state, recurrent = np.zeros_like(cell), self.recurrent
        matmul, add, multiply, tanh = np.matmul, np.add, np.multiply, np.tanh  # lookups take 5 % of a short sentence
        for step in range(steps):
            matmul(state, recurrent, out=gates)
            add(gates, inputs[step], out=gates)
            tanh(gates, out=gates)
            multiply(sigmoids, _HALF, out=sigmoids)
            add(sigmoids, _HALF, out=sigmoids)
            multiply(cell, keep, out=cell)
            multiply(enter, candidate, out=entering)
            add(cell, entering, out=cell)
            state = states[step]
            tanh(cell, out=state)
            multiply(state, leave, out=state)
        return states


def weight_types(name: str, inputs: int, hidden: int) -> dict[str, WeightType]:
    """List the weights of a layer.

    Args:
        name: The name of the layer.
        inputs: Width of the inputs.
        hidden: Width of one direction.

    Returns:
        The type of each array by name.
    """
    shapes: dict[str, tuple[int, ...]] = {"weight_ih_l0": (4 * hidden, inputs), "weight_hh_l0": (4 * hidden, hidden)}
    shapes |= {"bias_ih_l0": (4 * hidden,), "bias_hh_l0": (4 * hidden,)}
    return {
        f"{name}.{direction}.{part}": WeightType(shape)
        for direction in ("forwards", "backwards")
        for part, shape in shapes.items()
    }


def _gates(weights: Mapping[str, Array], name: str) -> tuple[Floats, Floats, Floats]:
    """Reorder and halve a direction's gates: weights of the inputs, of the hidden state, and biases."""
    inputs, hidden = weights[f"{name}.weight_ih_l0"], weights[f"{name}.weight_hh_l0"]
    bias = weights[f"{name}.bias_ih_l0"] + weights[f"{name}.bias_hh_l0"]
    width = hidden.shape[1]
    enter, keep, candidate, leave = np.split(np.arange(4 * width), 4)
    order = np.concatenate((enter, keep, leave, candidate))
    scale = np.repeat(np.array([0.5, 1.0], np.float32), [3 * width, width])
    return (inputs[order] * scale[:, None]).T, (hidden[order] * scale[:, None]).T, bias[order] * scale


def _reversal(lengths: Integers, steps: int) -> Integers:
    """Compute the positions that reverse each row within its own length, (B, L); padding keeps its position."""
    position = np.arange(steps)
    return np.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)


def _reverse(x: Floats, order: Integers | None) -> Floats:
    """Reverse rows, (B, L, width)."""
    reversed_rows: Floats = x[:, ::-1] if order is None else np.take_along_axis(x, order[:, :, None], 1)
    return reversed_rows
