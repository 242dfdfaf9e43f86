"""What is done with the folder of a run: train in it, evaluate it, predict with it, import weights into it, compare it.

`RunFolder` of `cnn_zoo.training.folder` knows the names of its files.

Public, by module: `training.train_run`; `evaluation.evaluate`; `prediction.predict`; `saved.open_run`;
`importing.import_weights`; `description.describe_config`; `comparison.compare_runs`.
"""
