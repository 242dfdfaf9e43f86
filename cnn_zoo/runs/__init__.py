"""What is done with the folder of a run: train in it, evaluate it, predict with it, import weights into it, compare it.

`cnn_zoo.training.folder.RunFolder` knows the names of its files, `cnn_zoo.runs.saved.open_run` opens a checkpoint.
"""
