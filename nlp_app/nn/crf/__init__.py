"""Linear-chain CRF: layer, forward-backward, Viterbi and segment probabilities."""
