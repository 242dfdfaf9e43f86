"""Timing next to XLA and PyTorch, and trials of whole configurations.

Public, by module: `convolutions.select_shapes` and `convolutions.benchmark_convolutions`; `shapes.Shape`;
`models.benchmark_models`; `timing.interleave`; `compilation.compile_with`; `config_trials.select_configs` and
`config_trials.try_config`; `training_comparison.compare_training`.
"""
