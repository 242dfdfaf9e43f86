"""The training loop and what it is made of.

Public, by module: `loop.train`; `settings.default_config`, `settings.check`, `settings.check_same_run` and
`settings.from_saved`; `programs.Programs`, `mesh.create_mesh` and `mesh.shard_batch`; `network.Network` and
`network.build_network`; `state.TrainState`; `optimizers.create_optimizer`; `schedules.create_schedule` and
`schedules.training_steps`; `checkpoints.Checkpoints`; `initialization.load_initial_weights`; `folder.RunFolder`;
`logging.RunLog` and `logging.read_metrics`.
"""
