"""Bidirectional LSTM over padded rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nlp_app.runtime.weights import Array, Floats, Integers, WeightType

_HALF = np.float32(0.5)


class BiLstm:
    """One bidirectional LSTM layer, both directions in one loop.

    sigmoid(x) is (tanh(x / 2) + 1) / 2. So with halved weights of the sigmoid gates, one tanh serves all four gates.
    The gates are reordered to output, input, forget and candidate, and the cell state follows the candidate: one
    product of input and forget gate with candidate and cell state gives both terms of the new cell state. Gates are the
    first axis, so that each operand is contiguous: with strides, an operation on a single row takes twice the time.

    Args:
        weights: The arrays of the network, by name.
        name: The name of the layer.
    """

    def __init__(self, weights: Mapping[str, Array], name: str) -> None:
        directions = [_gates(weights, f"{name}.{direction}") for direction in ("forwards", "backwards")]
        inputs, recurrent, biases = (np.stack(parts, 1) for parts in zip(*directions, strict=True))
        self.recurrent = np.ascontiguousarray(recurrent)  # (4, 2, hidden, hidden)
        self.biases = biases.reshape(-1)
        self.width = recurrent.shape[2]
        # (inputs, 8 hidden), and for batches (2, inputs, 4 hidden)
        self.inputs = np.ascontiguousarray(inputs.transpose(2, 0, 1, 3).reshape(inputs.shape[2], -1))
        self.directed = np.ascontiguousarray(inputs.transpose(1, 2, 0, 3).reshape(2, inputs.shape[2], -1))

    def __call__(self, x: Floats, lengths: Integers | None) -> Floats:
        """Run both directions and concatenate their outputs.

        Args:
            x: Inputs, (B, L, inputs).
            lengths: Number of real positions of each row, (B,); None: no row has padding.

        Returns:
            Hidden states of the forward and backward LSTM, (B, L, 2 hidden).
        """
        rows, steps, _ = x.shape
        width = self.width
        if rows == 1:
            states = self._run(self._gates_of_row(x[0]))
            states[:, 1] = states[::-1, 1].copy()
            return states.reshape(1, steps, 2 * width)
        order, row = _reversal(lengths, rows, steps), np.arange(rows)
        states = self._run(self._gates_of_batch(x, order))
        output = np.empty((rows, steps, 2, width), np.float32)
        output[:, :, 0] = states[:, 0].swapaxes(0, 1)
        output[:, :, 1] = states[:, 1].reshape(steps * rows, width).take(order * rows + row[:, None], 0)
        return output.reshape(rows, steps, 2 * width)

    def _gates_of_row(self, x: Floats) -> Floats:
        """Compute the input part of the gates of one row, (L, inputs) to (L, 4, 2, 1, hidden)."""
        gates: Floats = x @ self.inputs
        gates += self.biases
        gates = gates.reshape(len(x), 4, 2, 1, self.width)
        gates[:, :, 1] = gates[::-1, :, 1].copy()
        return gates

    def _gates_of_batch(self, x: Floats, order: Integers) -> Floats:
        """Compute the input part of the gates of a batch, (B, L, inputs) to (L, 4, 2, B, hidden)."""
        rows, steps, _ = x.shape
        flat, row = x.reshape(rows * steps, -1), np.arange(rows)
        gates = np.empty((steps, 4, 2, rows, self.width), np.float32)
        for direction, positions in enumerate((np.arange(steps)[:, None], order.T)):
            part = flat.take((row * steps + positions).ravel(), 0) @ self.directed[direction]
            gates[:, :, direction] = part.reshape(steps, rows, 4, self.width).swapaxes(1, 2)
        gates += self.biases.reshape(4, 2, 1, self.width)
        return gates

    def _run(self, inputs: Floats) -> Floats:
        """Run the recursion over (L, 4, 2, B, hidden): hidden states (L, 2, B, hidden)."""
        steps, _, _, rows, width = inputs.shape
        states = np.empty((steps, 2, rows, width), np.float32)
        work = np.zeros((5, 2, rows, width), np.float32)
        gates, sigmoids, leave, cell = work[:4], work[:3], work[0], work[4]
        enter_and_keep, candidate_and_cell = work[1:3], work[3:5]
        terms = np.empty((2, 2, rows, width), np.float32)
        entering, kept = terms
        state, recurrent = np.zeros_like(cell), self.recurrent
        matmul, add, multiply, tanh = np.matmul, np.add, np.multiply, np.tanh  # lookups take 5 % of a short sentence
        for here, following in zip(inputs, states, strict=True):
            matmul(state, recurrent, gates)
            add(gates, here, gates)
            tanh(gates, gates)
            multiply(sigmoids, _HALF, sigmoids)
            add(sigmoids, _HALF, sigmoids)
            multiply(enter_and_keep, candidate_and_cell, terms)
            add(entering, kept, cell)
            state = following
            tanh(cell, state)
            multiply(state, leave, state)
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
    """Reorder and halve a direction's gates.

    Returns the weights of the inputs, (4, inputs, hidden), of the hidden state, (4, hidden, hidden), and biases,
    (4, hidden).
    """
    inputs, hidden = weights[f"{name}.weight_ih_l0"], weights[f"{name}.weight_hh_l0"]
    bias = weights[f"{name}.bias_ih_l0"] + weights[f"{name}.bias_hh_l0"]
    width = hidden.shape[1]
    order, scale = [3, 0, 1, 2], np.array([0.5, 0.5, 0.5, 1.0], np.float32)  # output, input, forget, candidate
    return (
        inputs.reshape(4, width, -1)[order].swapaxes(1, 2) * scale[:, None, None],
        hidden.reshape(4, width, width)[order].swapaxes(1, 2) * scale[:, None, None],
        bias.reshape(4, width)[order] * scale[:, None],
    )


def _reversal(lengths: Integers | None, rows: int, steps: int) -> Integers:
    """Compute the positions that reverse each row within its own length, (B, L); padding keeps its position."""
    position = np.arange(steps)
    if lengths is None:
        return np.broadcast_to(position[::-1], (rows, steps))
    return np.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)
