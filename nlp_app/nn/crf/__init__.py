"""The linear-chain CRF: layer, forward-backward, Viterbi, segments."""
