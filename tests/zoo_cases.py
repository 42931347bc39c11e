"""Names of the published models that test single recurrent operators."""

from __future__ import annotations

NODE_TESTS = (
    "gru_batchwise", "gru_defaults", "gru_seq_length", "gru_with_initial_bias", "lstm_batchwise",
    "lstm_defaults", "lstm_with_initial_bias", "lstm_with_peepholes", "rnn_seq_length",
    "simple_rnn_batchwise", "simple_rnn_defaults", "simple_rnn_with_initial_bias",
)  # fmt: skip
BURN = tuple(
    f"{cell}{kind}"
    for cell in ("gru", "lstm", "rnn")
    for kind in ("", "_bidirectional", "_reverse", "_with_initial_state")
)
