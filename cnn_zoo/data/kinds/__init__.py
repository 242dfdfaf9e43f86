"""The kinds of datasets: one module each, all with the same interface."""
