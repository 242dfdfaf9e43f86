"""Published weights: `loading` is what all families share, and one file a family says which tensor is which.

Public, by module: `loading.load_torch_state_dict`; `files.read_weights`; `state_dicts.select_state_dict`;
`conventions.normalization` and `conventions.options`; `inflation.inflate`, `inflation.inflatable` and
`inflation.inflate_weights`.
"""
