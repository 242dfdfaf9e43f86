"""The embedded datasets: TFDS builders, one a module, that need no download and are prepared on first use.

Their entries in `cnn_zoo.data.SPECS` have `embedded=True`; the module has the name of the dataset.
"""
