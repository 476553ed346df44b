"""What several benchmarks use: measured processes, filled stores, drawn questions, F1."""
