"""The kinds of examples: `KINDS[kind]` is the module of this folder with that name. A new kind is a new file.

Every module has the same names:

- `TASK`: what the labels are, "classification" or "segmentation".
- `RANK`: number of spatial axes of an input, which is that of the models built for it.
- `FEATURE`: the feature of a record that an input is made from.
- `LABEL`: the feature of a record that a label is made from.
- `NO_LABEL`: the label of examples that fill up a batch.
- `SETTINGS`: the fields of `config.data` that it reads, besides those that are read for every kind.
- `SIZES`: the field of `config.data` with the length of each spatial axis.
- `FILE`: what `read_file` takes, for messages.
- `channels(features)`: the number of channels, from the features of a TFDS builder.
- `shapes(settings, channels)`: shapes and dtypes of an input and its label, as `jax.ShapeDtypeStruct`.
- `make_example(record, info, settings, rng)`: input and label from a record; without an `rng` it does not augment.
- `read_file(file, info, settings, largest)`: the input from a file that a person hands in for prediction, which may
  have `largest` pixels or samples.

There, `settings` is `config.data` and `info` is a `DatasetInfo`. What a record or a file lacks raises
`CorruptRecordError`.
"""

import importlib
import pkgutil
from types import ModuleType

KINDS: dict[str, ModuleType] = {
  module.name: importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
}
